//! Generates and measures multicast and unicast UDP traffic.

use std::num::{NonZeroU16, NonZeroU64};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use mcast::{Dscp, Endpoint};
use mcr::generator::header::HEADER_BYTES;
use mcr::generator::pacing::Rate;
use mcr::generator::recv::{self, RecvReport, Until};
use mcr::generator::send::{Limit, Sender};
use mcr::generator::stop::Stop;
use mcr::generator::tap::Tap;
use mcr::generator::target::{self, Target, TargetError};
use mcr::generator::transmit::{Headers, TransmitError};

/// Most payload a UDP datagram has over IPv4: 65,535 less both headers (RFC 768, RFC 791).
const PAYLOAD_MAX: usize = 65_507;

/// Send measurable UDP traffic, or receive it and account for every packet.
#[derive(Debug, Parser)]
#[command(name = "mcrgen", version)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
    /// Print one JSON object on standard output instead of text.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Send numbered, time-stamped datagrams.
    Send(Send),
    /// Receive them and account for every one: exit code 1 on loss, duplicates, corruption or nothing received.
    Recv(Recv),
}

/// `mcrgen send`
#[derive(Debug, Args)]
struct Send {
    /// Where to: ADDRESS[%INTERFACE]:PORT. Groups need the interface. Flow i goes to group+i, or to a host's port+i.
    endpoint: Endpoint,
    /// Packets per second over all flows, or `max`.
    #[arg(long, value_name = "PPS", default_value = "1000", value_parser = parse_rate)]
    rate: Rate,
    /// UDP payload, the header of 18 bytes included.
    #[arg(long, value_name = "BYTES", default_value_t = 1400, value_parser = parse_size)]
    size: usize,
    /// Number of flows, served in turn.
    #[arg(long, value_name = "N", default_value = "1")]
    flows: NonZeroU16,
    /// End after this many seconds (default: at SIGINT).
    #[arg(long, value_name = "S", conflicts_with = "count", value_parser = parse_seconds)]
    duration: Option<Duration>,
    /// End after offering this many packets over all flows.
    #[arg(long, value_name = "N")]
    count: Option<NonZeroU64>,
    /// Source address; one this host does not own takes CAP_NET_ADMIN. SOURCE@ADDRESS says the same.
    #[arg(long, value_name = "ADDR", value_parser = parse_source)]
    source: Option<std::net::IpAddr>,
    /// TTL or hop limit.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u8).range(1..))]
    ttl: u8,
    /// Differentiated services code point, 0 to 63.
    #[arg(long, value_name = "N", default_value = "0", value_parser = parse_dscp)]
    dscp: Dscp,
}

/// `mcrgen recv`
#[derive(Debug, Args)]
struct Recv {
    /// What to: [SOURCE@]ADDRESS[%INTERFACE][:PORT]. A group needs the interface and is joined; a host's address
    /// needs the port. Flow i is group+i, or port+i.
    endpoint: Endpoint,
    /// Number of flows.
    #[arg(long, value_name = "N", default_value = "1")]
    flows: NonZeroU16,
    /// End after this many seconds. Without it too, 2 s of silence after the first packet end the run.
    #[arg(long, value_name = "S", value_parser = parse_seconds)]
    duration: Option<Duration>,
    /// End with this many different packets over all flows; what lacks of them is lost.
    #[arg(long, value_name = "N")]
    count: Option<NonZeroU64>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match &cli.verb {
        Verb::Send(options) => send(options, cli.json),
        Verb::Recv(options) => recv(options, cli.json),
    };
    done.unwrap_or_else(|error| {
        if cli.json {
            println!("{}", serde_json::json!({ "error": error.to_string() }));
        }
        eprintln!("mcrgen: {error}");
        let usage = error.is::<TargetError>()
            || matches!(
                error.downcast_ref::<TransmitError>(),
                Some(TransmitError::Target(_) | TransmitError::Family(..))
            );
        ExitCode::from(if usage { 2 } else { 1 })
    })
}

