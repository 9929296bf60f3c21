//! The command line of `mcrgen bench`.

use std::num::{NonZeroU16, NonZeroU32, NonZeroU64};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, ValueEnum};
use mcast::CoreList;
use serde::Serialize;

use super::error::TesterError;
use super::place::Place;
use super::size::{Mix, parse_sizes};
use crate::generator::args::{parse_count, parse_seconds};

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Test {
    /// The highest rate without loss (RFC 3918, section 4.3).
    Throughput,
    /// Latency at given loads (RFC 3918, section 5).
    Latency,
    /// Throughput over the number of groups (RFC 3918, section 4.2).
    Matrix,
    /// Throughput of multicast beside unicast (RFC 3918, section 4.1).
    Mixed,
    /// Delay of joins and leaves (RFC 3918, section 6).
    Join,
    /// The most groups forwarded (RFC 3918, section 7.1).
    Capacity,
}

impl Test {
    /// As it is written on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Throughput => "throughput",
            Self::Latency => "latency",
            Self::Matrix => "matrix",
            Self::Mixed => "mixed",
            Self::Join => "join",
            Self::Capacity => "capacity",
        }
    }
}

/// Numbers of groups of a matrix, packets per second, and unicast packets in a hundred, where none are asked for.
const MATRIX_GROUPS: [u16; 3] = [1, 10, 100];
pub(super) const LOAD: u64 = 10_000;
const CAPACITY_LOAD: u64 = 10;
const UNICAST_SHARE: u8 = 50;

/// A shorter trial is over before a machine that is busy for a moment has sent it.
const TRIAL_LEAST: Duration = Duration::from_millis(10);

/// `mcrgen bench`
#[derive(Debug, Clone, Args, Serialize)]
pub struct Bench {
    /// What to measure.
    #[arg(value_enum, value_name = "TEST")]
    pub test: Test,
    /// Where to send: ENDPOINT[/NETNS], flow i to group+i. NETNS is a name of `ip netns` or a path.
    #[arg(long, value_name = "PLACE")]
    #[serde(serialize_with = "text")]
    pub tx: Place,
    /// Where the device sends to, flow i to group+i; once for each receiver.
    #[arg(long, value_name = "PLACE", required = true)]
    #[serde(serialize_with = "texts")]
    pub rx: Vec<Place>,
    /// UDP payloads in bytes, each measured by itself: sizes and `imix`. Or one mix: SIZE:WEIGHT,...
    #[arg(long, value_name = "LIST", default_value = "1400")]
    #[serde(serialize_with = "mixes")]
    pub size: Vec<SizeList>,
    /// Outputs of the device for each flow: the first N receivers, and again with the next ports.
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "1", value_parser = parse_count::<NonZeroU16>)]
    pub fanout: Vec<NonZeroU16>,
    /// Numbers of flows, each to a group of its own (default: 1; matrix: 1,10,100; capacity: searched).
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = parse_count::<NonZeroU16>)]
    pub groups: Vec<NonZeroU16>,
    /// Packets per second: of all flows for latency (default: 10000) and join (10000), of each for capacity (10).
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = parse_count::<NonZeroU64>)]
    pub load: Vec<NonZeroU64>,
    /// Part of the packets an output may lose in a trial that passes, 0 up to below 1 (default: 0).
    #[arg(long, value_name = "F", value_parser = parse_loss)]
    pub loss: Option<f64>,
    /// Never offer more than this.
    #[arg(long, value_name = "PPS", value_parser = parse_count::<NonZeroU64>)]
    pub most: Option<NonZeroU64>,
    /// How long a trial offers packets.
    #[arg(long, value_name = "S", default_value = "2", value_parser = parse_trial)]
    #[serde(serialize_with = "seconds")]
    pub trial: Duration,
    /// How often each measurement is made.
    #[arg(long, value_name = "N", default_value = "3", value_parser = parse_count::<NonZeroU32>)]
    pub repeat: NonZeroU32,
    /// Longest wait for flows to come after set-up or a join, or to end after a leave.
    #[arg(long, value_name = "S", default_value = "10", value_parser = parse_seconds)]
    #[serde(serialize_with = "seconds")]
    pub wait: Duration,
    /// How long after a trial's last packet others are still waited for; what comes later is lost.
    #[arg(long, value_name = "S", default_value = "2", value_parser = parse_seconds)]
    #[serde(serialize_with = "seconds")]
    pub residual: Duration,
    /// Run by `sh -c` before each step, to set the device up: see mcrgen(1) for what it is told.
    #[arg(long, value_name = "CMD")]
    pub setup: Option<String>,
    /// What makes the device forward (default: the receivers join).
    #[arg(long, value_name = "CMD", requires = "leave")]
    pub join: Option<String>,
    /// What makes it stop.
    #[arg(long, value_name = "CMD", requires = "join")]
    pub leave: Option<String>,
    /// Unicast beside multicast: where to send, in the namespace of --tx, and where it arrives.
    #[arg(long, value_name = "TX=RX")]
    pub unicast: Vec<Pair>,
    /// Unicast packets in a hundred (default: 50).
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = clap::value_parser!(u8).range(0..=100))]
    pub unicast_share: Vec<u8>,
    /// Core the sender runs on (default: the first there is).
    #[arg(long, value_name = "N")]
    pub tx_core: Option<u32>,
    /// Cores the receivers run on, as in 0,2-3 (default: all but the sender's).
    #[arg(long, value_name = "LIST")]
    #[serde(serialize_with = "option_text")]
    pub rx_cores: Option<CoreList>,
    /// Write results.json, table.md and plots there.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// What one `--size` says.
