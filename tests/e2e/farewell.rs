//! Ways to end: a stop leaves the lease, `twill release` gives it back, `twill down` takes everything of twill's away and nothing else.

use anyhow::{Result, ensure};
use lab::harness::Test;
use lab::{Launch, wait_until};

use crate::story::{SOON, cluster};

/// The tests of this subject.
pub const TESTS: &[Test] = &[
    Test::new("farewell: a stopped daemon keeps its lease and its subnet", stop),
    Test::new("farewell: a released lease is gone everywhere", release),
    Test::new("farewell: `twill down` takes away all of ours, puts settings back, and leaves the rest", down),
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
