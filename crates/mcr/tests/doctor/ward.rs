//! A relay to be examined, frames that arrive meanwhile, and what was found.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::Value;
use testbed::{Datagram, Injector, Line, Programs, Relay, eventually, rule};

pub(crate) const PROGRAMS: Programs =
    Programs { mcrd: env!("CARGO_BIN_EXE_mcrd"), mcrctl: env!("CARGO_BIN_EXE_mcrctl") };

/// What a test waits for at most.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// Between two rounds of frames: some hundred are heard in one examination.
const PACE: Duration = Duration::from_millis(5);

/// Sender `s0` — relay `r-in`, `r-out` — receiver `d0`; the addresses are those of [`Line`].
pub(crate) struct Ward {
    pub(crate) relay: Relay,
    pub(crate) line: Line,
    /// Puts frames on the sender's end.
    pub(crate) input: Arc<Injector>,
}

impl Ward {
    /// With one rule, named `a`.
    pub(crate) fn of(input: &str, outputs: &[&str]) -> Self {
        Self::with(&rule("a", input, outputs))
    }

    /// With these lines of a rule file.
    pub(crate) fn with(rules: &str) -> Self {
        Self::on(Line::new("doc").unwrap(), rules)
    }

    /// The same on links that were prepared.
    pub(crate) fn on(line: Line, rules: &str) -> Self {
        for port in [&line.ingress, &line.egress] {
            eventually(SOON, "carrier", || port.link.carrier().unwrap());
        }
        let relay = Relay::start(PROGRAMS, line.relay(), rules).unwrap();
        let input = Arc::new(Injector::on(&line.sender.link).unwrap());
        Self { relay, line, input }
    }

    /// Sends these again and again.
    pub(crate) fn stream(&self, datagrams: &[Datagram]) -> Stream {
        self.stream_of(datagrams.iter().map(|datagram| datagram.frame(self.input.mac())).collect())
    }

    /// The same with frames.
    pub(crate) fn stream_of(&self, frames: Vec<Vec<u8>>) -> Stream {
        let (stop, input) = (Arc::new(AtomicBool::new(false)), self.input.clone());
        let stopped = stop.clone();
        let sent = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                frames.iter().for_each(|frame| input.send_raw(frame).unwrap());
                thread::sleep(PACE);
            }
        });
        Stream { stop, sent: Some(sent) }
    }

    /// What is found of rule `a`.
    pub(crate) fn findings(&self) -> Found {
        self.found(&["doctor", "a"])
    }

    /// The same while these arrive.
    pub(crate) fn findings_with(&self, datagrams: &[Datagram]) -> Found {
        let _stream = self.stream(datagrams);
        self.findings()
    }

    /// What `mcrctl --json` prints with these arguments; its exit code must say whether a check failed.
    pub(crate) fn found(&self, arguments: &[&str]) -> Found {
        let finished = self.relay.ctl(&[&["--json"], arguments].concat());
        let found = Found(finished.json());
        let fails = !found.with("fail").is_empty();
        assert_eq!(finished.code(), i32::from(fails), "{:#}", found.0);
        found
    }
}

/// A document of `doctor`.
#[derive(Debug)]
pub(crate) struct Found(pub(crate) Value);

impl Found {
    fn all(&self) -> impl Iterator<Item = &Value> {
        let rules = self.0["rules"].as_array().unwrap().iter();
        rules.flat_map(|rule| rule["checks"].as_array().unwrap()).chain(self.0["host"].as_array().unwrap())
    }

    /// Names of the checks that came to this verdict, in order, each once.
    pub(crate) fn with(&self, verdict: &str) -> Vec<&str> {
        let mut names: Vec<_> =
            self.all().filter(|f| f["verdict"] == verdict).map(|f| f["check"].as_str().unwrap()).collect();
        names.dedup();
        names
    }

    /// The one finding of a check that is about the input, the host, or the rule's only output.
    pub(crate) fn check(&self, name: &str) -> &Value {
        let found: Vec<_> = self.all().filter(|finding| finding["check"] == name).collect();
        assert_eq!(found.len(), 1, "{name}: {:#}", self.0);
        found[0]
    }

    /// That a check came to a verdict, with these words in its evidence or remedy.
    #[track_caller]
    pub(crate) fn assert(&self, name: &str, verdict: &str, words: &str) {
        assert_finding(self.check(name), verdict, words);
    }

    /// The same of the output that begins so.
    #[track_caller]
    pub(crate) fn assert_output(&self, output: &str, name: &str, verdict: &str, words: &str) {
        let of_output = |finding: &&Value| {
            finding["check"] == name && finding["output"].as_str().is_some_and(|o| o.starts_with(output))
        };
        let found: Vec<_> = self.all().filter(of_output).collect();
        assert_eq!(found.len(), 1, "{name} of {output}: {:#}", self.0);
        assert_finding(found[0], verdict, words);
    }
}

#[track_caller]
fn assert_finding(finding: &Value, verdict: &str, words: &str) {
    let text = |key: &str| finding[key].as_str().unwrap();
    assert_eq!(text("verdict"), verdict, "{finding:#}");
    assert!(text("evidence").contains(words) || text("remedy").contains(words), "{words:?} in {finding:#}");
    assert!(!text("evidence").is_empty(), "{finding:#}");
    if ["warn", "fail"].contains(&verdict) {
        assert!(!text("remedy").is_empty(), "{finding:#}");
    }
}

/// Frames under way until it goes.
pub(crate) struct Stream {
    stop: Arc<AtomicBool>,
    sent: Option<JoinHandle<()>>,
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.sent.take().map(JoinHandle::join);
        assert!(thread::panicking() || matches!(ended, Some(Ok(()))), "the stream broke off");
    }
}

/// A datagram to 239.1.1.1:5000 from the sender.
pub(crate) fn four() -> Datagram {
    Datagram::between("10.10.1.100:4000", "239.1.1.1:5000").ttl(16).payload(vec![7; 100])
}

/// A datagram to [ff3e::1:1]:5000 from the sender.
pub(crate) fn six() -> Datagram {
    Datagram::between("[fd00:1::100]:4000", "[ff3e::1:1]:5000").ttl(16).payload(vec![7; 100])
}
