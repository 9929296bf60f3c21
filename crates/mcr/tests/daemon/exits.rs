//! How the programs end and with which code: options, files, sockets, rights.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::process::Command;

use testbed::process::Finished;
use testbed::relay::Relay;
use testbed::{Netns, rule, run, skip_unless_available};

use crate::fixture::{PATIENCE, PROGRAMS, Place, keys};

const RULE: [&str; 3] = ["a", "239.1.1.1%r-in:5000", "239.2.2.1%r-out:6000"];

fn config() -> String {
    rule(RULE[0], RULE[1], &[RULE[2]])
}

fn mcrd(arguments: &[&str]) -> Finished {
    let netns = Netns::new("dm-exit").unwrap();
    let mut command = netns.command(PROGRAMS.mcrd);
    command.args(arguments);
    run(command, PATIENCE)
}

/// It ended with this code, said these words on standard error and nothing on standard output.
fn assert_ended(finished: &Finished, code: i32, words: &[&str]) {
    assert_eq!((finished.code(), finished.stdout.as_str()), (code, ""), "{}", finished.stderr);
    for words in words {
        assert!(finished.stderr.contains(words), "no {words:?} in {}", finished.stderr);
    }
}

#[test]
fn options_and_files_that_are_wrong_are_code_2() {
    skip_unless_available!();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let socket = folder.path().join("s").display().to_string();
    let bad = file("bad.toml", b"[[rule]]\nname = \"a\"\ncolour = 1\n");
    let binary = file("binary.toml", b"\xff\xfe");
    let folder_name = folder.path().display().to_string();
    let cases: &[(&[&str], &str)] = &[
        (&["--bogus"], "unexpected argument '--bogus'"),
        (&["rules.toml"], "unexpected argument 'rules.toml'"),
        (&["--log", "yaml"], "invalid value 'yaml' for '--log <FORMAT>'"),
        (&["--cores", "x"], "\"x\" is not a core or a range of cores"),
        (&["--cores", "1-0"], "the range \"1-0\" runs downwards"),
        (&["--cores", "0,0"], "core 0 is listed twice"),
        (&["--cores", ""], "is not a core"),
        (&["--cores", "1023"], "core 1023 is not among those mcrd may use ("),
        (
            &["--config", "/nonexistent/mcr.toml"],
            "cannot read the configuration /nonexistent/mcr.toml: No such file",
        ),
        (&["--config", &folder_name], "cannot read the configuration "),
        (&["--config", &binary], "cannot read the configuration "),
        (&["--config", &bad], "line 3, column 1: unknown key \"colour\""),
    ];
    for (arguments, words) in cases {
        let arguments = [&["--socket", &socket], *arguments].concat();
        assert_ended(&mcrd(&arguments), 2, &[words]);
    }
    let good = file("good.toml", config().as_bytes());
    let cores = file("cores.toml", (config() + "[worker]\ncores = \"1023\"\n").as_bytes());
    let no_core = "core 1023 is not among those mcrd may use (";
    let checks: &[(&[&str], &str)] = &[
        (&[&bad], "line 3, column 1: unknown key \"colour\""),
        (&["/nonexistent/mcr.toml"], "cannot read the configuration /nonexistent/mcr.toml: No such file"),
        (&[&good, "--cores", "1023"], no_core),
        (&[&cores], no_core),
    ];
    for (arguments, words) in checks {
        assert_ended(&mcrd(&[&["--check", "--config"], *arguments].concat()), 2, &[words]);
    }
    let checked = mcrd(&["--check", "--config", &good]);
    assert_eq!((checked.code(), checked.stdout), (0, format!("{good}: valid, 1 rule\n")));
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 4, "none of these may leave a socket or lock: {left:?}");
}

#[test]
fn a_rule_that_cannot_run_here_is_code_2_and_names_the_file() {
    skip_unless_available!();
    let netns = Netns::new("dm-exit").unwrap();
    let bridge = testbed::Bridge::new(&netns, "br0").unwrap();
    let cable = testbed::Veth::pair((&netns, "r-in"), (&netns, "p1")).unwrap();
    bridge.attach(&cable.a).unwrap();
    let error = Relay::start(PROGRAMS, &netns, &config()).err().unwrap().to_string();
    assert!(error.contains("mcr.toml: rule a: interface r-in is a port of the bridge br0"), "{error}");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mcr.toml");
    fs::write(&path, config()).unwrap();
    let mut command = netns.command(PROGRAMS.mcrd);
    command.arg("--config").arg(&path).arg("--socket").arg(folder.path().join("s"));
    assert_ended(&run(command, PATIENCE), 2, &["is a port of the bridge br0"]);
    assert!(netns.pids().unwrap().is_empty());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no socket and no lock is left");
}

