//! Lines for standard output and standard error, written by a thread for each, so that a reader that stalls holds
//! up neither the supervisor nor anyone it serves.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// Messages that may wait for a slow reader; those beyond are left out.
const WAITING: usize = 256;

/// How long a reader has to take the last lines when the daemon ends.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Why lines are not seen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unprinted {
    /// Too many wait already.
    #[error("its reader does not read")]
    Stalled,
    /// Writing failed; it is tried again with the next lines.
    #[error("{0}")]
    Failed(String),
}

#[derive(Debug)]
enum Message {
    Lines(Vec<u8>),
    /// To be answered when all before is written.
    Flush(SyncSender<()>),
}

/// The way to one of the two.
#[derive(Debug)]
pub struct Output {
    messages: SyncSender<Message>,
    failed: Arc<Mutex<Option<String>>>,
    left_out: AtomicU64,
}

impl Output {
    /// Starts the thread under this name; it has the capabilities that the caller has now.
    ///
    /// # Errors
    /// Those of pthread_create(3).
    pub fn start(name: &str, writer: impl Write + Send + 'static) -> io::Result<Self> {
        let (messages, waiting) = sync_channel(WAITING);
        let failed = Arc::<Mutex<Option<String>>>::default();
        let seen = failed.clone();
        thread::Builder::new().name(name.to_owned()).spawn(move || write(&waiting, &seen, writer))?;
        Ok(Self { messages, failed, left_out: AtomicU64::new(0) })
    }

    /// Prints whole lines, soon.
    ///
    /// # Errors
    /// They are left out, or those before them could not be written.
    pub fn print(&self, lines: impl Into<Vec<u8>>) -> Result<(), Unprinted> {
        match self.messages.try_send(Message::Lines(lines.into())) {
            Err(TrySendError::Full(_)) => {
                self.left_out.fetch_add(1, Ordering::Relaxed);
                return Err(Unprinted::Stalled);
            }
            // The thread ends only with this value.
            Ok(()) | Err(TrySendError::Disconnected(_)) => {}
        }
        match self.failed.lock().unwrap_or_else(PoisonError::into_inner).clone() {
            Some(why) => Err(Unprinted::Failed(why)),
            None => Ok(()),
        }
    }

    /// Messages left out since the last time this was asked.
    pub fn left_out(&self) -> u64 {
        self.left_out.swap(0, Ordering::Relaxed)
    }

    /// Waits until all is written, or a reader that stalls has had its time.
    pub fn flush(&self) {
        let (written, wait) = sync_channel(1);
        if self.messages.try_send(Message::Flush(written)).is_ok() {
            // Either way nothing more can be done for them.
            let _ = wait.recv_timeout(LAST_LINES);
        }
    }
}

fn write(waiting: &Receiver<Message>, failed: &Mutex<Option<String>>, mut writer: impl Write) {
    for message in waiting {
        match message {
            Message::Lines(lines) => {
                let written = writer.write_all(&lines).and_then(|()| writer.flush());
                *failed.lock().unwrap_or_else(PoisonError::into_inner) = written.err().map(|e| e.to_string());
            }
            // Who asked may have given up.
            Message::Flush(written) => drop(written.try_send(())),
        }
    }
}
