//! The command line.

use std::path::PathBuf;

use clap::Parser;
use mcast::CoreList;

use super::logging::LogFormat;
use crate::api::socket;

/// Relays UDP multicast and unicast between interfaces, under new headers, by rules that change at run time.
///
/// Stays in the foreground. Prints a STATS line for ingress and one for egress each second on standard output;
/// all else goes to standard error. SIGTERM drains and stops it, SIGHUP applies the configuration again.
#[derive(Debug, Parser)]
#[command(name = "mcrd", version)]
pub struct Arguments {
    /// Rule file; without this option /etc/mcr/mcr.toml, which may be absent
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Control socket
    #[arg(long, value_name = "PATH", default_value = socket::DEFAULT)]
    pub socket: PathBuf,
    /// Cores to run a worker on each, like 0,2-3 [default: all that are allowed]
    #[arg(long, value_name = "LIST")]
    pub cores: Option<CoreList>,
    /// How log lines are written
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub log: LogFormat,
    /// Only say whether the configuration is valid: exit code 0 or 2
    #[arg(long)]
    pub check: bool,
}
