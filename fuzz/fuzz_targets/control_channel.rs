//! What a worker that somebody took over may send its supervisor.
#![no_main]

use dataplane::ipc::{self, FromWorker, ToWorker};
use libfuzzer_sys::fuzz_target;
use rustix::net::{SendFlags, send};

fuzz_target!(|bytes: &[u8]| {
    let (ours, theirs) = ipc::pair().expect("a socket pair");
    for _ in 0..2 {
        if bytes.is_empty() || send(&theirs, bytes, SendFlags::DONTWAIT).is_err() {
            return;
        }
    }
    let _ = ipc::receive::<FromWorker>(&ours);
    let _ = ipc::receive::<ToWorker>(&ours);
});
