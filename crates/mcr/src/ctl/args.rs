//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::api::socket;

/// What was asked for.
#[derive(Debug, Parser)]
#[command(
    name = "mcrctl",
    version,
    about = "Controls mcrd, the multicast relay",
    after_help = "Exit codes: 0 done, 1 refused, not found, or doctor found a check that fails, 2 usage, 3 no daemon \
                  that answers you.\n\
                  INPUT and OUTPUT are [SOURCE@]ADDRESS[%INTERFACE][:PORT], an output with options after commas: \
                  ttl=N|decrement dscp=N source=interface|keep|ADDRESS sport=N|keep batch=N send=frames."
)]
pub struct Cli {
    /// The daemon's control socket
    #[arg(long, global = true, value_name = "PATH", default_value = socket::DEFAULT)]
    pub socket: PathBuf,
    /// Print the daemon's JSON documents, errors as {"error": …}
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Add a rule to the running set
    Add {
        /// The rule's name
        name: String,
        /// What it takes, as in 10.10.1.100@239.1.1.1%eth0:5000
        input: String,
        /// What it sends, as in 239.2.2.2%eth1:6000,ttl=16
        #[arg(required = true, value_name = "OUTPUT")]
        outputs: Vec<String>,
        /// What moves the packets: auto, userspace or tc
        #[arg(long, value_name = "ENGINE", default_value = "auto")]
        engine: String,
        /// Take the place of a rule of this name
        #[arg(long)]
        replace: bool,
    },
    /// Remove a rule from the running set
    Remove {
        /// The rule's name
        name: String,
    },
    /// List the rules and where they stand
    List,
    /// Show one rule
    Show {
        /// The rule's name
        name: String,
    },
    /// Show the counters of all rules, or of one with its legs
    Stats {
        /// The rule's name
        name: Option<String>,
    },
    /// Show the worker processes
    Workers,
    /// Say why rules do not relay, as checks with what was seen and what to do
    Doctor {
        /// The rule's name; without one, what is wrong with any rule
        name: Option<String>,
        /// How long to listen for packets that arrive, 0 to 10 [default: 1.5]
        #[arg(long, value_name = "SECONDS")]
        listen: Option<f64>,
    },
    /// Make a rule file the running set, whole or not at all
    Apply {
        /// The rule file; - for standard input
        file: PathBuf,
        /// Only print what would be done
        #[arg(long)]
        dry_run: bool,
    },
    /// Write the running set to a file that apply reads
    Save {
        /// The file to write; - for standard output
        file: PathBuf,
    },
    /// Show or change what the daemon logs
    LogLevel {
        /// As in mcr=debug, or a bare level for all: error, warn, info, debug, trace
        #[arg(value_name = "TARGET=LEVEL")]
        directives: Option<String>,
    },
    /// Ask whether the daemon answers
    Ping,
    /// Show the versions of mcrctl and of the daemon
    Version,
}
