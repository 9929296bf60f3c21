//! A relay of any make, driven by its adapter script; what a script must do, bench/README.md says.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;
use testbed::process::Stream;
use testbed::{Daemon, Netns};

use crate::leftovers::MARK;

/// A script that takes longer than this hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often it is looked whether a script has ended.
const LOOK: Duration = Duration::from_millis(5);

/// A kind of relay.
#[derive(Clone, Debug)]
pub(crate) struct Adapter {
    script: PathBuf,
    /// The script's file name.
    pub(crate) name: String,
    /// The program's own name and version.
    pub(crate) version: String,
    /// Whether outputs have a group and port of their own; otherwise those of the input.
    pub(crate) rewrites: bool,
}

impl Adapter {
    /// Asks a script for its version and traits.
    ///
    /// # Errors
    /// When it cannot be run or says something else than it should.
    pub(crate) fn of(script: &Path) -> Result<Self> {
        let name = script.file_name().context("a script has a name")?.to_string_lossy().into_owned();
        let script = script.canonicalize().with_context(|| format!("adapter {}", script.display()))?;
        ensure!(
            is_executable(&script)?,
            "{} is no executable file: chmod +x it if it is an adapter, otherwise move it out of that folder",
            script.display()
        );
        let ask = |verb| call(&script, &[verb]).map(|answer| answer.trim().to_owned());
        let (version, traits) = (ask("version")?, ask("traits")?);
        let rewrites = match traits.as_str() {
            "rewrites=yes" => true,
            "rewrites=no" => false,
            other => bail!("adapter {name}: traits are {other:?}, not rewrites=yes or rewrites=no"),
        };
        Ok(Self { script, name, version, rewrites })
    }

    /// Starts the relay in a namespace, all its threads on `core` as far as they can be.
    ///
    /// # Errors
    /// When the script fails, with what it said.
    pub(crate) fn start(&self, netns: &Netns, core: u8) -> Result<Running> {
        let state = tempfile::tempdir().context("a folder for the adapter")?;
        let running = Running { script: self.script.clone(), netns: netns.clone(), state };
        let core = core.to_string();
        running.call("start", &[&core])?;
        Ok(running)
    }
}

/// A relay that runs. It is stopped with its value.
#[derive(Debug)]
pub(crate) struct Running {
    script: PathBuf,
    netns: Netns,
    state: TempDir,
}

impl Running {
    /// Relays one group from an interface to outputs `GROUP%INTERFACE:PORT`, and returns once it does.
    ///
    /// # Errors
    /// When the script fails, with what it said.
    pub(crate) fn add(&self, interface: &str, group: &str, port: u16, outputs: &[String]) -> Result<()> {
        let port = port.to_string();
        let outputs = outputs.iter().map(String::as_str);
        self.call("add", &[interface, group, &port].into_iter().chain(outputs).collect::<Vec<_>>())
    }

    fn call(&self, verb: &str, more: &[&str]) -> Result<()> {
        let state = self.state.path().display().to_string();
        call(&self.script, &[&[verb, self.netns.name(), &state], more].concat()).map(drop)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Err(error) = self.call("stop", &[]) {
            eprintln!("bench: {error:#}");
        }
    }
}

/// Notes and folders are not.
fn is_executable(path: &Path) -> Result<bool> {
    let metadata = fs::metadata(path).with_context(|| format!("adapter {}", path.display()))?;
    Ok(metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

fn call(script: &Path, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(script);
    command
        .args(arguments)
        .process_group(0)
        .env("TMPDIR", tempfile::env::temp_dir())
        .env(MARK, tempfile::env::temp_dir())
        .env("MCR_BIN", Path::new(env!("CARGO_BIN_EXE_mcrd")).parent().unwrap_or(Path::new("")));
    let called = format!("{} {}", script.display(), arguments.join(" "));
    let mut running = Daemon::start("adapter", command).with_context(|| called.clone())?;
    let until = Instant::now() + PATIENCE;
    while running.is_running() {
        if Instant::now() >= until {
            // What it waits for would go on without it.
            let group = running.pid().try_into().ok().and_then(Pid::from_raw);
            let _ = group.map(|group| kill_process_group(group, Signal::KILL));
            bail!("{called}: it has not ended within {} s", PATIENCE.as_secs());
        }
        sleep(LOOK);
    }
    let status = running.wait(PATIENCE);
    let printed = |stream| -> String {
        let lines = running.lines().into_iter().filter(|line| line.stream == stream);
        lines.map(|line| line.text + "\n").collect()
    };
    ensure!(status.success(), "{called}: {status}: {}", printed(Stream::Stderr).trim());
    Ok(printed(Stream::Stdout))
}
