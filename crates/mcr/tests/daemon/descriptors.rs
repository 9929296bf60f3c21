//! A daemon that runs out of open files: rules wait for them, and it can still be told to do with fewer.

use std::process::Stdio;

use rustix::process::Signal;
use serde_json::Value;
use testbed::{eventually, rule, run, skip_unless_available};

use crate::fixture::{PATIENCE, PROGRAMS, line, signal};

const LIMIT: usize = 256;

#[test]
fn rules_leave_the_daemon_enough_to_be_controlled() {
    skip_unless_available!();
    let line = line("dm-files");
    let folder = tempfile::tempdir().unwrap();
    let [config, many, socket] = ["mcr.toml", "many.toml", "s"].map(|name| folder.path().join(name));
    std::fs::write(&config, rule("a", "239.1.1.1%r-in:5000", &["239.2.2.1%r-out:6000"])).unwrap();
    // Each takes a socket to hold its port.
    let holds =
        |n: usize| rule(&format!("r{n}"), &format!("10.10.1.1%r-in:{}", 10_000 + n), &["239.2.2.1%r-out"]);
    std::fs::write(&many, (0..2 * LIMIT).map(holds).collect::<String>()).unwrap();
    let mut command = line.relay().command("prlimit");
    command.arg(format!("--nofile={LIMIT}:{LIMIT}")).arg(PROGRAMS.mcrd);
    command.arg("--config").arg(&config).arg("--socket").arg(&socket);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let mut daemon = command.spawn().unwrap();
    let ctl = |arguments: &[&str]| {
        let mut ctl = std::process::Command::new(PROGRAMS.mcrctl);
        ctl.arg("--socket").arg(&socket).arg("--json").args(arguments);
        run(ctl, PATIENCE)
    };
    eventually(PATIENCE, "it answers", || ctl(&["ping"]).code() == 0);
    for _ in 0..3 {
        let applied = ctl(&["apply", many.to_str().unwrap()]);
        assert_eq!(applied.code(), 0, "{applied:?}");
        let rules: Value = serde_json::from_str(&ctl(&["list"]).stdout).unwrap();
        let wanting =
            |rule: &&Value| rule["reason"].as_str().unwrap().contains("raise the limit of open files");
        let wanting = rules.as_array().unwrap().iter().filter(wanting).count();
        assert!(wanting > LIMIT / 2 && wanting < 2 * LIMIT, "{wanting}");
        for rule in ["r1", "r500"] {
            assert_eq!(ctl(&["remove", rule]).code(), 0);
        }
        // The file is read again, and a table made.
        signal(daemon.id().into(), Signal::HUP);
        eventually(PATIENCE, "the file is the running set", || ctl(&["show", "a"]).code() == 0);
    }
    signal(daemon.id().into(), Signal::TERM);
    let ended = eventually(PATIENCE, "it ends", || daemon.try_wait().unwrap());
    assert_eq!(ended.code(), Some(0));
}
