use super::*;
use std::future::Future;
use testbed::Netns;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(10);

/// Runs `work` inside `netns` on a runtime of one thread, where all sockets are then opened.
fn block_on<F: Future>(netns: &Netns, work: impl FnOnce() -> F + Send) -> F::Output
where
    F::Output: Send,
{
    netns.enter(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(work())
    })
}

fn add_veth(netns: &Netns, name: &str) {
    netns.ip(&format!("link add {name} type veth peer name {name}-peer")).unwrap();
    netns.ip(&format!("link set {name}-peer up")).unwrap();
    netns.ip(&format!("link set {name} up")).unwrap();
}

/// Waits for changes until the snapshot is as wanted.
async fn until(links: &mut Links, what: &str, wanted: impl Fn(&Interfaces) -> bool) {
    let found = async {
        loop {
            links.refresh().await.unwrap();
            if wanted(links.interfaces()) {
                return;
            }
            links.changed().await;
        }
    };
    timeout(PATIENCE, found).await.unwrap_or_else(|_| panic!("no {what}"));
}

#[test]
fn the_snapshot_shows_links_and_addresses() {
    testbed::skip_unless_available!();
    let netns = Netns::new("mcr-link").unwrap();
    add_veth(&netns, "v0");
    netns.ip("link set v0 mtu 1400").unwrap();
    netns.ip("addr add 10.0.1.1 peer 10.0.1.2 dev v0").unwrap();
    netns.ip("addr add 2001:db8:1::1/64 dev v0 nodad").unwrap();
    let interfaces = block_on(&netns, async || Links::open().await.unwrap().interfaces().clone());
    let v0 = interfaces.by_name("v0").unwrap();
    assert_eq!(interfaces.by_index(v0.index), Some(v0));
    assert!(v0.up && v0.running && !v0.loopback && v0.master.is_none());
    assert_eq!(v0.mtu, 1400);
    let lo = interfaces.by_name("lo").unwrap();
    assert!(lo.loopback && lo.running);
    let local = interfaces.local_addresses();
    for address in ["10.0.1.1", "2001:db8:1::1", "127.0.0.1", "::1"] {
        assert!(local.contains(&address.parse().unwrap()), "{address} in {local:?}");
    }
    assert!(!local.contains(&"10.0.1.2".parse().unwrap()), "the peer's is not ours");
    assert_eq!(interfaces.iter().count(), 3);
}

#[test]
fn each_kind_of_change_wakes() {
    testbed::skip_unless_available!();
    let netns = Netns::new("mcr-link").unwrap();
    add_veth(&netns, "w0");
    let inside = netns.clone();
    block_on(&netns, async move || {
        let mut links = Links::open().await.unwrap();
        assert_eq!(links.interfaces().why_not("v0").as_deref(), Some("interface v0 does not exist"));
        add_veth(&inside, "v0");
        until(&mut links, "v0 up", |now| now.why_not("v0").is_none()).await;
        inside.ip("link set v0-peer down").unwrap();
        until(&mut links, "carrier loss", |now| {
            now.why_not("v0").as_deref() == Some("interface v0 is down (no carrier)")
        })
        .await;
        inside.ip("link set v0 down").unwrap();
        until(&mut links, "v0 down", |now| now.why_not("v0").as_deref() == Some("interface v0 is down"))
            .await;
        for address in ["10.7.7.7", "2001:db8:7::7"] {
            inside.ip(&format!("addr add {address} dev w0")).unwrap();
            let address = address.parse().unwrap();
            until(&mut links, "address", |now| now.local_addresses().contains(&address)).await;
        }
        inside.ip("link del v0").unwrap();
        until(&mut links, "removal", |now| now.by_name("v0").is_none()).await;
        for change in
            ["route add 10.99.0.0/16 dev w0", "-6 route add 2001:db8:99::/48 dev w0", "rule add pref 7"]
        {
            while timeout(Duration::from_millis(200), links.changed()).await.is_ok() {}
            inside.ip(change).unwrap();
            timeout(PATIENCE, links.changed()).await.unwrap_or_else(|_| panic!("no wake by {change}"));
        }
    });
}

