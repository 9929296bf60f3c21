//! The 18 bytes every generated payload starts with, and the pattern that fills the rest.
//!
//! ```text
//!  0      2      4      6                    12                   18
//!  | "MC" | CRC  | flow | sequence (48 bit)  | send time (48 bit) | pattern ...
//! ```
//! All header fields are in network byte order. The CRC covers the other header fields and the payload's
//! length, so a header that parses names a packet that was really sent, at the length it was sent with. The
//! pattern follows from flow and sequence alone; its words are little-endian, which is what is cheap to make.

/// Bytes of the header: the least a generated payload has.
pub const HEADER_BYTES: usize = 18;

/// Largest sequence number plus one: 2^48, nine years of a million packets per second.
pub const SEQUENCE_END: u64 = 1 << 48;

/// "MC". Neither RTP (first two bits 10) nor MPEG-TS (0x47) payloads start so.
const MAGIC: [u8; 2] = *b"MC";

const BITS_48: u64 = (1 << 48) - 1;

/// What a generated payload says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Which of the sender's flows, from 0.
    pub flow: u16,
    /// Position within the flow, from 0; below 2^48.
    pub sequence: u64,
    /// `CLOCK_MONOTONIC` of the sending host right before the send call, nanoseconds, its low 48 bits.
    pub sent_ns: u64,
}

/// Why a payload is not an intact one of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotIntact {
    /// It does not start with the magic: somebody else's.
    Foreign,
    /// It does, but header, length or pattern are not what was sent.
    Corrupted,
}

impl Header {
    /// Writes the header over the first 18 bytes of `payload`, whose length becomes part of the CRC.
    ///
    /// # Panics
    /// If `payload` is shorter than the header.
    pub fn emit(self, payload: &mut [u8]) {
        let length = payload.len();
        let mut body = [0; HEADER_BYTES - 4];
        body[..2].copy_from_slice(&self.flow.to_be_bytes());
        body[2..8].copy_from_slice(&self.sequence.to_be_bytes()[2..]);
        body[8..].copy_from_slice(&self.sent_ns.to_be_bytes()[2..]);
        payload[..2].copy_from_slice(&MAGIC);
        payload[2..4].copy_from_slice(&check(&body, length).to_be_bytes());
        payload[4..HEADER_BYTES].copy_from_slice(&body);
    }

    /// Reads the header of a received payload and checks header, length and pattern.
    ///
    /// # Errors
    /// What the payload is instead.
    pub fn parse(payload: &[u8]) -> Result<Self, NotIntact> {
        if !payload.starts_with(&MAGIC) {
            return Err(NotIntact::Foreign);
        }
        let header: &[u8; HEADER_BYTES] = payload.first_chunk().ok_or(NotIntact::Corrupted)?;
        let [_, _, c0, c1, body @ ..] = *header;
        if u16::from_be_bytes([c0, c1]) != check(&body, payload.len()) {
            return Err(NotIntact::Corrupted);
        }
        let [f0, f1, s0, s1, s2, s3, s4, s5, t0, t1, t2, t3, t4, t5] = body;
        let parsed = Self {
            flow: u16::from_be_bytes([f0, f1]),
            sequence: u64::from_be_bytes([0, 0, s0, s1, s2, s3, s4, s5]),
            sent_ns: u64::from_be_bytes([0, 0, t0, t1, t2, t3, t4, t5]),
        };
        if !pattern_matches(parsed.flow, parsed.sequence, &payload[HEADER_BYTES..]) {
            return Err(NotIntact::Corrupted);
        }
        Ok(parsed)
    }

    /// Nanoseconds from the send time to `now_ns` (`CLOCK_MONOTONIC` of the same host); absent when the send
    /// time lies in the future, as it does when the sender's clock is another host's.
    pub fn age_ns(self, now_ns: u64) -> Option<u64> {
        let age = now_ns.wrapping_sub(self.sent_ns) & BITS_48;
        (age < 1 << 47).then_some(age)
    }
}

/// Fills the bytes after the header with the pattern of `flow` and `sequence`.
///
/// # Panics
/// If `payload` is shorter than the header.
pub fn fill_pattern(flow: u16, sequence: u64, payload: &mut [u8]) {
    let mut words = Pattern::new(flow, sequence);
    let (whole, rest) = payload[HEADER_BYTES..].as_chunks_mut::<8>();
    for bytes in whole {
        *bytes = words.step();
    }
    rest.copy_from_slice(&words.step()[..rest.len()]);
}

