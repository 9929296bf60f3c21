//! `mcrd`: the relay daemon. Started under the worker's name it is a worker instead.

use std::ffi::OsString;
use std::io::stdin;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use dataplane::ipc::{self, FromWorker};
use mcr::supervisor::args::Arguments;
use mcr::supervisor::daemon::{self, DEFAULT_CONFIG, Options};
use mcr::supervisor::logging::{self, LogFormat};
use mcr::supervisor::places;
use mcr::supervisor::workers::WORKER_NAME;
use nix::sys::signal::{SigSet, Signal};

fn main() -> ExitCode {
    if std::env::args_os().next() == Some(OsString::from(WORKER_NAME)) {
        return work();
    }
    let arguments = Arguments::parse();
    if arguments.check {
        return check(&arguments);
    }
    let levels = logging::start(arguments.log);
    let options = Options { config: arguments.config, socket: arguments.socket, cores: arguments.cores };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ended = match runtime {
        Ok(runtime) => runtime.block_on(daemon::run(options, levels)),
        Err(error) => Err(daemon::DaemonError::RunTime(format!("cannot start: {error}"))),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            match arguments.log {
                LogFormat::Text => eprintln!("mcrd: {error}"),
                LogFormat::Json => tracing::error!("{error}"),
            }
            ExitCode::from(error.exit_code())
        }
    }
}

/// The worker's side: its control socket is standard input.
fn work() -> ExitCode {
    let run = || -> anyhow::Result<()> {
        rustix::thread::set_name(c"mcrd-worker").context("cannot name the process")?;
        block_signals().context("cannot block signals")?;
        let control = stdin().as_fd().try_clone_to_owned().context("cannot keep the control socket")?;
        Ok(dataplane::worker::run(control)?)
    };
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The supervisor's to log; standard error is for a worker without one.
            let failed = FromWorker::Failed(format!("{error:#}"));
            if ipc::send(stdin(), &failed, &[]).is_err() {
                eprintln!("{WORKER_NAME}: {error:#}");
            }
            ExitCode::FAILURE
        }
    }
}

/// Who stops or reloads the service signals its workers, too, but a worker goes when the supervisor says so,
/// with its ring empty, or is gone. Killing one still works.
fn block_signals() -> nix::Result<()> {
    SigSet::from_iter([Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM]).thread_block()
}

fn check(arguments: &Arguments) -> ExitCode {
    let read = daemon::read_config(arguments.config.as_deref()).and_then(|(_, file)| {
        places::cores(arguments.cores.as_ref().or(file.worker.cores.as_ref()))
            .map_err(|error| daemon::DaemonError::Configuration(error.to_string()))?;
        Ok(file)
    });
    match read {
        Ok(file) => {
            let path = arguments.config.as_deref().unwrap_or(Path::new(DEFAULT_CONFIG));
            match (path.exists(), file.rules.len()) {
                (false, _) => println!("{}: absent, so there are no rules", path.display()),
                (true, 1) => println!("{}: valid, 1 rule", path.display()),
                (true, rules) => println!("{}: valid, {rules} rules", path.display()),
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("mcrd: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}
