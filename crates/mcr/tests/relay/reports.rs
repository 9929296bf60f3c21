//! Membership reports on a link: what the kernel upstream hears of joins and leaves.

use std::net::IpAddr;

use testbed::Probe;

/// What a report says of one group: IGMPv3 (RFC 3376, section 4.2) and MLDv2 (RFC 3810, section 5.2) differ in the
/// length of addresses alone.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Record {
    kind: u8,
    pub(crate) group: IpAddr,
    pub(crate) sources: Vec<IpAddr>,
}

impl Record {
    /// Whether it says that the group, or a source of it, is no longer wanted.
    pub(crate) fn leaves(&self) -> bool {
        const CHANGE_TO_INCLUDE_MODE: u8 = 3;
        const BLOCK_OLD_SOURCES: u8 = 6;
        match self.kind {
            CHANGE_TO_INCLUDE_MODE => self.sources.is_empty(),
            kind => kind == BLOCK_OLD_SOURCES,
        }
    }
}

/// The records of all reports since last looked.
pub(crate) fn records(probe: &mut Probe) -> Vec<Record> {
    const REPORTS: [u8; 2] = [0x22, 143];
    let mut found = Vec::new();
    for other in probe.others() {
        let address = match other.ip {
            Some((IpAddr::V4(_), ..)) => 4,
            Some((IpAddr::V6(_), ..)) => 16,
            None => continue,
        };
        if !other.payload.first().is_some_and(|kind| REPORTS.contains(kind)) {
            continue;
        }
        let mut rest = &other.payload[8..];
        while let [kind, words, high, low, addresses @ ..] = rest {
            let count = 1 + usize::from(u16::from_be_bytes([*high, *low]));
            let (own, next) = addresses.split_at(count * address);
            let mut own = own.chunks_exact(address).map(ip);
            found.push(Record { kind: *kind, group: own.next().unwrap(), sources: own.collect() });
            rest = &next[4 * usize::from(*words)..];
        }
    }
    found
}

/// The groups that were left, or left to some source, since last looked.
pub(crate) fn left(probe: &mut Probe) -> Vec<IpAddr> {
    records(probe).into_iter().filter(Record::leaves).map(|record| record.group).collect()
}

fn ip(octets: &[u8]) -> IpAddr {
    match <[u8; 4]>::try_from(octets) {
        Ok(v4) => v4.into(),
        Err(_) => <[u8; 16]>::try_from(octets).unwrap().into(),
    }
}
