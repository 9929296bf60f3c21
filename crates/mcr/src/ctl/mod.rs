//! `mcrctl`: one verb, one or two requests to the daemon, one document printed.
//!
//! Exit codes: 0 done, 1 refused, not found, or a check of `doctor` failed, 2 usage, 3 no daemon that answers this user. What is printed on
//! standard output is the answer; every error goes to standard error, with `--json` as `{"error": …}`.

mod args;
mod client;
mod doctor;
mod figure;
mod file;
mod run;
mod screen;
mod table;

use std::ffi::OsString;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use clap::Parser;

pub use args::{Cli, Verb};

use crate::api::model::ErrorBody;

/// Why nothing was done, or nothing could be shown.
#[derive(Debug, thiserror::Error)]
enum CtlError {
    /// The daemon, or the check before it is asked, says no.
    #[error("{0}")]
    Refused(String),
    /// No daemon answers, or not this user.
    #[error("{0}")]
    NoDaemon(String),
}

impl CtlError {
    fn code(&self) -> u8 {
        match self {
            Self::Refused(_) => 1,
            Self::NoDaemon(_) => 3,
        }
    }
}

/// Runs `mcrctl` with these arguments, the program's name first, and returns its exit code.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    let cli = match Cli::try_parse_from(&args) {
        Ok(cli) => cli,
        Err(e) => return usage(&e, &args),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(run::run(&cli)),
        Err(e) => Err(CtlError::Refused(format!("the kernel refuses what mcrctl needs to start: {e}"))),
    };
    match result {
        Ok(answer) => {
            let printed = print(&answer.text, cli.json);
            if answer.fails { ExitCode::from(1) } else { printed }
        }
        Err(e) => {
            complain(&e.to_string(), cli.json);
            ExitCode::from(e.code())
        }
    }
}

/// Prints the answer. A reader that has seen enough (`mcrctl list | head`) is no failure: the verb was done.
fn print(text: &str, json: bool) -> ExitCode {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => {
            complain(&format!("the answer was not written to standard output: {e}"), json);
            ExitCode::from(1)
        }
        _ => ExitCode::SUCCESS,
    }
}

/// Says why on standard error; where even that is closed, the exit code has to do.
fn complain(error: &str, json: bool) {
    let text = if json {
        serde_json::to_string(&ErrorBody { error: error.to_owned() }).unwrap_or_default()
    } else {
        format!("mcrctl: {error}")
    };
    let _ = writeln!(io::stderr(), "{text}");
}

/// What clap has to say: help and version are answers, all else is a usage error.
fn usage(e: &clap::Error, args: &[OsString]) -> ExitCode {
    if !e.use_stderr() {
        return print(&e.render().to_string(), false);
    }
    let json = args.iter().take_while(|arg| *arg != "--").any(|arg| arg == "--json");
    if json {
        complain(e.render().to_string().trim().trim_start_matches("error: "), true);
    } else {
        // clap's own way, in colour on a terminal.
        let _ = e.print();
    }
    ExitCode::from(2)
}
