//! Ways to end: a stop leaves the lease, `twill release` gives it back, `twill down` takes everything of twill's away and nothing else.

use anyhow::{Result, ensure};
use lab::etcd::{Etcd, NEEDS};
use lab::harness::Test;
use lab::{Lab, Launch, artifacts, wait_until};

use crate::on_etcd::config;
use crate::story::{SOON, cluster};

/// The tests of this subject.
pub const TESTS: &[Test] = &[
    Test::new("farewell: a stopped daemon keeps its lease and its subnet", stop),
    Test::new("farewell: a released lease is gone everywhere", release),
    Test::new("farewell: `twill down` takes away all of ours, puts settings back, and leaves the rest", down),
    Test::new("farewell: the TUN device of udp goes with a daemon that was called as flanneld is, and outlives all others", tun_device)
        .needs(NEEDS),
];

fn stop() -> Result<()> {
    let (_lab, [a, b], pods) = cluster(["a", "b"])?;
    let subnet = a.subnet()?;
    let status = a.stop()?;
    ensure!(status.code() == Some(0), "{status}");
    ensure!(b.api("leases")?.to_string().contains(&subnet), "the lease went with the daemon");
    a.start(Launch::now())?;
    a.ready(SOON)?;
    ensure!(a.subnet()? == subnet);
    pods[0].reaches(&pods[1], SOON)
}

fn release() -> Result<()> {
    let (_lab, [a, b], _pods) = cluster(["a", "b"])?;
    let subnet = a.subnet()?;
    a.twill(&["release"])?;
    b.wait_for_no_lease(&subnet, SOON)?;
    a.wait_for_end(SOON)?;
    Ok(())
}

fn down() -> Result<()> {
    let (_lab, [a, _b], _pods) = cluster(["a", "b"])?;
    a.ip("link add foreign type bridge")?;
    a.ip("link set foreign up")?;
    a.ip("route add 10.50.200.0/24 dev foreign")?;
    ensure!(a.net().read_sysctl("net.ipv4.ip_forward")? == "1", "forwarding is off while twill runs");
    a.stop()?;
    a.twill(&["down"])?;
    ensure!(!a.has_link("flannel0"), "flannel0 is still there");
    ensure!(a.net().read_sysctl("net.ipv4.ip_forward")? == "0", "forwarding was not put back");
    ensure!(a.subnet_env("FLANNEL_MTU").is_err(), "subnet.env is still there");
    ensure!(a.has_link("foreign") && a.has_link("cni0"), "a foreign link was removed");
    ensure!(a.ip("route show 10.50.200.0/24")?.contains("foreign"), "a foreign route was removed");
    a.start(Launch::now())?;
    wait_until("a start after `down`", SOON, || a.ready(SOON))
}

/// flanneld's TUN device ends with its process, and the next flanneld takes the first free name.
fn tun_device() -> Result<()> {
    let lab = Lab::new("tun device")?;
    let etcd = Etcd::with_config(&lab, &config("udp"))?;
    let (a, flanneld) = (lab.node("a")?, artifacts::flanneld()?);
    let as_flanneld = || etcd.flanneld(&flanneld).flags(&["-iface=eth0"]);
    let runs = |launch: Launch| -> Result<()> {
        a.start(launch)?;
        a.ready(SOON)?;
        ensure!(a.has_link("flannel0") && a.ip("route show 10.50.0.0/16")?.contains("dev flannel0 "), "{}", a.ip("route")?);
        Ok(())
    };
    runs(as_flanneld())?;
    a.kill()?;
    ensure!(a.has_link("flannel0"), "it did not outlive a SIGKILL");
    let index = || a.ip_json("link show dev flannel0").map(|links| links[0]["ifindex"].as_u64());
    let killed = index()?;
    runs(as_flanneld())?;
    ensure!(index()? == killed, "the device was made anew after a SIGKILL");
    let status = a.stop()?;
    ensure!(status.success() && !a.has_link("flannel0"), "{status}: {}", a.ip("link")?);
    ensure!(!a.ip("route show table all")?.contains("10.50.0.0/16"), "{}", a.ip("route show table all")?);
    for launch in [etcd.launch(), as_flanneld().variable("TWILL_UDP_RELEASE_TUN", "false")] {
        runs(launch)?;
        a.stop()?;
        ensure!(a.has_link("flannel0") && a.ip("route show 10.50.0.0/16")?.contains("dev flannel0 "), "{}", a.ip("route")?);
    }
    Ok(())
}