#[derive(Debug, Clone)]
pub struct SizeList(pub Vec<Mix>);

impl FromStr for SizeList {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse_sizes(text).map(Self)
    }
}

/// `TX=RX`: one unicast flow.
#[derive(Debug, Clone, Serialize)]
pub struct Pair {
    /// Where to send.
    #[serde(serialize_with = "text")]
    pub tx: Place,
    /// Where it arrives.
    #[serde(serialize_with = "text")]
    pub rx: Place,
}

impl FromStr for Pair {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (tx, rx) = text.split_once('=').ok_or_else(|| {
            format!("{text:?} has no '=': give where to send and where it arrives, as in 10.0.2.9:7=10.0.2.9:7/left")
        })?;
        let pair = Self { tx: tx.parse()?, rx: rx.parse()? };
        let group = [&pair.tx, &pair.rx].into_iter().find(|place| place.endpoint.address.is_multicast());
        match group {
            Some(group) => Err(format!("{group} is a group: give a host's address")),
            None if pair.tx.netns.is_some() => {
                Err(format!("{}: unicast is sent in the namespace of --tx, so leave it out here", pair.tx))
            }
            None => Ok(pair),
        }
    }
}

impl Bench {
    /// Refuses options that this test has no use for.
    ///
    /// # Errors
    /// Naming the option.
    pub fn check(&self) -> Result<(), TesterError> {
        use Test::{Capacity, Join, Latency, Matrix, Mixed, Throughput};
        let rates: &[Test] = &[Throughput, Matrix, Mixed];
        let given: [(&str, bool, &[Test]); 7] = [
            ("--load", !self.load.is_empty(), &[Latency, Join, Capacity]),
            ("--loss", self.loss.is_some(), rates),
            ("--most", self.most.is_some(), rates),
            ("--join", self.join.is_some(), &[Join]),
            ("--leave", self.leave.is_some(), &[Join]),
            ("--unicast", !self.unicast.is_empty(), &[Mixed]),
            ("--unicast-share", !self.unicast_share.is_empty(), &[Mixed]),
        ];
        let usage = |text: String| Err(TesterError::Usage(text));
        if let Some((option, _, tests)) =
            given.iter().find(|(_, given, tests)| *given && !tests.contains(&self.test))
        {
            let tests: Vec<_> = tests.iter().map(|test| test.name()).collect();
            return usage(format!(
                "{option} says nothing to {}: it is for {}",
                self.test.name(),
                tests.join(", ")
            ));
        }
        let twice = self.rx.iter().enumerate().find(|(at, rx)| self.rx[..*at].contains(rx));
        if let Some((_, rx)) = twice {
            return usage(format!(
                "--rx {rx} is given twice, and both would take the same packets: give it once"
            ));
        }
        if self.test == Mixed && self.unicast.is_empty() {
            return usage("mixed needs at least one --unicast TX=RX to mix multicast with".into());
        }
        let trial = self.trial.as_secs_f64();
        let loads = self.load.iter().filter(|_| self.test != Join).map(|load| ("--load", load));
        let mut rates = loads.chain(self.most.iter().map(|most| ("--most", most)));
        if let Some((option, rate)) = rates.find(|(_, rate)| rate.get() as f64 * trial < 1.0) {
            return usage(format!(
                "{option} {rate} is less than one packet in a trial of {trial} s: give more, or a longer --trial"
            ));
        }
        if matches!(self.test, Join | Capacity) && self.load.len() > 1 {
            return usage(format!("{} takes one --load", self.test.name()));
        }
        let host = self.rx.iter().find(|rx| !rx.endpoint.address.is_multicast());
        match host {
            Some(host) if self.test == Join && self.join.is_none() => usage(format!(
                "{host} is a host, which joins nothing: give --join and --leave, or receivers that are groups"
            )),
            _ => Ok(()),
        }
    }

