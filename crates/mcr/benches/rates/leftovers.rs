//! What a bench leaves behind that a signal ended: files, namespaces, and processes in these or elsewhere.
//!
//! All files lie in one folder that is named after the bench's process. Adapters find it in their environment, and what they
//! start inherits that: so a process is known as a bench's whatever namespace, group or parent it has by now.

use std::collections::BTreeSet;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::{exit, id};
use std::thread::{Builder, sleep};
use std::time::Duration;
use std::{env, fs, io};

use anyhow::{Context as _, Result, anyhow, bail};
use mcr::generator::stop::Stop;
use rustix::process::{Pid, Signal, geteuid, kill_process};
use testbed::netns;

/// What the names of all namespaces here begin with.
pub(crate) const PREFIX: &str = "rates";

/// The variable by which processes are known.
pub(crate) const MARK: &str = "MCR_BENCH_FOLDER";

/// What the names of folders begin with, before the process id, and how many letters and digits come after that.
const FOLDER: &str = "mcr-bench-";
const RANDOM: usize = 6;

/// Their mode.
const PRIVATE: u32 = 0o700;

/// How often it is looked whether a signal came.
const LOOK: Duration = Duration::from_millis(200);

/// What was just being made, or takes a moment to go, is found when it is looked again, after this long.
const AGAIN: Duration = Duration::from_millis(50);
const LOOKS_MOST: u32 = 100;

/// As of a program that SIGINT ends.
const INTERRUPTED: i32 = 130;

/// Removes what those left that had no time to, and makes the folder that holds all files from here on.
///
/// # Errors
/// When something cannot be removed: it would take part in what is measured.
pub(crate) fn sweep() -> Result<()> {
    // One that has ended has no command line, whether anybody waited for it or not; what bears this process's id is of an
    // earlier one that had the same.
    let ended = |pid| fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default().is_empty();
    let gone = |pid: u32| pid == id() || ended(pid);
    let left = remove(gone).context("remove what an earlier bench left behind")?;
    if !left.is_empty() {
        eprintln!("bench: removed what an earlier one left behind: {}", list(&left));
    }
    let name = format!("{FOLDER}{}-", id());
    let private = fs::Permissions::from_mode(PRIVATE);
    let folder = tempfile::Builder::new().prefix(&name).rand_bytes(RANDOM).permissions(private).tempdir();
    let folder = folder.context("a folder for the bench")?.keep();
    tempfile::env::override_temp_dir(&folder)
        .map_err(|other| anyhow!("files lie in {} already", other.display()))
}

/// From here on SIGINT and SIGTERM remove all that was made before they end the process; a second one ends it at once.
/// Answers what says that one came.
///
/// # Errors
/// When signals cannot be taken over.
pub(crate) fn remove_on_signal() -> Result<Stop> {
    let stop = Stop::on_signal().context("take over signals")?;
    let told = stop.clone();
    let watch = move || {
        while !told.requested() {
            sleep(LOOK);
        }
        eprintln!("bench: interrupted, no results are kept");
        remove_own();
        exit(INTERRUPTED);
    };
    Builder::new().name("leftovers".into()).spawn(watch).context("a thread for signals")?;
    Ok(stop)
}

/// Removes what is left once all is measured. Where a signal came that is being done already, and ends the process.
pub(crate) fn remove_at_end(stop: &Stop) {
    while stop.requested() {
        sleep(LOOK);
    }
    remove_own();
}

fn remove_own() {
    if let Err(error) = remove(|pid| pid == id()) {
        eprintln!("bench: {error:#}");
    }
}

/// Removes what benches made whose process `is_over` says to be, until there is nothing more; hands back what it was.
fn remove(is_over: impl Fn(u32) -> bool) -> Result<BTreeSet<String>> {
    let mut removed = BTreeSet::new();
    let mut last = Ok(BTreeSet::new());
    for _ in 0..LOOKS_MOST {
        last = remove_once(&is_over);
        match &last {
            Ok(found) if found.is_empty() => return Ok(removed),
            Ok(found) => removed.extend(found.iter().cloned()),
            Err(_) => {}
        }
        sleep(AGAIN);
    }
    bail!("it comes again or does not go: {}", list(&last?))
}

fn remove_once(is_over: &impl Fn(u32) -> bool) -> Result<BTreeSet<String>> {
    // Each is tried whatever became of the others. Without its folder a bench that still measures starts no more relays.
    let folders = remove_folders(is_over);
    let processes = end_processes(is_over);
    let namespaces = netns::sweep(PREFIX, is_over);
    Ok([folders?, processes?, namespaces?].into_iter().flatten().collect())
}

fn remove_folders(is_over: &impl Fn(u32) -> bool) -> Result<Vec<String>> {
    let mut removed = Vec::new();
    let place = env::temp_dir();
    for entry in fs::read_dir(&place).with_context(|| place.display().to_string())?.flatten() {
        let path = entry.path();
        if !entry.file_name().to_str().and_then(maker).is_some_and(is_over) || !is_private(&path) {
            continue;
        }
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("remove {}", path.display()));
            }
            _ => removed.push(path.display().to_string()),
        }
    }
    Ok(removed)
}

fn end_processes(is_over: &impl Fn(u32) -> bool) -> Result<Vec<String>> {
    let mut ended = Vec::new();
    for entry in fs::read_dir("/proc").context("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        if u32::try_from(pid) == Ok(id()) {
            continue;
        }
        // Processes end while they are looked at.
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        let environment = String::from_utf8_lossy(&environment);
        let mut values = environment.split('\0').filter_map(|one| one.strip_prefix(MARK)?.strip_prefix('='));
        let folder = values.next().and_then(|path| path.rsplit('/').next());
        if folder.and_then(maker).is_some_and(is_over) {
            let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            let _ = Pid::from_raw(pid).map(|pid| kill_process(pid, Signal::KILL));
            ended.push(format!("process {pid} ({})", name.trim()));
        }
    }
    Ok(ended)
}

/// The process of the bench whose folder has that name; absent where it is no bench's.
fn maker(folder: &str) -> Option<u32> {
    let (pid, random) = folder.strip_prefix(FOLDER)?.split_once('-')?;
    let is_ours = random.len() == RANDOM && random.bytes().all(|byte| byte.is_ascii_alphanumeric());
    pid.parse().ok().filter(|_| is_ours)
}

/// Whether it is a folder as a bench makes them: this user's, and for nobody else.
fn is_private(path: &Path) -> bool {
    let own = |meta: fs::Metadata| {
        meta.is_dir() && meta.uid() == geteuid().as_raw() && meta.permissions().mode() & 0o777 == PRIVATE
    };
    fs::symlink_metadata(path).is_ok_and(own)
}

fn list(things: &BTreeSet<String>) -> String {
    things.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}
