//! The command line.

use std::net::IpAddr;
use std::num::{IntErrorKind, NonZeroU16, NonZeroU64, ParseIntError};
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use mcast::{Dscp, Endpoint};

use super::header::HEADER_BYTES;
use super::pacing::Rate;
use super::target;
use crate::tester::args::Bench;

/// Most payload a UDP datagram has over IPv4: 65,535 less both headers (RFC 768, RFC 791).
const PAYLOAD_MAX: usize = 65_507;

/// Send measurable UDP traffic, or receive it and account for every packet.
#[derive(Debug, Parser)]
#[command(name = "mcrgen", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
    /// Print one JSON object on standard output instead of text.
    #[arg(long, global = true)]
    pub json: bool,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Send numbered, time-stamped datagrams.
    Send(Send),
    /// Receive them and account for every one: exit code 1 on loss, duplicates, corruption or nothing received.
    Recv(Recv),
    /// Measure a relay, router or switch between two or more interfaces of this host, by RFC 3918.
    Bench(Box<Bench>),
}

/// `mcrgen send`
#[derive(Debug, Args)]
pub struct Send {
    /// Where to: ADDRESS[%INTERFACE]:PORT. Groups need the interface. Flow i goes to group+i, or to a host's port+i.
    pub endpoint: Endpoint,
    /// Packets per second over all flows, or `max`.
    #[arg(long, value_name = "PPS", default_value = "1000", value_parser = parse_rate)]
    pub rate: Rate,
    /// UDP payload, the header of 18 bytes included.
    #[arg(long, value_name = "BYTES", default_value_t = 1400, value_parser = parse_size)]
    pub size: usize,
    /// Number of flows, served in turn.
    #[arg(long, value_name = "N", default_value = "1", value_parser = parse_count::<NonZeroU16>)]
    pub flows: NonZeroU16,
    /// End after this many seconds (default: at SIGINT).
    #[arg(long, value_name = "S", conflicts_with = "count", value_parser = parse_seconds)]
    pub duration: Option<Duration>,
    /// End after offering this many packets over all flows.
    #[arg(long, value_name = "N", value_parser = parse_count::<NonZeroU64>)]
    pub count: Option<NonZeroU64>,
    /// Source address; one this host does not own takes CAP_NET_ADMIN. SOURCE@ADDRESS says the same.
    #[arg(long, value_name = "ADDR", value_parser = parse_source)]
    pub source: Option<IpAddr>,
    /// TTL or hop limit.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u8).range(1..))]
    pub ttl: u8,
    /// Differentiated services code point, 0 to 63.
    #[arg(long, value_name = "N", default_value = "0", value_parser = parse_dscp)]
    pub dscp: Dscp,
}

/// `mcrgen recv`
#[derive(Debug, Args)]
pub struct Recv {
    /// What to: [SOURCE@]ADDRESS[%INTERFACE][:PORT]. A group needs the interface and is joined; a host's address
    /// needs the port. Flow i is group+i, or port+i.
    pub endpoint: Endpoint,
    /// Number of flows.
    #[arg(long, value_name = "N", default_value = "1", value_parser = parse_count::<NonZeroU16>)]
    pub flows: NonZeroU16,
    /// End after this many seconds; sooner if there is silence.
    #[arg(long, value_name = "S", value_parser = parse_seconds)]
    pub duration: Option<Duration>,
    /// End after this many seconds without a packet, once there was one.
    #[arg(long, value_name = "S", value_parser = parse_seconds, default_value = "2")]
    pub silence: Duration,
    /// End with this many different packets over all flows; what lacks of them is lost.
    #[arg(long, value_name = "N", value_parser = parse_count::<NonZeroU64>)]
    pub count: Option<NonZeroU64>,
}

/// A number of something, of which there is at least one.
pub(crate) fn parse_count<T: FromStr<Err = ParseIntError>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: ParseIntError| match error.kind() {
        IntErrorKind::PosOverflow => "this is too many".to_owned(),
        _ => "give a whole number from 1 on".to_owned(),
    })
}

fn parse_source(text: &str) -> Result<IpAddr, String> {
    let address = text.parse::<IpAddr>().map_err(|error| error.to_string())?;
    target::host(address).map_err(|error| error.to_string())
}

fn parse_rate(text: &str) -> Result<Rate, String> {
    if text == "max" {
        return Ok(Rate::Max);
    }
    text.parse()
        .map(Rate::PerSecond)
        .map_err(|_| "give packets per second as a whole number from 1 on, or `max`".to_owned())
}

fn parse_size(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|size| (HEADER_BYTES..=PAYLOAD_MAX).contains(size))
        .ok_or_else(|| format!("give {HEADER_BYTES} to {PAYLOAD_MAX} bytes"))
}

pub(crate) fn parse_seconds(text: &str) -> Result<Duration, String> {
    text.parse()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| "give seconds above 0, as in 10 or 0.5".to_owned())
}

fn parse_dscp(text: &str) -> Result<Dscp, String> {
    text.parse().ok().and_then(Dscp::new).ok_or_else(|| "give a code point from 0 to 63".to_owned())
}