#[test]
fn a_socket_in_use_is_left_to_its_daemon() {
    skip_unless_available!();
    let mut place = Place::start("dm-inuse", &config());
    let socket = place.relay.socket().display().to_string();
    let pid = place.relay.daemon().pid();
    assert_ended(&mcrd(&["--socket", &socket]), 1, &[&format!("{socket} is in use by mcrd (pid {pid}): ")]);
    assert_eq!(place.relay.ctl_json(&["ping"])["pid"], pid);

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.sock");
    let other = UnixListener::bind(&path).unwrap();
    let path = path.display().to_string();
    let own = format!("(pid {})", std::process::id());
    assert_ended(&mcrd(&["--socket", &path]), 1, &["is in use by ", &own]);
    drop(other);
    let file = folder.path().join("file");
    fs::write(&file, "precious").unwrap();
    assert_ended(&mcrd(&["--socket", &file.display().to_string()]), 1, &["exists and is not a socket"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
}

#[test]
fn a_stale_socket_is_taken_over() {
    skip_unless_available!();
    let mut place = Place::start("dm-stale", &config());
    place.relay.stop();
    drop(UnixListener::bind(place.relay.socket()).unwrap());
    place.relay.start_again().unwrap();
    assert_eq!(place.relay.state("a").0, "active");
}

/// A copy of a program where any user may execute it, whatever the build's folder allows.
pub(crate) fn for_anyone(program: &str, folder: &tempfile::TempDir) -> String {
    fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
    let path = folder.path().join("program");
    // By another process: a child of another test could have it open for writing still, and it would be too busy to run.
    assert!(Command::new("cp").arg(program).arg(&path).status().unwrap().success());
    fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    path.display().to_string()
}

#[test]
fn a_missing_capability_is_named_with_its_remedy() {
    skip_unless_available!();
    let folder = tempfile::tempdir().unwrap();
    let program = for_anyone(PROGRAMS.mcrd, &folder);
    let netns = Netns::new("dm-caps").unwrap();
    let socket = folder.path().join("run/s");
    let with = |rights: &[&str]| {
        let mut command = netns.command("setpriv");
        command.args(rights).arg(&program).arg("--socket").arg(&socket);
        run(command, PATIENCE)
    };
    let nobody = with(&["--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all"]);
    let how = "run mcrd as root, or set AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW ";
    let setcap = format!("+ep {program}");
    assert_ended(
        &nobody,
        1,
        &["CAP_NET_RAW (packet sockets)", "CAP_NET_ADMIN (", "CAP_SETUID (", how, &setcap],
    );
    let one = with(&["--bounding-set=-net_raw"]);
    assert_ended(&one, 1, &["mcrd: missing capability CAP_NET_RAW (packet sockets); ", how, &setcap]);
    assert!(
        !socket.exists() && !folder.path().join("run").exists(),
        "it was refused before it touched anything"
    );
}

#[test]
fn a_service_that_is_not_root_relays() {
    skip_unless_available!();
    let line = crate::fixture::line("dm-user");
    let folder = tempfile::tempdir().unwrap();
    let program = for_anyone(PROGRAMS.mcrd, &folder);
    let (socket, file) = (folder.path().join("s"), folder.path().join("mcr.toml"));
    fs::write(&file, config()).unwrap();
    let rights = "+net_admin,+net_raw,+setuid,+setgid,+setpcap,+kill";
    let mut command = line.relay().command("setpriv");
    command.args(["--reuid=65533", "--regid=65533", "--clear-groups"]);
    command.args([format!("--inh-caps={rights}"), format!("--ambient-caps={rights}")]);
    command.arg(&program).arg("--config").arg(&file).arg("--socket").arg(&socket);
    let mut daemon = testbed::Daemon::start("mcrd", command).unwrap();
    daemon.wait_line(|line| line.contains("ready socket="), PATIENCE);
    let mut probe = testbed::Probe::on(&line.receiver.link).unwrap().only(|seen| seen.dport == Some(6000));
    let sender = testbed::Sender::open(&line.sender.link, (line.sender.v4, 4000).into()).unwrap();
    sender.send("239.1.1.1:5000".parse().unwrap(), b"x").unwrap();
    assert_eq!(probe.expect_one(PATIENCE).payload, b"x");
    let mut workers = Command::new(PROGRAMS.mcrctl);
    workers.args(["--json", "workers", "--socket"]).arg(&socket);
    let workers = testbed::json(workers);
    let pid = workers[0]["pid"].as_u64().unwrap();
    crate::workers::assert_confined(pid);
    assert_eq!(daemon.stop(PATIENCE).code(), Some(0));
    assert!(!socket.exists());
}

/// With a file system of its own, so that this machine's configuration and daemon play no part.
#[test]
fn without_options_the_default_places_are_used() {
    skip_unless_available!();
    let netns = Netns::new("dm-default").unwrap();
    let start = |rules: &str| {
        let mut command = netns.command("unshare");
        let script = "mount -t tmpfs none /etc && mount -t tmpfs none /run && mkdir /etc/mcr && \
                      if [ -n \"$1\" ]; then printf %s \"$1\" > /etc/mcr/mcr.toml; fi; exec \"$0\"";
        command.args(["--mount", "sh", "-c", script, PROGRAMS.mcrd, rules]);
        testbed::Daemon::start("mcrd", command).unwrap()
    };
    for (rules, count) in [(String::new(), 0), (config(), 1)] {
        let mut daemon = start(&rules);
        daemon.wait_line(|line| line.contains("ready socket=/run/mcr/mcrd.sock"), PATIENCE);
        let folder = format!("/proc/{}/root/run/mcr", daemon.pid());
        let mut list = Command::new(PROGRAMS.mcrctl);
        list.args(["--json", "list", "--socket", &format!("{folder}/mcrd.sock")]);
        assert_eq!(testbed::json(list).as_array().unwrap().len(), count);
        let mode = |path: &str| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode(&folder), mode(&format!("{folder}/mcrd.sock"))), (0o755, 0o660));
        // Absent on reload is no rules, too.
        let _ = fs::remove_file(format!("/proc/{}/root/etc/mcr/mcr.toml", daemon.pid()));
        daemon.signal(testbed::process::Signal::HUP);
        let words = format!("remove={count}");
        daemon.wait_line(|line| line.contains("rules applied add=0") && line.contains(&words), PATIENCE);
        assert_eq!(daemon.stop(PATIENCE).code(), Some(0));
    }
}

