//! The control socket's place in the file system: who owns the path, and when it may be opened.
//!
//! [`claim`] makes the folder, finds out whether another daemon lives at the path and removes what a dead one
//! left; [`Claim::listen`] opens the socket once the daemon is ready. Between the two a lock on `PATH.lock`
//! (flock(2), released by the kernel however the process ends) tells two daemons that start at once apart:
//! the file's presence means nothing, only the lock on it does. Both files go when the [`SocketFile`] is dropped.

use std::fs::{DirBuilder, File, Permissions};
use std::io::{self, Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::Gid;
use tokio::net::{UnixListener, UnixStream};

/// Where daemon and client meet unless told otherwise.
pub const DEFAULT: &str = "/run/mcr/mcrd.sock";

/// Connections the kernel holds until they are accepted.
const BACKLOG: i32 = 128;

/// Why the control socket was not opened.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another daemon answers there, or is about to.
    #[error("{path} is in use by {process}: stop it or choose --socket PATH")]
    InUse {
        /// The path asked for.
        path: PathBuf,
        /// Who has it, as `mcrd (pid 4242)`.
        process: String,
    },
    /// Something else is there; it is not touched.
    #[error("{0} exists and is not a socket: remove it or choose --socket PATH")]
    NotASocket(PathBuf),
    /// The path cannot be a socket's.
    #[error(
        "{0} is longer than the 107 bytes a socket's path may have (unix(7)): choose a shorter --socket PATH"
    )]
    TooLong(PathBuf),
    /// The kernel refused a step.
    #[error("{what} {path} failed: {source}: check the folder's owner and mode or choose --socket PATH")]
    Io {
        /// The step.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SocketError {
    move |source| SocketError::Io { what, path: path.to_owned(), source }
}

/// A path that is this process's to listen on. Dropped, it gives the path up again.
#[derive(Debug)]
pub struct Claim {
    path: PathBuf,
    address: SocketAddrUnix,
    lock: Lock,
}

/// Claims `path` for this process: its folder is made (mode 0755) where absent, a dead daemon's socket removed.
/// Needs a tokio runtime.
///
/// # Errors
/// [`SocketError`]: the path is in use or not a socket, or the file system refuses.
pub fn claim(path: &Path) -> Result<Claim, SocketError> {
    let address = SocketAddrUnix::new(path).map_err(|_| SocketError::TooLong(path.to_owned()))?;
    make_folder(path)?;
    let lock = Lock::take(path)?;
    remove_stale(path, &address)?;
    Ok(Claim { path: path.to_owned(), address, lock })
}

impl Claim {
    /// Opens the socket, mode 0660, of `group` where given. The group needs CAP_CHOWN or membership; without
    /// either the socket stays with the own group and a warning says so. Needs a tokio runtime.
    ///
    /// # Errors
    /// [`SocketError::Io`] if the kernel refuses.
    pub fn listen(self, group: Option<Gid>) -> Result<(UnixListener, SocketFile), SocketError> {
        let Self { path, address, lock } = self;
        let fd = open().map_err(failed("opening a socket for", &path))?;
        rustix::net::bind(&fd, &address).map_err(|e| failed("binding", &path)(e.into()))?;
        let metadata = std::fs::symlink_metadata(&path).map_err(failed("reading", &path))?;
        let file = SocketFile { identity: (metadata.dev(), metadata.ino()), path, _lock: lock };
        // A bound socket refuses connections until listen(2): owner and mode are right before the first one.
        file.restrict(group)?;
        rustix::net::listen(&fd, BACKLOG).map_err(|e| failed("listening on", &file.path)(e.into()))?;
        let listener = UnixListener::from_std(fd.into()).map_err(failed("listening on", &file.path))?;
        Ok((listener, file))
    }
}

/// The socket's file. Dropped, it removes the file, if that is still the one it made, and the lock's.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
    _lock: Lock,
}

