//! A sealed thread tries what is forbidden. Both fences belong to threads, so the test process keeps its rights.
#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

use std::fs::{self, File};
use std::io::{self, IoSlice, Read as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::thread;

use dataplane::sandbox::seal;
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
use rustix::net::{RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendFlags, recvmsg, sendmsg};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{UnshareFlags, set_no_new_privs, unshare_unsafe};

/// What a thread does once it is sealed.
fn sealed<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            set_no_new_privs(true).unwrap();
            seal().unwrap();
            work()
        });
        thread.join().unwrap()
    })
}

fn refused<T>(result: io::Result<T>) -> bool {
    result.is_err_and(|error| error.raw_os_error() == Some(Errno::PERM.raw_os_error()))
}

#[test]
fn no_file_socket_program_or_process_is_within_reach() {
    let held = UdpSocket::bind("127.0.0.1:0").unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut file = File::open("/dev/zero").unwrap();
    let address = listener.local_addr().unwrap();
    let own = Pid::from_raw(std::process::id().cast_signed()).unwrap();
    let tried = sealed(|| {
        [
            ("read a file", refused(fs::read("/etc/passwd"))),
            ("write a file", refused(fs::write("/tmp/mcr-sandbox", "x"))),
            ("list a folder", refused(fs::read_dir("/"))),
            ("remove a file", refused(fs::remove_file("/nonexistent"))),
            ("open its own memory", refused(File::open("/proc/self/mem"))),
            ("read from what it holds", refused(file.read(&mut [0; 8]))),
            ("make memory to share", refused(memfd_create("x", MemfdFlags::CLOEXEC).map_err(Into::into))),
            ("open a datagram socket", refused(UdpSocket::bind("127.0.0.1:0"))),
            ("connect", refused(TcpStream::connect(address))),
            ("accept", refused(listener.accept())),
            ("change a socket it holds", refused(held.set_ttl(3))),
            ("connect a socket it holds", refused(held.connect("127.0.0.1:9"))),
            ("start a program", refused(Command::new("/bin/true").status())),
            ("signal a process", refused(kill_process(own, Signal::CONT).map_err(Into::into))),
            ("signal another", refused(kill_process(Pid::INIT, Signal::CONT).map_err(Into::into))),
            ("leave its namespaces", refused(leave_namespaces())),
            ("map executable memory", refused(map_executable())),
        ]
    });
    let done: Vec<_> = tried.iter().filter(|(_, refused)| !refused).collect();
    assert!(done.is_empty(), "not refused: {done:?}");
}

#[expect(unsafe_code, reason = "unshare(2) and mmap(2) are refused here, and have no safe form")]
fn leave_namespaces() -> io::Result<()> {
    // SAFETY: no thread of this process relies on the network namespace; the call is to fail.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.map_err(Into::into)
}

#[expect(unsafe_code, reason = "unshare(2) and mmap(2) are refused here, and have no safe form")]
fn map_executable() -> io::Result<()> {
    let protection = ProtFlags::READ | ProtFlags::EXEC;
    // SAFETY: a new mapping at an address of the kernel's choice touches no other.
    unsafe { mmap_anonymous(std::ptr::null_mut(), 4096, protection, MapFlags::PRIVATE) }?;
    Ok(())
}

#[test]
fn what_relaying_takes_is_left() {
    let (sender, receiver) =
        (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
    sender.connect(receiver.local_addr().unwrap()).unwrap();
    let received = sealed(|| {
        let large = vec![7_u8; 64 << 20];
        let sent = IoSlice::new(&large[..100]);
        sendmsg(&sender, &[sent], &mut SendAncillaryBuffer::default(), SendFlags::empty()).unwrap();
        let mut bytes = [0; 200];
        let mut into = [io::IoSliceMut::new(&mut bytes)];
        let got = recvmsg(&receiver, &mut into, &mut RecvAncillaryBuffer::default(), RecvFlags::empty());
        drop(sender);
        got.unwrap().bytes
    });
    assert_eq!(received, 100);
}