    /// With what stands for options that were not given, as far as this test has a use for them: what is really done.
    /// Groups of a capacity that is searched stay none.
    #[must_use]
    pub fn with_defaults(&self) -> Self {
        let mut all = self.clone();
        let (groups, load): (&[u16], _) = match self.test {
            Test::Throughput | Test::Mixed => (&[1], None),
            Test::Matrix => (&MATRIX_GROUPS, None),
            Test::Latency | Test::Join => (&[1], Some(LOAD)),
            Test::Capacity => (&[], Some(CAPACITY_LOAD)),
        };
        if all.groups.is_empty() {
            all.groups = groups.iter().copied().filter_map(NonZeroU16::new).collect();
        }
        if all.load.is_empty() {
            all.load = load.and_then(NonZeroU64::new).into_iter().collect();
        }
        if matches!(self.test, Test::Throughput | Test::Matrix | Test::Mixed) {
            all.loss.get_or_insert(0.0);
        }
        if self.test == Test::Mixed && all.unicast_share.is_empty() {
            all.unicast_share.push(UNICAST_SHARE);
        }
        all
    }

    /// All places, in order.
    pub(super) fn places_mut(&mut self) -> impl Iterator<Item = &mut Place> {
        let pairs = self.unicast.iter_mut().flat_map(|pair| [&mut pair.tx, &mut pair.rx]);
        std::iter::once(&mut self.tx).chain(&mut self.rx).chain(pairs)
    }

    /// All sizes, in order.
    pub fn sizes(&self) -> impl Iterator<Item = &Mix> {
        self.size.iter().flat_map(|list| &list.0)
    }
}

fn parse_trial(text: &str) -> Result<Duration, String> {
    parse_seconds(text)
        .ok()
        .filter(|trial| *trial >= TRIAL_LEAST)
        .ok_or_else(|| format!("give seconds from {} on, as in 10 or 0.5", TRIAL_LEAST.as_secs_f64()))
}

fn parse_loss(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|loss| (0.0..1.0).contains(loss))
        .ok_or_else(|| "give a part of 1, as in 0 or 0.001".to_owned())
}

fn mixes<S: serde::Serializer>(lists: &[SizeList], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(lists.iter().flat_map(|list| &list.0))
}

fn text<T: ToString, S: serde::Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&value.to_string())
}

fn texts<T: ToString, S: serde::Serializer>(values: &[T], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(values.iter().map(ToString::to_string))
}

fn option_text<T: ToString, S: serde::Serializer>(
    value: &Option<T>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    value.as_ref().map(ToString::to_string).serialize(serializer)
}

fn seconds<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use serde_json::{Value, json};

    use crate::generator::args::{Cli, Verb};

    fn settings(line: &str) -> Value {
        let line = format!("mcrgen bench {line} --tx 239.1.1.1%s0:5000 --rx 239.2.1.1%d0:6000");
        match Cli::parse_from(line.split_whitespace()).verb {
            Verb::Bench(options) => serde_json::to_value(options.with_defaults()).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn defaults_are_those_of_the_test() {
        let none = Value::Null;
        for (line, groups, load, loss, share) in [
            ("throughput", json!([1]), json!([]), json!(0.0), json!([])),
            ("matrix", json!([1, 10, 100]), json!([]), json!(0.0), json!([])),
            ("mixed", json!([1]), json!([]), json!(0.0), json!([50])),
            ("latency", json!([1]), json!([10_000]), none.clone(), json!([])),
            ("join", json!([1]), json!([10_000]), none.clone(), json!([])),
            ("capacity", json!([]), json!([10]), none, json!([])),
            (
                "mixed --groups 7 --loss 0.5 --unicast-share 0,9",
                json!([7]),
                json!([]),
                json!(0.5),
                json!([0, 9]),
            ),
            ("latency --load 5", json!([1]), json!([5]), Value::Null, json!([])),
        ] {
            let settings = settings(line);
            let found = ["groups", "load", "loss", "unicast_share"].map(|key| settings[key].clone());
            assert_eq!(found, [groups, load, loss, share], "{line}");
        }
    }
}
