//! Kernel parameters of the daemon's network namespace, by /proc/sys.

use std::fs;
use std::path::PathBuf;

/// One parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sysctl {
    path: PathBuf,
    /// As sysctl(8) writes it.
    pub(super) name: String,
}

impl Sysctl {
    /// A parameter written with dots, none of them inside a part.
    pub(super) fn new(name: &str) -> Self {
        Self { path: PathBuf::from("/proc/sys").join(name.replace('.', "/")), name: name.to_owned() }
    }

    /// One of an interface, or of `all`, for `family` "ipv4" or "ipv6". A dot in the interface's name is written as a
    /// slash (sysctl(8)).
    pub(super) fn of_interface(family: &str, interface: &str, key: &str) -> Self {
        let path = PathBuf::from("/proc/sys/net").join(family).join("conf").join(interface).join(key);
        Self { path, name: format!("net.{family}.conf.{}.{key}", interface.replace('.', "/")) }
    }

    /// Its value; absent where this kernel or namespace has none, or it is no number.
    pub(super) fn value(&self) -> Option<i64> {
        fs::read_to_string(&self.path).ok()?.trim().parse().ok()
    }

    /// `NAME = VALUE`, or that it is not shown.
    pub(super) fn shown(&self) -> String {
        match self.value() {
            Some(value) => format!("{} = {value}", self.name),
            None => format!("{} is not shown in this network namespace", self.name),
        }
    }
}

/// An interface's parameter and that of `all`.
pub(super) fn of_interface_and_all(family: &str, interface: &str, key: &str) -> [Sysctl; 2] {
    [interface, "all"].map(|place| Sysctl::of_interface(family, place, key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_with_dots_are_found() {
        let sysctl = Sysctl::of_interface("ipv4", "eth0.5", "rp_filter");
        assert_eq!(sysctl.path, PathBuf::from("/proc/sys/net/ipv4/conf/eth0.5/rp_filter"));
        assert_eq!(sysctl.name, "net.ipv4.conf.eth0/5.rp_filter");
    }

    #[test]
    fn what_is_not_there_is_said_so() {
        assert!(Sysctl::new("net.ipv4.igmp_max_memberships").value().is_some());
        let absent = Sysctl::new("net.ipv4.no_such_thing");
        assert_eq!((absent.value(), absent.shown().contains("not shown")), (None, true));
    }
}
