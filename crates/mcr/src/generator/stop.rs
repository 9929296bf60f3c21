//! Ending on a signal with the report still made.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{SignalKind, signal};

/// Set once SIGINT or SIGTERM has arrived; by default nothing sets it.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Takes over SIGINT and SIGTERM for this process. A second one ends the process at once.
    ///
    /// # Errors
    /// When the signal handlers or the thread that waits for them cannot be set up.
    pub fn on_signal() -> io::Result<Self> {
        let stop = Self(Arc::default());
        let seen = stop.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let (mut interrupt, mut terminate) = {
            let _entered = runtime.enter();
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
        };
        let watch = async move {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                if seen.0.swap(true, Ordering::Relaxed) {
                    std::process::exit(1);
                }
            }
        };
        std::thread::Builder::new().name("signals".into()).spawn(move || runtime.block_on(watch))?;
        Ok(stop)
    }

    /// Whether it is time to end.
    pub fn requested(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
