//! Frames and IP packets off the wire: whatever is taken for a datagram can be written and read again as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mcast::wire::{ChecksumTrust, Datagram, Frame, Malformed, Piece, datagram};
use mcr::generator::header::Header;

fn check(parsed: &Datagram<'_>) {
    let repr = datagram::Repr::parse(parsed).expect("addresses of one family");
    let mut buffer = vec![0; repr.packet_len()];
    repr.emit(&mut buffer).expect("what was read can be written");
    assert_eq!(Datagram::parse_ip(&buffer, ChecksumTrust::Verify).as_ref(), Ok(parsed));
    let _ = Header::parse(parsed.payload);
}

fuzz_target!(|bytes: &[u8]| {
    // What is a fragment to one parser is a fragment to the other.
    let whole = Datagram::parse_ip(bytes, ChecksumTrust::Partial);
    match Piece::parse_ip(bytes) {
        Ok(Some(piece)) => {
            assert_eq!(whole, Err(Malformed::Fragment));
            assert!(piece.payload.len() <= bytes.len());
            let _ = piece.header.datagram(piece.payload);
        }
        Ok(None) => assert_ne!(whole, Err(Malformed::Fragment)),
        Err(malformed) => assert!(whole == Err(malformed) || whole == Err(Malformed::Fragment)),
    }
    for trust in [ChecksumTrust::Verify, ChecksumTrust::Trusted] {
        if let Ok(datagram) = Datagram::parse_ip(bytes, trust) {
            check(&datagram);
        }
        if let Ok(frame) = Frame::parse(bytes, trust) {
            check(&frame.datagram);
        }
    }
});