/// Sends and reports; exit code 1 when nothing could be sent.
fn send(options: &Send, json: bool) -> anyhow::Result<ExitCode> {
    let target = Target::new(options.endpoint.clone(), options.flows)?;
    let headers = Headers {
        source: options.source.or(target.source()),
        ttl: options.ttl,
        dscp: options.dscp,
        size: options.size,
    };
    let limit = match (options.count, options.duration) {
        (Some(count), _) => Limit::Count(count),
        (None, Some(duration)) => Limit::Duration(duration),
        (None, None) => Limit::None,
    };
    let stop = Stop::on_signal()?;
    let mut sender = Sender::open(&target, headers, options.rate)?;
    let mut before = 0;
    let report = sender.run(limit, &stop, |sent, errors| {
        eprintln!("sent {sent} ({} pps), errors {errors}", sent - before);
        before = sent;
    });
    if json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        println!(
            "sent {} of {} B in {:.3} s: {:.0} pps, errors {}, as {}",
            report.sent, options.size, report.duration_s, report.pps, report.errors, report.path
        );
    }
    if let Some(error) = &report.last_error {
        eprintln!("mcrgen: {} packets refused, the last with: {error}", report.errors);
    }
    Ok(ExitCode::from(u8::from(report.sent == 0)))
}

/// Receives and reports; exit code 1 unless everything arrived once and whole.
fn recv(options: &Recv, json: bool) -> anyhow::Result<ExitCode> {
    let target = Target::new(options.endpoint.clone(), options.flows)?;
    let stop = Stop::on_signal()?;
    let mut tap = Tap::open(&target)?;
    eprintln!("ready: {}", target.endpoint());
    let until = Until { duration: options.duration, count: options.count };
    let mut before = 0;
    let report = recv::run(&target, &mut tap, until, &stop, |tally, tap_lost| {
        let received = tally.received();
        eprintln!("received {received} ({} pps), tap lost {tap_lost}", received - before);
        before = received;
    })?;
    if json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print_report(&report);
    }
    if report.tap_lost > 0 {
        eprintln!(
            "mcrgen: this receiver's own tap lost {} frames for want of time: what is counted as lost says \
             nothing of the network; offer less or give the receiver a core of its own",
            report.tap_lost
        );
    }
    if report.tally.fragments > 0 {
        eprintln!(
            "mcrgen: {} IP fragments came, which are not reassembled here: send a --size that fits the MTU",
            report.tally.fragments
        );
    }
    if !report.tally.silent.is_empty() {
        eprintln!("mcrgen: nothing received on {}", report.tally.silent.join(", "));
    }
    Ok(ExitCode::from(u8::from(!report.is_clean())))
}

fn print_report(report: &RecvReport) {
    let tally = &report.tally;
    println!(
        "received {} in {:.3} s ({:.0} pps): lost {}, duplicated {}, reordered {}, bad checksum {}, corrupted {}, \
         foreign {}",
        tally.received,
        report.duration_s,
        report.pps,
        tally.lost,
        tally.duplicated,
        tally.reordered,
        tally.bad_checksum,
        tally.corrupted,
        tally.foreign
    );
    if let Some(latency) = tally.latency_us {
        println!(
            "latency p50 {:.1}, p99 {:.1}, p999 {:.1}, max {:.1} us",
            latency.p50, latency.p99, latency.p999, latency.max
        );
    }
    println!("sources {:?}, TTLs {:?}, DSCPs {:?}", tally.sources, tally.ttls, tally.dscps);
    if tally.flows.len() > 1 {
        for flow in tally.flows.iter().filter(|flow| flow.lost + flow.duplicated + flow.reordered > 0) {
            println!(
                "flow {}: received {}, lost {}, duplicated {}, reordered {}",
                flow.flow, flow.received, flow.lost, flow.duplicated, flow.reordered
            );
        }
    }
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

fn parse_source(text: &str) -> Result<std::net::IpAddr, String> {
    let address = text.parse::<std::net::IpAddr>().map_err(|error| error.to_string())?;
    target::host(address).map_err(|error| error.to_string())
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    text.parse()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| "give seconds above 0, as in 10 or 0.5".to_owned())
}

fn parse_dscp(text: &str) -> Result<Dscp, String> {
    text.parse().ok().and_then(Dscp::new).ok_or_else(|| "give a code point from 0 to 63".to_owned())
}
