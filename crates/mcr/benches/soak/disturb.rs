//! What happens to a relay within a minute, while traffic flows.

use std::thread;
use std::time::Duration;

use anyhow::Result;
use rustix::process::{Pid, Signal, kill_process};
use testbed::{Link, rule};

use crate::place::{Place, SOON, number, rules};

/// Between two disturbances.
const PAUSE: Duration = Duration::from_secs(5);
/// How long a link stays down.
const DOWN: Duration = Duration::from_millis(500);
/// Rules added to those in use.
const MORE: u32 = 200;

/// All of them, one after the other; the input's link flaps only if asked for, as then not all that is sent arrives.
pub(crate) fn all(place: &Place, with_input_flap: bool) -> Result<()> {
    let disturbances: [fn(&Place) -> Result<()>; 6] =
        [a_rule_comes_and_goes, kill, flap_output, replace, apply, flap_output];
    for disturb in disturbances {
        thread::sleep(PAUSE);
        disturb(place)?;
    }
    if with_input_flap {
        thread::sleep(PAUSE);
        flap(&place.fan.ingress.link)?;
    }
    thread::sleep(PAUSE);
    place.wait_active();
    Ok(())
}

fn a_rule_comes_and_goes(place: &Place) -> Result<()> {
    place.relay.ctl_ok(&["add", "guest", "239.1.9.9%r-in:5000", "239.4.0.1%r-out3:6000"]);
    place.relay.ctl_ok(&["add", "--replace", "guest", "239.1.9.8%r-in:5000", "239.4.0.1%r-out1:6000"]);
    place.relay.ctl_ok(&["remove", "guest"]);
    Ok(())
}

/// The first worker, always: the others show what two hours do to a worker.
fn kill(place: &Place) -> Result<()> {
    let worker = &place.relay.stats()["workers"][0];
    let restarts = number(worker, "restarts");
    let pid = i32::try_from(number(worker, "pid")).ok().and_then(Pid::from_raw);
    kill_process(pid.expect("the pid of a process"), Signal::KILL)?;
    place.relay.wait_stats(SOON, |stats| {
        let worker = &stats["workers"][0];
        number(worker, "restarts") == restarts + 1 && worker["state"] == "active"
    });
    Ok(())
}

fn flap_output(place: &Place) -> Result<()> {
    flap(&place.fan.egress[1].link)
}

/// One output more for a flow that goes on on its others, and without it again.
fn replace(place: &Place) -> Result<()> {
    let replace = |outputs: &[&str]| {
        place.relay.ctl_ok(&[&["add", "--replace", "flow1", "239.1.0.1%r-in:5000"], outputs].concat());
    };
    let outputs = ["239.2.0.1%r-out1:6000", "239.3.0.1%r-out2:6000", "239.4.0.1%r-out3:6000"];
    replace(&outputs);
    thread::sleep(DOWN);
    replace(&outputs[..2]);
    Ok(())
}

/// Many rules beside those in use, and without them again.
fn apply(place: &Place) -> Result<()> {
    let guest = |number| {
        let input = format!("239.5.{}.{}%r-in:5000", number / 100, number % 100);
        rule(&format!("guest{number}"), &input, &["239.4.0.1%r-out1:6000"])
    };
    let more = rules() + &(0..MORE).map(guest).collect::<String>();
    for text in [more, rules()] {
        let file = place.relay.file("soak.toml", &text);
        place.relay.ctl_ok(&["apply", &file]);
    }
    Ok(())
}

fn flap(link: &Link) -> Result<()> {
    link.down()?;
    thread::sleep(DOWN);
    link.up()
}
