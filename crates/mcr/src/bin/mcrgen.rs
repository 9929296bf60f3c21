//! Generates and measures multicast and unicast UDP traffic.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Parser;
use mcr::generator::args::{Cli, Recv, Send, Verb};
use mcr::generator::recv::{self, RecvReport, Until};
use mcr::generator::send::{Limit, Sender};
use mcr::generator::stop::Stop;
use mcr::generator::tap::Tap;
use mcr::generator::target::{Target, TargetError};
use mcr::generator::transmit::{Headers, TransmitError};
use mcr::tester;
use mcr::tester::args::Bench;
use mcr::tester::error::TesterError;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match &cli.verb {
        Verb::Send(options) => send(options, cli.json),
        Verb::Recv(options) => recv(options, cli.json),
        Verb::Bench(options) => bench(options, cli.json),
    };
    done.unwrap_or_else(|error| {
        if cli.json {
            show(&format!("{}\n", serde_json::json!({ "error": error.to_string() })));
        }
        eprintln!("mcrgen: {error}");
        let usage = error.is::<TargetError>()
            || error.downcast_ref::<TesterError>().is_some_and(TesterError::is_usage)
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
    let shown = if json {
        show(&(serde_json::to_string(&report)? + "\n"))
    } else {
        show(&format!(
            "sent {} of {} B in {:.3} s: {:.0} pps, errors {}, as {}\n",
            report.sent, options.size, report.duration_s, report.pps, report.errors, report.path
        ))
    };
    if let Some(error) = &report.last_error {
        eprintln!("mcrgen: {} packets refused, the last with: {error}", report.errors);
    }
    Ok(ExitCode::from(u8::from(report.sent == 0 || !shown)))
}

/// Receives and reports; exit code 1 unless everything arrived once and whole.
fn recv(options: &Recv, json: bool) -> anyhow::Result<ExitCode> {
    let target = Target::new(options.endpoint.clone(), options.flows)?;
    let stop = Stop::on_signal()?;
    let mut tap = Tap::open(&target)?;
    eprintln!("ready: {}", target.endpoint());
    let until = Until { silence: options.silence, duration: options.duration, count: options.count };
    let mut before = 0;
    let report = recv::run(&target, &mut tap, until, &stop, |tally, tap_lost| {
        let received = tally.received();
        eprintln!("received {received} ({} pps), tap lost {tap_lost}", received - before);
        before = received;
    })?;
    let text = if json { serde_json::to_string(&report)? + "\n" } else { text_of(&report)? };
    let shown = show(&text);
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
    Ok(ExitCode::from(u8::from(!report.is_clean() || !shown)))
}

/// Measures a device and reports; exit code 1 unless every step has its result.
fn bench(options: &Bench, json: bool) -> anyhow::Result<ExitCode> {
    let stop = Stop::on_signal()?;
    // `make` says so; empty outside a repository.
    let commit = option_env!("MCR_COMMIT").filter(|commit| !commit.is_empty());
    let report = tester::run(options, commit, &stop)?;
    let shown = show(&if json { serde_json::to_string(&report)? + "\n" } else { report.table().to_text() });
    // Only now: what was measured is shown whatever becomes of the files. In JSON the report is all there is.
    if let Err(error) = report.write() {
        eprintln!("mcrgen: {error}");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::from(u8::from(!report.is_whole() || !shown)))
}

/// Writes a report to standard output; whether that took it.
fn show(text: &str) -> bool {
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    if let Err(error) = &written {
        eprintln!("mcrgen: cannot write the report to standard output: {error}");
    }
    written.is_ok()
}

/// A receiver's report for a terminal.
fn text_of(report: &RecvReport) -> Result<String, std::fmt::Error> {
    let tally = &report.tally;
    let mut text = String::new();
    writeln!(
        text,
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
    )?;
    if let Some(latency) = tally.latency_us {
        writeln!(
            text,
            "latency min {:.1}, p50 {:.1}, p99 {:.1}, p999 {:.1}, max {:.1} us",
            latency.min, latency.p50, latency.p99, latency.p999, latency.max
        )?;
    }
    writeln!(text, "sources {:?}, TTLs {:?}, DSCPs {:?}", tally.sources, tally.ttls, tally.dscps)?;
    if tally.flows.len() > 1 {
        for flow in tally.flows.iter().filter(|flow| flow.lost + flow.duplicated + flow.reordered > 0) {
            writeln!(
                text,
                "flow {}: received {}, lost {}, duplicated {}, reordered {}",
                flow.flow, flow.received, flow.lost, flow.duplicated, flow.reordered
            )?;
        }
    }
    Ok(text)
}
