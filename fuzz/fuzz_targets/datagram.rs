//! Frames and IP packets off the wire: whatever is taken for a datagram can be written and read again as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mcast::wire::{ChecksumTrust, Datagram, Frame};
use mcr::generator::header::Header;

fuzz_target!(|bytes: &[u8]| {
    for trust in [ChecksumTrust::Verify, ChecksumTrust::Trusted] {
        if let Ok(datagram) = Datagram::parse_ip(bytes, trust) {
            assert!(datagram.payload.len() <= bytes.len());
            assert_eq!(datagram.source.is_ipv4(), datagram.destination.is_ipv4());
            let _ = Header::parse(datagram.payload);
        }
        let Ok(frame) = Frame::parse(bytes, trust) else { continue };
        let mut buffer = vec![0; frame.frame_len()];
        frame.emit(&mut buffer).expect("what was read can be written");
        assert_eq!(Frame::parse(&buffer, ChecksumTrust::Verify).as_ref(), Ok(&frame));
    }
});
