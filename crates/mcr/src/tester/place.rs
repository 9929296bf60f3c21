//! Where a side of the tester stands: an endpoint, and the network namespace it is meant in.

use std::fmt;
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use mcast::Endpoint;
use rustix::io::Errno;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::error::TesterError;

/// Where `ip netns` keeps the namespaces it names (ip-netns(8)).
const NAMED: &str = "/run/netns";

/// The process's own (namespaces(7)).
const OWN: &str = "/proc/self/ns/net";

/// A network namespace, as it was written: a name of `ip netns`, or a path.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Netns(String);

impl Netns {
    /// Moves the calling thread, and with it all sockets it opens from here on, into the namespace.
    ///
    /// # Errors
    /// When there is no such namespace or no right to enter it.
    pub fn enter(&self) -> Result<(), TesterError> {
        let path = self.path();
        let file =
            File::open(&path).map_err(|error| TesterError::NetnsAbsent(self.clone(), path.clone(), error))?;
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).map_err(|errno| match errno
        {
            Errno::PERM => TesterError::NetnsRight(self.clone()),
            Errno::INVAL => TesterError::NetnsAbsent(self.clone(), path, errno.into()),
            _ => TesterError::Netns(self.clone(), errno.into()),
        })
    }

    fn path(&self) -> PathBuf {
        PathBuf::from(NAMED).join(&self.0)
    }
}

/// Writes each namespace as it was first written, so that one is not taken for two; the process's own is none. One
/// that is absent stays: who enters it says so.
pub(super) fn unify<'a>(places: impl Iterator<Item = &'a mut Place>) {
    let identity = |path: &Path| fs::metadata(path).ok().map(|file| (file.dev(), file.ino()));
    let own = identity(Path::new(OWN));
    let mut known: Vec<(_, Netns)> = Vec::new();
    for place in places {
        let Some(netns) = &place.netns else { continue };
        let Some(this) = identity(&netns.path()) else { continue };
        let first = known.iter().find(|(identity, _)| *identity == this);
        match first.map(|(_, first)| first.clone()) {
            _ if own == Some(this) => place.netns = None,
            Some(first) => place.netns = Some(first),
            None => known.push((this, netns.clone())),
        }
    }
}

impl fmt::Display for Netns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `ENDPOINT[/NAME]`, or `ENDPOINT/PATH` with an absolute path's own slash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// What is sent to or received.
    pub endpoint: Endpoint,
    /// The namespace its interface is in; absent: the tester's own.
    pub netns: Option<Netns>,
}

impl Place {
    /// Whether it may be on the interface that `other` is on: which a host without one is on is not known.
    pub(super) fn may_share_link(&self, other: &Self) -> bool {
        let (here, there) = (&self.endpoint.interface, &other.endpoint.interface);
        self.netns == other.netns && (here == there || here.is_none() || there.is_none())
    }

    /// Runs `work` on a thread of its own within the place's namespace.
    ///
    /// # Errors
    /// When the namespace cannot be entered, or what `work` answers.
    pub fn within<T: Send>(
        &self,
        work: impl FnOnce() -> Result<T, TesterError> + Send,
    ) -> Result<T, TesterError> {
        let entered = || {
            self.enter()?;
            work()
        };
        std::thread::scope(|scope| {
            let joined = scope.spawn(entered).join();
            joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Moves the calling thread into the place's namespace, if it has one.
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    pub fn enter(&self) -> Result<(), TesterError> {
        self.netns.as_ref().map_or(Ok(()), Netns::enter)
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (endpoint, netns) = match text.split_once('/') {
            Some((_, "")) => return Err(format!("{text:?} ends before the name of its namespace")),
            // A name has no slash: the one that ended the endpoint begins a path.
            Some((endpoint, path)) if path.contains('/') => {
                (endpoint, Some(Netns(format!("/{}", path.trim_start_matches('/')))))
            }
            Some((endpoint, name)) => (endpoint, Some(Netns(name.to_owned()))),
            None => (text, None),
        };
        let endpoint: Endpoint = endpoint.parse().map_err(|error: mcast::EndpointError| error.to_string())?;
        if endpoint.port.is_none() {
            return Err(format!("{text:?} names no port: add one, as in {endpoint}:5000"));
        }
        Ok(Self { endpoint, netns })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.endpoint)?;
        match &self.netns {
            Some(netns) if netns.0.rfind('/') > Some(0) => write!(f, "{netns}"),
            Some(netns) => write!(f, "/{netns}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_parts_are_read_and_written() {
        for (text, netns, path) in [
            ("239.1.1.1%s0:5000", None, None),
            ("239.1.1.1%s0:5000/left", Some("left"), Some("/run/netns/left")),
            ("[ff3e::1]%s0:5000/proc/7/ns/net", Some("/proc/7/ns/net"), Some("/proc/7/ns/net")),
            ("10.0.0.1:7//net", Some("/net"), Some("/net")),
        ] {
            let place: Place = text.parse().unwrap();
            assert_eq!(place.netns.as_ref().map(|netns| netns.0.as_str()), netns);
            assert_eq!(place.netns.as_ref().map(Netns::path), path.map(PathBuf::from));
            assert_eq!(place.to_string(), text);
        }
        let place = |text: &str| text.parse::<Place>().unwrap();
        assert_eq!(place("10.0.0.1:7//proc/7/ns/net"), place("10.0.0.1:7/proc/7/ns/net"));
    }

    #[test]
    fn one_namespace_has_one_name() {
        let mut places =
            ["/proc/self/ns/net", "/proc/thread-self/ns/../ns/uts", "/proc/self/ns/uts", "//nowhere"]
                .map(|path| format!("10.0.0.1:7{path}").parse::<Place>().unwrap());
        unify(places.iter_mut());
        let names = places.map(|place| place.netns.map(|netns| netns.0));
        let uts = Some("/proc/thread-self/ns/../ns/uts".to_owned());
        assert_eq!(names, [None, uts.clone(), uts, Some("/nowhere".to_owned())]);
    }

    #[test]
    fn refusals() {
        for text in ["239.1.1.1%s0", "239.1.1.1%s0/left", "239.1.1.1%s0:5000/", "nowhere:1", ""] {
            assert!(text.parse::<Place>().is_err(), "{text:?}");
        }
    }
}
