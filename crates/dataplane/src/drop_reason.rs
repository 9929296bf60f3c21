//! Why a frame was not relayed.

/// Where a reason stands in the ingress ledger `recv = matched + parse_err + no_match + buf_exhaust`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ledger {
    /// The frame could not be read.
    ParseErr,
    /// It is sound, but no rule takes it.
    NoMatch,
    /// It was lost for want of room.
    BufExhaust,
    /// A rule took it; it was dropped afterwards, inside `matched`.
    Matched,
}

macro_rules! drop_reasons {
    ($($(#[$doc:meta])* $variant:ident = $name:literal in $ledger:ident,)*) => {
        /// Why a frame was not relayed: the index of its counter and the name shown for it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(usize)]
        pub enum DropReason {
            $($(#[$doc])* $variant,)*
        }

        impl DropReason {
            /// All reasons, in the order of their counters.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The name operators see.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }

            /// Its place in the ingress ledger.
            pub fn ledger(self) -> Ledger {
                match self { $(Self::$variant => Ledger::$ledger),* }
            }
        }
    };
}

drop_reasons! {
    /// A header is cut short or contradicts itself.
    Malformed = "malformed" in ParseErr,
    /// The IPv4 header's or UDP's checksum is wrong.
    BadChecksum = "bad_checksum" in ParseErr,
    /// A fragment of which no datagram came: others were missing after two seconds, it overlaps another or has an
    /// impossible length, memory was short, or its worker died.
    Fragment = "fragment" in ParseErr,
    /// Another protocol than UDP.
    NotUdp = "not_udp" in NoMatch,
    /// No rule names this interface, address and port.
    NoRule = "no_rule" in NoMatch,
    /// Rules name it, all for other sources.
    WrongSource = "wrong_source" in NoMatch,
    /// Sent by this daemon: from its own source address and port, or looped back.
    OwnFrame = "own_frame" in NoMatch,
    /// Addressed to another host by the link layer.
    OtherHost = "other_host" in NoMatch,
    /// Longer than a ring slot, with no room left in the queue that takes such frames.
    Truncated = "truncated" in BufExhaust,
    /// A fragment of a datagram that matched, beyond the one for which that counts.
    Reassembled = "reassembled" in Matched,
    /// Its TTL is used up on every leg.
    Ttl = "ttl" in Matched,
    /// Every leg of its rule is pending.
    NoLeg = "no_leg" in Matched,
    /// The kernel refused it on every leg.
    Egress = "egress" in Matched,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_index_their_counters() {
        for (i, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, i);
        }
    }
}
