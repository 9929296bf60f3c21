//! The daemon with the rights the shipped unit leaves it, on a system with the user and group it is packaged with.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;
use testbed::process::Finished;
use testbed::{Daemon, Line, Netns, Probe, Sender, rule, run, skip_unless_available};

use crate::exits::for_anyone;
use crate::fixture::{PATIENCE, PROGRAMS, line, signal};
use crate::workers::status;

const UNIT: &str = include_str!("../../../../dist/mcrd.service");

/// User and group of the system made here.
const MCR: &str = "990";

/// What `key` is set to in the unit, by words; several lines add up, as systemd has it for sets.
fn unit(key: &str) -> Vec<&'static str> {
    let values = UNIT.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    values.flat_map(str::split_whitespace).collect()
}

/// A command that runs mcrd with these rights and rules, on a system of its own with user and group mcr.
fn on_a_system(netns: &Netns, rights: &str, rules: &str) -> Command {
    let script = format!(
        "mount -t tmpfs none /etc && mount -t tmpfs none /run && mkdir /etc/mcr && \
         echo mcr:x:{MCR}:{MCR}::/:/bin/false > /etc/passwd && echo mcr:x:{MCR}: > /etc/group && \
         printf %s \"$1\" > /etc/mcr/mcr.toml && umask {} && \
         exec setpriv --bounding-set={rights} --no-new-privs \"$0\"",
        unit("UMask")[0],
    );
    let mut command = netns.command("unshare");
    command.args(["--mount", "sh", "-c", &script, PROGRAMS.mcrd, rules]);
    command
}

/// A daemon as the unit starts it, with a file system of its own.
struct Service {
    daemon: Daemon,
    line: Line,
    mcrctl: String,
    _folder: tempfile::TempDir,
}

impl Service {
    fn start(rules: &str) -> Self {
        let line = line("dm-unit");
        let folder = tempfile::tempdir().unwrap();
        let rights = unit("CapabilityBoundingSet").join(",").replace("CAP_", "+").to_lowercase();
        assert_eq!(unit("NoNewPrivileges"), ["yes"]);
        let command = on_a_system(line.relay(), &format!("-all,{rights}"), rules);
        let mut daemon = Daemon::start("mcrd", command).unwrap();
        daemon.wait_line(|line| line.contains("ready socket=/run/mcr/mcrd.sock"), PATIENCE);
        let mcrctl = for_anyone(PROGRAMS.mcrctl, &folder);
        Self { daemon, line, mcrctl, _folder: folder }
    }

    /// Runs `mcrctl` on the daemon's system as this user, group and supplementary groups.
    fn ctl_as(&self, [user, group, groups]: [&str; 3], arguments: &[&str]) -> Finished {
        let mut command = self.line.relay().command("nsenter");
        command.arg(format!("--mount=/proc/{}/ns/mnt", self.daemon.pid())).args(["--", "setpriv"]);
        command.args([format!("--reuid={user}"), format!("--regid={group}"), format!("--groups={groups}")]);
        command.arg(&self.mcrctl).args(arguments);
        run(command, PATIENCE)
    }

    fn workers(&self) -> Value {
        self.ctl_as(["0", "0", "0"], &["--json", "workers"]).json()
    }
}

/// What mcrd asks for where it lacks all of it is what it is given, and no more.
#[test]
fn the_rights_in_the_unit_are_those_asked_for() {
    skip_unless_available!();
    let netns = Netns::new("dm-unit").unwrap();
    let refused = run(on_a_system(&netns, "-all", ""), PATIENCE);
    assert_eq!(refused.code(), 1);
    let asked = refused.stderr.split_once("AmbientCapabilities=").unwrap().1.split_once(" in its").unwrap().0;
    let given: BTreeSet<_> = unit("CapabilityBoundingSet").into_iter().collect();
    assert_eq!(given, asked.split(' ').collect());
}

#[test]
fn the_rights_in_the_unit_are_enough() {
    skip_unless_available!();
    let mut service = Service::start(&rule("a", "239.1.1.1%r-in:5000", &["239.2.2.1%r-out:600"]));
    let mut probe = Probe::on(&service.line.receiver.link).unwrap().only(|seen| seen.dport == Some(600));
    let sender = Sender::open(&service.line.sender.link, (service.line.sender.v4, 4000).into()).unwrap();
    let mut relays = || {
        sender.send("239.1.1.1:5000".parse().unwrap(), b"x").unwrap();
        assert_eq!(probe.expect_one(PATIENCE).payload, b"x");
    };
    relays();
    // A successor needs what the first worker did, and a port below 1024 and a foreign source need the rest.
    let worker = service.workers()[0]["pid"].as_u64().unwrap();
    signal(worker, Signal::KILL);
    testbed::eventually(PATIENCE, "a successor runs", || {
        let worker = &service.workers()[0];
        worker["restarts"] == 1 && worker["state"] == "active"
    });
    let root = ["0", "0", "0"];
    let outputs = "239.2.2.1%r-out:600,source=192.0.2.1,sport=700";
    let replaced = service.ctl_as(root, &["add", "--replace", "a", "239.1.1.1%r-in:5000", outputs]);
    assert_eq!(replaced.stdout, "set a: active\n", "{}", replaced.stderr);
    relays();
    // What ExecReload does.
    let [program, reload @ ..] = &unit("ExecReload")[..] else { panic!("no ExecReload") };
    assert_eq!(*program, "/usr/bin/mcrctl");
    let reloaded = service.ctl_as(root, reload);
    assert_eq!(reloaded.stdout, "0 added, 1 changed, 0 removed, 0 kept\n", "{}", reloaded.stderr);
    relays();
    assert_eq!(service.daemon.stop(PATIENCE).code(), Some(0));
    let said: Vec<_> =
        service.daemon.lines().into_iter().filter(|line| line.text.contains(" WARN ")).collect();
    assert_eq!(said.len(), 1, "of the worker killed, and nothing refused: {said:?}");
}

#[test]
fn members_of_the_group_control_it_and_workers_do_not() {
    skip_unless_available!();
    let service = Service::start("");
    let socket = fs::metadata(format!("/proc/{}/root/run/mcr/mcrd.sock", service.daemon.pid())).unwrap();
    assert_eq!(
        (socket.uid(), socket.gid().to_string(), socket.permissions().mode() & 0o777),
        (0, MCR.into(), 0o660)
    );
    let worker = status(service.workers()[0]["pid"].as_u64().unwrap());
    let ids = |key: &str| worker[key].split_whitespace().next().unwrap().to_owned();
    let (user, group) = (ids("Uid"), ids("Gid"));
    assert_eq!((user.as_str(), worker["Groups"].as_str()), (MCR, ""));

    let ping = |who| service.ctl_as(who, &["ping"]).code();
    assert_eq!(ping([&user, &group, &group]), 3, "a worker's own rights");
    assert_eq!(ping(["991", "991", "991"]), 3, "anybody");
    assert_eq!(ping(["991", MCR, "991"]), 0, "a member by its own group");
    assert_eq!(ping(["991", "991", MCR]), 0, "a member by a supplementary group");
}