#[test]
fn mcrctl_tells_its_four_ends_apart() {
    skip_unless_available!();
    let place = Place::start("dm-ctl", &config());
    let relay = &place.relay;
    let cases: &[(&[&str], i32, &str)] = &[
        (&["ping"], 0, ""),
        (&["list", "--json"], 0, ""),
        (&["remove", "nobody"], 1, "no rule is named nobody"),
        (&["show", "nobody"], 1, "no rule is named nobody"),
        (&["stats", "nobody"], 1, "no rule is named nobody"),
        (&["add", "a", "239.1.1.2%r-in", "10.0.0.1"], 1, "there is a rule named a already"),
        (&["add", "b", RULE[1], RULE[2]], 1, "rules b and a both have the input"),
        (&["apply", "/nonexistent"], 1, "/nonexistent"),
        (&["save", "/nonexistent/rules.toml"], 1, "/nonexistent/rules.toml"),
        (&["log-level", "verbose"], 1, "\"verbose\" is no level"),
        (&["log-level", "mcr=loud"], 1, "LEVEL one of off, error, warn, info, debug, trace"),
        (&[], 2, "Usage"),
        (&["frobnicate"], 2, "frobnicate"),
        (&["add", "b"], 2, "required"),
        (&["add", "b", "239.1.1.2%r-in"], 2, "OUTPUT"),
        (&["list", "--colour"], 2, "--colour"),
        (&["--socket", "/nonexistent/s", "ping"], 2, "cannot be used multiple times"),
    ];
    for (arguments, code, words) in cases {
        let finished = relay.ctl(arguments);
        assert_eq!(finished.code(), *code, "{arguments:?}: {finished:?}");
        assert!(finished.stderr.contains(words), "{arguments:?}: {}", finished.stderr);
        assert_eq!(
            (finished.stdout.is_empty(), finished.stderr.is_empty()),
            (*code != 0, *code == 0),
            "{arguments:?}"
        );
        if *code != 0 {
            let json = relay.ctl(&[&["--json"], *arguments].concat());
            assert_eq!((json.code(), json.stdout.as_str()), (*code, ""), "{arguments:?}");
            assert_eq!(keys(&serde_json::from_str(&json.stderr).unwrap()), "error", "{arguments:?}");
        }
    }
    let mut nobody = Command::new(PROGRAMS.mcrctl);
    nobody.args(["--socket", "/nonexistent/mcrd.sock", "list"]);
    assert_ended(&run(nobody, PATIENCE), 3, &["no mcrd at /nonexistent/mcrd.sock", "start mcrd"]);
}
