//! A tunnel between two namespaces: links that carry bare IP packets, without Ethernet and without offloads.
//!
//! Each end is a tun device held by a `socat` process, the two joined by Unix datagram sockets, which keep the
//! bounds of packets and cross namespaces. Slow, for correctness only.

use std::time::Duration;

use anyhow::Result;
use tempfile::TempDir;

use crate::{Daemon, Link, Netns, eventually};

const START: Duration = Duration::from_secs(10);

/// Two tun devices that reach each other, both up.
pub struct Tun {
    /// The end named first.
    pub a: Link,
    /// The end named second.
    pub b: Link,
    _ends: [Daemon; 2],
    _sockets: TempDir,
}

impl Tun {
    /// Makes a pair.
    ///
    /// # Errors
    /// When `socat` is missing or a device is refused.
    ///
    /// # Panics
    /// When the devices do not appear within 10 s.
    pub fn pair(a: (&Netns, &str), b: (&Netns, &str)) -> Result<Self> {
        let sockets = tempfile::tempdir()?;
        let path = |name: &str| sockets.path().join(name).display().to_string();
        let ends = [end(a, &path("a"), &path("b"))?, end(b, &path("b"), &path("a"))?];
        let (near, far) = (Link::existing(a.0, a.1), Link::existing(b.0, b.1));
        for (link, socket) in [(&near, path("a")), (&far, path("b"))] {
            eventually(
                START,
                format!("tun device {} held by socat, if that is installed", link.name()),
                || link.index().is_ok(),
            );
            eventually(START, "socat's socket", || std::path::Path::new(&socket).exists());
            // A packet for an end that is not up yet would end its socat.
            link.netns().sysctl(&format!("net.ipv6.conf.{}.disable_ipv6", link.name()), "1")?;
        }
        near.up()?;
        far.up()?;
        for link in [&near, &far] {
            link.netns().sysctl(&format!("net.ipv6.conf.{}.disable_ipv6", link.name()), "0")?;
        }
        Ok(Self { a: near, b: far, _ends: ends, _sockets: sockets })
    }
}

fn end(device: (&Netns, &str), own: &str, peer: &str) -> Result<Daemon> {
    let tun = format!("TUN,tun-name={},iff-no-pi", device.1);
    let socket = format!("UNIX-SENDTO:{peer},bind={own}");
    Daemon::spawn(device.0, "socat", &["-b", "65536", &tun, &socket])
}