fn pattern_matches(flow: u16, sequence: u64, tail: &[u8]) -> bool {
    let mut words = Pattern::new(flow, sequence);
    let (whole, rest) = tail.as_chunks::<8>();
    // No early exit: the common case compares everything, and a branch per word costs more than it saves.
    let differing = whole
        .iter()
        .fold(0, |seen, bytes| seen | (u64::from_le_bytes(*bytes) ^ u64::from_le_bytes(words.step())));
    differing == 0 && words.step().starts_with(rest)
}

/// The pattern's words: an odd step from a start that differs in about half its bits between neighbours.
struct Pattern(u64);

impl Pattern {
    fn new(flow: u16, sequence: u64) -> Self {
        // The finaliser of SplitMix64 (Steele, Lea, Flood 2014).
        let mut z = (u64::from(flow) << 48 | sequence & BITS_48).wrapping_add(Self::STEP);
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        Self(z ^ z >> 31)
    }

    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

    fn step(&mut self) -> [u8; 8] {
        let word = self.0;
        self.0 = word.wrapping_add(Self::STEP);
        word.to_le_bytes()
    }
}

/// CRC-16/CCITT-FALSE over the header's fields and the payload's length: finds every error of up to three
/// bits and every burst of up to 16.
fn check(body: &[u8; HEADER_BYTES - 4], length: usize) -> u16 {
    let step = |crc: u16, byte: u8| crc << 8 ^ CRC_TABLE[usize::from((crc >> 8) as u8 ^ byte)];
    let crc = body.iter().fold(0xffff, |crc, byte| step(crc, *byte));
    length.to_be_bytes()[size_of::<usize>() - 2..].iter().fold(crc, |crc, byte| step(crc, *byte))
}

const CRC_TABLE: [u16; 256] = {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        let mut crc = (at as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 };
            bit += 1;
        }
        table[at] = crc;
        at += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn payload(header: Header, size: usize) -> Vec<u8> {
        let mut bytes = vec![0; size];
        fill_pattern(header.flow, header.sequence, &mut bytes);
        header.emit(&mut bytes);
        bytes
    }

    fn any_header() -> impl Strategy<Value = Header> {
        (any::<u16>(), 0..SEQUENCE_END, 0..SEQUENCE_END).prop_map(|(flow, sequence, sent_ns)| Header {
            flow,
            sequence,
            sent_ns,
        })
    }

    #[test]
    fn golden_bytes() {
        let bytes = payload(Header { flow: 1, sequence: 2, sent_ns: 3 }, 22);
        let crc = u16::from_be_bytes([bytes[2], bytes[3]]);
        assert_eq!(&bytes[..2], b"MC");
        assert_eq!(&bytes[4..18], &[0, 1, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 3]);
        assert_eq!(crc, bitwise_crc(&[0, 1, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 3, 0, 22]));
        assert_eq!(bitwise_crc(b"123456789"), 0x29b1, "the catalogue's check value");
    }

    fn bitwise_crc(bytes: &[u8]) -> u16 {
        bytes.iter().fold(0xffff, |crc, byte| {
            (0..8).fold(
                crc ^ u16::from(*byte) << 8,
                |c, _| if c & 0x8000 == 0 { c << 1 } else { c << 1 ^ 0x1021 },
            )
        })
    }

    #[test]
    fn foreign_payloads() {
        for foreign in [&b""[..], b"M", b"RTP and others", &[0x47; 188], &[0x80, 33, 0, 0]] {
            assert_eq!(Header::parse(foreign), Err(NotIntact::Foreign));
        }
    }

    #[test]
    fn age_survives_the_wrap_of_48_bits() {
        let header = |sent_ns| Header { flow: 0, sequence: 0, sent_ns };
        assert_eq!(header(10).age_ns(25), Some(15));
        assert_eq!(header(BITS_48).age_ns((7 << 48) + 4), Some(5));
        assert_eq!(header(25).age_ns(10), None);
    }

    proptest! {
        #[test]
        fn round_trip(header in any_header(), size in HEADER_BYTES..2000) {
            prop_assert_eq!(Header::parse(&payload(header, size)), Ok(header));
        }

        #[test]
        fn any_flipped_bit_is_seen(header in any_header(), size in HEADER_BYTES..300, at in any::<prop::sample::Index>(), bit in 0..8u32) {
            let mut bytes = payload(header, size);
            bytes[at.index(size)] ^= 1u8 << bit;
            prop_assert!(Header::parse(&bytes).is_err());
        }

        #[test]
        fn another_length_is_seen(header in any_header(), size in HEADER_BYTES..300, other in HEADER_BYTES..300) {
            prop_assume!(size != other);
            let mut bytes = payload(header, size);
            bytes.resize(other, 0);
            prop_assert_eq!(Header::parse(&bytes), Err(NotIntact::Corrupted));
        }
    }
}
