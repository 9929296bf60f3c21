//! The two STATS lines a relay prints each second, read strictly: a line that begins like one and is not one
//! fails the test.

use std::collections::BTreeMap;

/// `[STATS:Ingress] recv=… matched=… parse_err=… no_match=… buf_exhaust=… (… pps)`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IngressStats {
    /// Frames offered.
    pub recv: u64,
    /// Frames that matched a rule.
    pub matched: u64,
    /// Frames that could not be parsed.
    pub parse_err: u64,
    /// Frames without a rule.
    pub no_match: u64,
    /// Frames lost for want of buffers.
    pub buf_exhaust: u64,
    /// Frames per second.
    pub pps: u64,
}

/// `[STATS:Egress] sent=… submitted=… errors=… bytes=… (… pps)`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EgressStats {
    /// Packets sent.
    pub sent: u64,
    /// Packets handed over for sending.
    pub submitted: u64,
    /// Packets that failed.
    pub errors: u64,
    /// UDP payload bytes sent.
    pub bytes: u64,
    /// Packets per second.
    pub pps: u64,
}

/// The last line of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// From the ingress line.
    pub ingress: IngressStats,
    /// From the egress line.
    pub egress: EgressStats,
}

impl IngressStats {
    /// Reads a line; `None` when it is no ingress STATS line.
    ///
    /// # Panics
    /// When it begins like one and is not.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let (mut fields, pps) = fields(line, "[STATS:Ingress] ")?;
        let mut take = |name| take(&mut fields, name, line);
        let parsed = Self {
            recv: take("recv"),
            matched: take("matched"),
            parse_err: take("parse_err"),
            no_match: take("no_match"),
            buf_exhaust: take("buf_exhaust"),
            pps,
        };
        assert!(fields.is_empty(), "unknown fields {fields:?} in {line:?}");
        Some(parsed)
    }

    /// Whether every frame offered is accounted for exactly once.
    #[must_use]
    pub fn balances(&self) -> bool {
        self.recv == self.matched + self.parse_err + self.no_match + self.buf_exhaust
    }
}

impl EgressStats {
    /// Reads a line; `None` when it is no egress STATS line.
    ///
    /// # Panics
    /// When it begins like one and is not.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let (mut fields, pps) = fields(line, "[STATS:Egress] ")?;
        let mut take = |name| take(&mut fields, name, line);
        let parsed = Self {
            sent: take("sent"),
            submitted: take("submitted"),
            errors: take("errors"),
            bytes: take("bytes"),
            pps,
        };
        assert!(fields.is_empty(), "unknown fields {fields:?} in {line:?}");
        Some(parsed)
    }

    /// Whether every packet handed over is accounted for exactly once.
    #[must_use]
    pub fn balances(&self) -> bool {
        self.submitted == self.sent + self.errors
    }
}

fn fields<'a>(line: &'a str, prefix: &str) -> Option<(BTreeMap<&'a str, u64>, u64)> {
    let rest = line.strip_prefix(prefix)?;
    let read = || {
        let (fields, rate) = rest.rsplit_once(" (")?;
        let pps = rate.strip_suffix(" pps)")?.parse().ok()?;
        let pair = |field: &'a str| {
            let (name, value) = field.split_once('=')?;
            Some((name, value.parse().ok()?))
        };
        Some((fields.split(' ').map(pair).collect::<Option<_>>()?, pps))
    };
    Some(read().unwrap_or_else(|| panic!("malformed STATS line {line:?}")))
}

fn take(fields: &mut BTreeMap<&str, u64>, name: &str, line: &str) -> u64 {
    fields.remove(name).unwrap_or_else(|| panic!("no {name} in {line:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_documented_form_are_read() {
        let line = "[STATS:Ingress] recv=6129022 matched=3881980 parse_err=1 no_match=21 buf_exhaust=2247020 (490000 pps)";
        let ingress = IngressStats::parse(line).unwrap();
        assert_eq!((ingress.recv, ingress.matched, ingress.pps), (6_129_022, 3_881_980, 490_000));
        assert!(ingress.balances());
        let line = "[STATS:Egress] sent=10 submitted=12 errors=2 bytes=14000 (5 pps)";
        let egress = EgressStats::parse(line).unwrap();
        assert_eq!((egress.bytes, egress.errors, egress.pps), (14_000, 2, 5));
        assert!(egress.balances());
        assert_eq!(EgressStats::parse("listening"), None);
        assert_eq!(IngressStats::parse(line), None);
    }

    #[test]
    #[should_panic(expected = "no errors in")]
    fn a_missing_field_fails() {
        let _ = EgressStats::parse("[STATS:Egress] sent=10 submitted=12 bytes=1 (5 pps)");
    }

    #[test]
    #[should_panic(expected = "malformed")]
    fn a_malformed_line_fails() {
        let _ = EgressStats::parse("[STATS:Egress] sent=10 submitted=12 errors=0 bytes=1");
    }
}
