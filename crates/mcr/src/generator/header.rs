//! The 18 bytes every generated payload starts with, and the pattern that fills the rest.
//!
//! ```text
//!  0      2      4      6                    12                   18
//!  | "MC" | CRC  | flow | sequence (48 bit)  | send time (48 bit) | pattern ...
//! ```
//! All header fields are in network byte order. The CRC covers the other header fields and the payload's
//! length, so a header that parses names a packet that was really sent, at the length it was sent with. The
//! pattern follows from flow and sequence alone.

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

/// What the packets of one burst have in common: their send time and length, and the CRC as far as it covers them.
#[derive(Debug, Clone, Copy)]
pub struct Stamp {
    sent: [u8; 6],
    crc: u16,
}

impl Stamp {
    /// For payloads of `length` bytes sent at `sent_ns`.
    pub fn new(sent_ns: u64, length: usize) -> Self {
        let [_, _, sent @ ..] = sent_ns.to_be_bytes();
        let [.., high, low] = length.to_be_bytes();
        Self { sent, crc: crc(crc(CRC_START, &[high, low]), &sent) }
    }

    /// Writes a packet's header over the first 18 bytes of `payload`, which has the length the stamp is for.
    ///
    /// # Panics
    /// If `payload` is shorter than the header.
    pub fn emit(&self, flow: u16, sequence: u64, payload: &mut [u8]) {
        payload[..2].copy_from_slice(&MAGIC);
        payload[2..4].copy_from_slice(&self.check(flow, sequence).to_be_bytes());
        let [_, _, sequence @ ..] = sequence.to_be_bytes();
        payload[4..6].copy_from_slice(&flow.to_be_bytes());
        payload[6..12].copy_from_slice(&sequence);
        payload[12..HEADER_BYTES].copy_from_slice(&self.sent);
    }

    /// The CRC of a packet's header.
    fn check(&self, flow: u16, sequence: u64) -> u16 {
        let [_, _, sequence @ ..] = sequence.to_be_bytes();
        crc(crc(self.crc, &flow.to_be_bytes()), &sequence)
    }
}

impl Header {
    /// Writes the header over the first 18 bytes of `payload`, whose length becomes part of the CRC.
    ///
    /// # Panics
    /// If `payload` is shorter than the header.
    pub fn emit(self, payload: &mut [u8]) {
        Stamp::new(self.sent_ns, payload.len()).emit(self.flow, self.sequence, payload);
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
        let [_, _, c0, c1, f0, f1, s0, s1, s2, s3, s4, s5, t0, t1, t2, t3, t4, t5] = *header;
        let parsed = Self {
            flow: u16::from_be_bytes([f0, f1]),
            sequence: u64::from_be_bytes([0, 0, s0, s1, s2, s3, s4, s5]),
            sent_ns: u64::from_be_bytes([0, 0, t0, t1, t2, t3, t4, t5]),
        };
        let stamp = Stamp::new(parsed.sent_ns, payload.len());
        if u16::from_be_bytes([c0, c1]) != stamp.check(parsed.flow, parsed.sequence) {
            return Err(NotIntact::Corrupted);
        }
        let tail = &payload[HEADER_BYTES..];
        if tail != pattern(parsed.flow, parsed.sequence, tail.len()) {
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
/// If `payload` is shorter than the header or longer than a UDP datagram's.
pub fn fill_pattern(flow: u16, sequence: u64, payload: &mut [u8]) {
    let tail = &mut payload[HEADER_BYTES..];
    tail.copy_from_slice(pattern(flow, sequence, tail.len()));
}

/// The pattern of `flow` and `sequence`: a stretch of one table of random bytes. Two packets share their stretch
/// once in [`STRETCHES`], so payloads under each other's headers do not go unnoticed for long.
fn pattern(flow: u16, sequence: u64, length: usize) -> &'static [u8] {
    let start = mix((u64::from(flow) << 48) | (sequence & BITS_48)) as usize % STRETCHES;
    &PATTERN[start..start + length]
}

/// Where stretches begin. The first level cache holds all that packets of usual size have of the table.
const STRETCHES: usize = 4096;

/// Random bytes for the longest payload from the last beginning on.
static PATTERN: [u8; STRETCHES + (1 << 16)] = {
    let mut table = [0; STRETCHES + (1 << 16)];
    let mut at = 0;
    while at < table.len() {
        table[at] = (mix(at as u64) >> 56) as u8;
        at += 1;
    }
    table
};

/// SplitMix64 (Steele, Lea, Flood 2014).
const fn mix(word: u64) -> u64 {
    let mut z = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// CRC-16/CCITT-FALSE, over the payload's length, then send time, flow and sequence: finds every
/// error of up to three bits and every burst of up to 16.
fn crc(start: u16, bytes: &[u8]) -> u16 {
    bytes.iter().fold(start, |crc, byte| (crc << 8) ^ CRC_TABLE[usize::from((crc >> 8) as u8 ^ byte)])
}

const CRC_START: u16 = 0xffff;

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
        assert_eq!(crc, bitwise_crc(&[0, 22, 0, 0, 0, 0, 0, 3, 0, 1, 0, 0, 0, 0, 0, 2]));
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