impl SocketFile {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn restrict(&self, group: Option<Gid>) -> Result<(), SocketError> {
        if let Some(group) = group.map(Gid::as_raw)
            && let Err(e) = std::os::unix::fs::chown(&self.path, None, Some(group))
        {
            let path = self.path.display();
            tracing::warn!(
                "{path} stays with its group, gid {group} was refused: {e}: grant CAP_CHOWN to mcrd"
            );
        }
        std::fs::set_permissions(&self.path, Permissions::from_mode(0o660))
            .map_err(failed("setting the mode of", &self.path))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = std::fs::symlink_metadata(&self.path).is_ok_and(|m| (m.dev(), m.ino()) == self.identity);
        if ours && let Err(e) = std::fs::remove_file(&self.path) {
            tracing::warn!("{} was left behind: {e}", self.path.display());
        }
    }
}

/// The lock that tells which daemon owns a path, from before the socket exists until after it is gone.
#[derive(Debug)]
struct Lock {
    path: PathBuf,
    file: File,
}

impl Lock {
    fn take(socket: &Path) -> Result<Self, SocketError> {
        let mut name = socket.as_os_str().to_owned();
        name.push(".lock");
        let path = PathBuf::from(name);
        loop {
            let mut file = File::options()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
                .open(&path)
                .map_err(failed("opening", &path))?;
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => {
                    let mut pid = String::new();
                    let pid = file.read_to_string(&mut pid).ok().and_then(|_| pid.trim().parse().ok());
                    return Err(SocketError::InUse { path: socket.to_owned(), process: process(pid) });
                }
                Err(e) => return Err(failed("locking", &path)(e.into())),
            }
            // A daemon that ends removes its lock's file: one opened just before would be a lock on nothing.
            let held = file.metadata().map_err(failed("reading", &path))?;
            let named = std::fs::symlink_metadata(&path);
            if named.is_ok_and(|named| (named.dev(), named.ino()) == (held.dev(), held.ino())) {
                write_pid(&mut file).map_err(failed("writing", &path))?;
                return Ok(Self { path, file });
            }
        }
    }
}

fn write_pid(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

impl Drop for Lock {
    fn drop(&mut self) {
        // While the lock is held, or another daemon's new file would go.
        if let Err(e) = std::fs::remove_file(&self.path) {
            tracing::warn!("{} was left behind: {e}", self.path.display());
        }
        let _ = rustix::fs::flock(&self.file, FlockOperation::Unlock);
    }
}

fn make_folder(path: &Path) -> Result<(), SocketError> {
    let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty() && !f.exists()) else {
        return Ok(());
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(folder)
        .map_err(failed("making the folder", folder))?;
    // The umask may have taken bits away.
    std::fs::set_permissions(folder, Permissions::from_mode(0o755))
        .map_err(failed("setting the mode of", folder))
}

/// Removes the socket of a daemon that is gone; refuses one that is alive.
fn remove_stale(path: &Path, address: &SocketAddrUnix) -> Result<(), SocketError> {
    match std::fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(failed("reading", path)(e)),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(SocketError::NotASocket(path.to_owned()));
        }
        Ok(_) => {}
    }
    match owner(address) {
        Ok(pid) => Err(SocketError::InUse { path: path.to_owned(), process: process(pid) }),
        Err(Errno::CONNREFUSED) => {
            std::fs::remove_file(path).map_err(failed("removing the stale socket", path))
        }
        // A socket of another type is not a dead daemon's.
        Err(Errno::PROTOTYPE) => Err(SocketError::InUse { path: path.to_owned(), process: process(None) }),
        Err(e) => Err(failed("connecting to", path)(e.into())),
    }
}

/// The process that listens at `address`, if it can be told.
fn owner(address: &SocketAddrUnix) -> Result<Option<u32>, Errno> {
    let fd = open().map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))?;
    match rustix::net::connect(&fd, address) {
        Ok(()) => {}
        // Its backlog is full: alive, but it cannot be asked who it is.
        Err(Errno::AGAIN) => return Ok(None),
        Err(e) => return Err(e),
    }
    // tokio's view of SO_PEERCRED, as rustix's type has no room for pid 0: a peer in another PID namespace.
    let peer = UnixStream::from_std(fd.into()).and_then(|stream| stream.peer_cred());
    Ok(peer.ok().and_then(|peer| peer.pid()).and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid != 0))
}

fn open() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?)
}

/// A process as an operator knows it: `mcrd (pid 4242)`.
fn process(pid: Option<u32>) -> String {
    let Some(pid) = pid else { return "another process".to_owned() };
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm"));
    format!("{} (pid {pid})", name.as_deref().map_or("a process", str::trim))
}
