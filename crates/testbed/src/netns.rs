//! Network namespaces of a test's own.
//!
//! A [`Netns`] is a handle; the namespace goes when its last handle does, and every process still in it is
//! killed first, by pid. Sockets opened by [`Netns::enter`] stay in the namespace wherever they are used later.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// A named network namespace with `lo` up. Its interfaces neither look for duplicate IPv6 addresses nor for
/// routers, and report the groups they join without delay.
#[derive(Clone, Debug)]
pub struct Netns(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: String,
    file: File,
}

static COUNTER: AtomicU32 = AtomicU32::new(0);

impl Netns {
    /// Makes a namespace named `PREFIX-PID-N`.
    ///
    /// # Errors
    /// When `ip netns add` or the first settings inside fail, mostly for want of root.
    pub fn new(prefix: &str) -> Result<Self> {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{prefix}-{}-{number}", std::process::id());
        run_tool(Command::new("ip").args(["netns", "add", &name]))?;
        let file = File::open(format!("/run/netns/{name}")).context("open the namespace just made")?;
        let netns = Self(Arc::new(Inner { name, file }));
        // An address that is still tentative cannot be bound or sent from for a second or more.
        for conf in ["all", "default"] {
            netns.sysctl(&format!("net.ipv6.conf.{conf}.accept_dad"), "0")?;
            netns.sysctl(&format!("net.ipv6.conf.{conf}.dad_transmits"), "0")?;
        }
        // What a new interface says of itself, it says at once: later it would be noise among a test's packets.
        netns.sysctl("net.ipv6.conf.default.mldv2_unsolicited_report_interval", "10")?;
        netns.sysctl("net.ipv6.conf.default.router_solicitations", "0")?;
        netns.ip("link set lo up")?;
        Ok(netns)
    }

    /// The name `ip netns` knows it by.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Runs `work` on a thread of its own inside the namespace and hands back what it returns. A panic in
    /// `work` is the caller's.
    ///
    /// `/proc/sys/net` and `/proc/thread-self/net` are the namespace's there; `/sys` and `/proc/self` are not.
    ///
    /// # Panics
    /// When the thread cannot move into the namespace.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let entered = || {
            let link = self.0.file.as_fd();
            move_into_link_name_space(link, Some(LinkNameSpaceType::Network))
                .unwrap_or_else(|error| panic!("setns into {}: {error}", self.0.name));
            work()
        };
        thread::scope(|scope| scope.spawn(entered).join()).unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// A command that will run `program` inside the namespace. Its pid is the program's own: `nsenter` replaces
    /// itself. `/sys` and mounts are those of the caller.
    #[must_use]
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.0.name)).arg("--").arg(program);
        command
    }

    /// Runs `ip ARGS` inside, the arguments split at blanks, and hands back its standard output.
    ///
    /// # Errors
    /// When `ip` fails, with what it said.
    pub fn ip(&self, args: &str) -> Result<String> {
        run_tool(Command::new("ip").args(["-n", &self.0.name]).args(args.split_whitespace()))
    }

    /// Runs any tool inside, the line split at blanks, and hands back its standard output.
    ///
    /// # Errors
    /// When the tool is absent or fails, with what it said.
    pub fn tool(&self, line: &str) -> Result<String> {
        let mut words = line.split_whitespace();
        let program = words.next().context("an empty command line")?;
        run_tool(self.command(program).args(words))
    }

    /// Writes one kernel parameter, named with dots as `sysctl` does; a `/` inside a name stands for a dot.
    ///
    /// # Errors
    /// When the kernel has no such parameter or refuses the value.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<()> {
        let path = sysctl_path(key);
        self.enter(|| fs::write(&path, value))
            .with_context(|| format!("sysctl {key}={value} in {}", self.0.name))
    }

    /// Reads one kernel parameter.
    ///
    /// # Errors
    /// When the kernel has no such parameter.
    pub fn sysctl_value(&self, key: &str) -> Result<String> {
        let path = sysctl_path(key);
        let text = self.enter(|| fs::read_to_string(&path)).with_context(|| format!("sysctl {key}"))?;
        Ok(text.trim().to_owned())
    }

    /// Turns strict reverse-path filtering on: in `all`, in `default` and on every interface there is.
    ///
    /// # Errors
    /// When a parameter cannot be written.
    pub fn strict_rp_filter(&self) -> Result<()> {
        let conf = "/proc/sys/net/ipv4/conf";
        self.enter(|| {
            for entry in fs::read_dir(conf)? {
                fs::write(entry?.path().join("rp_filter"), "1")?;
            }
            anyhow::Ok(())
        })
        .with_context(|| format!("strict rp_filter in {}", self.0.name))
    }

    /// The pids of the processes whose main thread is in the namespace.
    ///
    /// # Errors
    /// When `ip netns pids` fails.
    pub fn pids(&self) -> Result<Vec<i32>> {
        pids(&self.0.name)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.name) {
            eprintln!("testbed: namespace {} stays: {error:#}", self.name);
        }
    }
}