#[test]
fn bridge_ports_are_refused_as_inputs_with_their_master() {
    testbed::skip_unless_available!();
    let netns = Netns::new("mcr-link").unwrap();
    add_veth(&netns, "v0");
    netns.ip("link add br0 type bridge").unwrap();
    netns.ip("link set v0 master br0").unwrap();
    let interfaces = block_on(&netns, async || Links::open().await.unwrap().interfaces().clone());
    let master = interfaces.by_name("v0").unwrap().master.clone().unwrap();
    assert_eq!((master.name.as_str(), master.role), ("br0", Role::BridgePort));
    assert_eq!(interfaces.by_index(master.index).unwrap().name, "br0");
    let refusal = "interface v0 is a port of the bridge br0, which takes its packets: use %br0";
    assert_eq!(interfaces.why_not_input("v0").as_deref(), Some(refusal));
    for name in ["v0-peer", "br0", "none"] {
        assert_eq!(interfaces.why_not_input(name), None, "{name}");
    }
}

#[test]
fn a_bond_slave_is_told_by_its_kind() {
    let bond = [LinkInfo::PortKind(InfoPortKind::Bond)];
    let vrf = [LinkInfo::PortKind(InfoPortKind::Vrf)];
    assert_eq!([role_in(&bond), role_in(&vrf), role_in(&[])], [Role::BondSlave, Role::Member, Role::Member]);
}

#[test]
fn bursts_are_coalesced_and_an_overrun_is_survived() {
    testbed::skip_unless_available!();
    let netns = Netns::new("mcr-link").unwrap();
    add_veth(&netns, "v0");
    let inside = netns.clone();
    block_on(&netns, async move || {
        let mut links = Links::open().await.unwrap();
        rustix::net::sockopt::set_socket_recv_buffer_size(links.events.get_ref(), 4096).unwrap();
        while timeout(Duration::from_millis(200), links.changed()).await.is_ok() {}
        // Some hundred notifications at once: far more than the buffer takes.
        let routes: String = (0..=255).map(|n| format!("route add 10.200.{n}.0/24 dev v0\n")).collect();
        let file = std::env::temp_dir().join(format!("mcr-links-{}", std::process::id()));
        std::fs::write(&file, routes).unwrap();
        inside.ip(&format!("-batch {}", file.display())).unwrap();
        std::fs::remove_file(&file).unwrap();
        let mut wakes = 0;
        while timeout(Duration::from_millis(200), links.changed()).await.is_ok() {
            wakes += 1;
        }
        assert_eq!(wakes, 1);

        inside.ip("addr add 10.7.7.7/24 dev v0").unwrap();
        let address = "10.7.7.7".parse().unwrap();
        until(&mut links, "address after an overrun", |now| now.local_addresses().contains(&address)).await;

        // Changes that go on: no more than one wake per quiet time.
        let start = Instant::now();
        for n in 0..20 {
            inside.ip(&format!("route del 10.200.{n}.0/24 dev v0")).unwrap();
            links.changed().await;
        }
        assert!(start.elapsed() >= QUIET * 19, "{:?}", start.elapsed());
    });
}

#[test]
fn a_cancelled_wait_loses_nothing() {
    testbed::skip_unless_available!();
    let netns = Netns::new("mcr-link").unwrap();
    add_veth(&netns, "v0");
    let inside = netns.clone();
    block_on(&netns, async move || {
        let mut links = Links::open().await.unwrap();
        let mut cancelled = false;
        for n in 1..=200 {
            inside.ip(&format!("addr add 10.7.7.{n}/24 dev v0")).unwrap();
            // Cut off where it falls within the quiet time of the one before.
            cancelled = timeout(Duration::from_millis(1), links.changed()).await.is_err();
            if cancelled {
                break;
            }
        }
        assert!(cancelled, "no change came within 20 ms of another");
        timeout(PATIENCE, links.changed()).await.expect("the cancelled wake");
    });
}
