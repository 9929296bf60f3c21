//! A tap knows whether it has read all that came.

use std::net::UdpSocket;
use std::num::{NonZeroU16, NonZeroU32};
use std::os::fd::AsFd as _;
use std::time::Duration;

use dataplane::sys::blast::set_udp_segment;
use mcr::generator::tap::{RING_BYTES, Tap};
use mcr::generator::target::Target;
use testbed::skip_unless_available;

use super::cable::{Cable, LONG};

/// Super-frames in the ring: three times as many as it can hold to be read at a time, and some.
const SUPER_FRAMES: usize = 50;

#[test]
fn a_ring_is_empty_once_the_last_of_many_long_frames_is_read() {
    skip_unless_available!();
    let cable = Cable::new();
    cable.s0.link.offload("tx-udp-segmentation", true).unwrap();
    let open = || {
        let target = Target::new("239.1.1.1%d0:5000".parse().unwrap(), NonZeroU16::MIN).unwrap();
        Tap::listen(&target, RING_BYTES, NonZeroU32::MIN).unwrap()
    };
    let mut tap = cable.d0.netns().enter(open);
    let sender = cable.s0.netns().enter(|| UdpSocket::bind("10.10.1.1:0")).unwrap();
    set_udp_segment(sender.as_fd(), 1000).unwrap();
    for _ in 0..SUPER_FRAMES {
        sender.send_to(&[0; 20_000], "239.1.1.1:5000").unwrap();
    }
    let mut read = 0;
    while read < SUPER_FRAMES {
        assert_eq!(tap.empty_ns(), 0, "after {read} super-frames");
        let before = read;
        tap.read(LONG, |tapped| {
            assert_eq!(tapped.segment.map(NonZeroU16::get), Some(1000));
            read += 1;
        })
        .unwrap();
        assert!(read > before, "nothing came after {read} super-frames");
    }
    let empty_ns = tap.empty_ns();
    assert!(empty_ns > 0);
    tap.read(Duration::ZERO, |_| panic!("more than was sent")).unwrap();
    assert!(tap.empty_ns() > empty_ns, "looked at again");
}