/// Removes the namespaces named `PREFIX-PID-N` whose maker's process `is_over` says to be, with every process in them:
/// those of a program that a signal ended, whose handles were never dropped. Hands back their names.
///
/// # Errors
/// When one cannot be removed; the others are.
pub fn sweep(prefix: &str, is_over: impl Fn(u32) -> bool) -> Result<Vec<String>> {
    // Without a namespace so far there is no folder.
    let Ok(entries) = fs::read_dir("/run/netns") else { return Ok(Vec::new()) };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let left: Vec<String> = names.filter(|name| maker(name, prefix).is_some_and(&is_over)).collect();
    let failed = left.iter().filter_map(|name| remove(name).err()).reduce(|first, _| first);
    failed.map_or(Ok(left), Err)
}

/// The process that made a namespace of that name; absent where it is not one of ours.
fn maker(name: &str, prefix: &str) -> Option<u32> {
    let (rest, number) = name.strip_prefix(prefix)?.strip_prefix('-')?.rsplit_once('-')?;
    number.parse::<u32>().ok()?;
    rest.rsplit('-').next()?.parse().ok()
}

/// Ends every process in a namespace but this one, and removes it.
fn remove(name: &str) -> Result<()> {
    let killed = pids(name).map(|pids| {
        let own = rustix::process::getpid();
        for pid in pids.into_iter().filter_map(Pid::from_raw).filter(|pid| *pid != own) {
            // It may have ended meanwhile.
            let _ = kill_process(pid, Signal::KILL);
        }
    });
    let removed = run_tool(Command::new("ip").args(["netns", "del", name]));
    match removed {
        // Its handle and a sweep were at it at the same time.
        Err(_) if !Path::new("/run/netns").join(name).exists() => Ok(()),
        removed => killed.and(removed).map(drop),
    }
}

fn pids(name: &str) -> Result<Vec<i32>> {
    let text = run_tool(Command::new("ip").args(["netns", "pids", name]))?;
    text.split_whitespace().map(|pid| pid.parse().context("a pid of ip netns pids")).collect()
}

fn sysctl_path(key: &str) -> PathBuf {
    let swapped: String = key
        .chars()
        .map(|c| {
            if c == '.' {
                '/'
            } else if c == '/' {
                '.'
            } else {
                c
            }
        })
        .collect();
    PathBuf::from("/proc/sys").join(swapped)
}

/// Runs a short-lived tool and hands back its standard output.
fn run_tool(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("run {command:?}"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}: {}", output.status, errors.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether namespaces, links and packet sockets can be made here. Tried once per process.
///
/// # Errors
/// What is missing, in words for the person who runs the tests.
pub fn available() -> Result<(), String> {
    static ANSWER: OnceLock<Result<(), String>> = OnceLock::new();
    ANSWER.get_or_init(|| try_out().map_err(|error| format!("{error:#}"))).clone()
}

fn try_out() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("not root: run as root to make network namespaces");
    }
    for tool in ["ip", "nsenter", "ethtool"] {
        let found = Command::new(tool).arg("--version").output();
        found
            .with_context(|| format!("the tool {tool} is missing: install iproute2, util-linux, ethtool"))?;
    }
    let netns = Netns::new("tb-try").context("network namespaces cannot be made")?;
    netns.enter(crate::packet_socket::try_out).context("packet sockets cannot be opened")
}

/// Says on standard error that `module` skips a test, and why. See [`crate::skip_unless_available!`].
///
/// # Panics
/// When `TESTBED_REQUIRED=1` forbids skipping.
#[must_use]
pub fn skips(module: &str) -> bool {
    let Err(reason) = available() else { return false };
    let required = std::env::var_os("TESTBED_REQUIRED").is_some_and(|value| value == "1");
    assert!(!required, "TESTBED_REQUIRED=1, yet {reason}");
    // The harness captures eprintln! of passing tests; a skip must be seen all the same.
    let _ = writeln!(std::io::stderr(), "test-skipped: {module}: {reason}");
    true
}
