//! Reservations: a subnet pinned to a node by its address, in both stores, for a node that is yet to come and for one that runs.

use anyhow::{Result, ensure};
use lab::etcd::{Etcd, NEEDS, place};
use lab::harness::Test;
use lab::process::{outcome, said};
use lab::{Lab, Launch, Node, artifacts, wait_until};

use crate::on_etcd::config;
use crate::story::{NETWORK, SOON, cluster, flowing, goes_on};

/// The tests of this subject.
pub const TESTS: &[Test] = &[
    Test::new("reserve: a node that comes takes what was reserved for its address, in the file store", file),
    Test::new("reserve: the same in etcd, where the key has no lease before and after", etcd).needs(NEEDS),
    Test::new("reserve: a lease in use is pinned and freed under traffic", in_use),
    Test::new("reserve: what cannot be reserved is refused in words", refused),
];

fn twill(node: &Node, words: &[&str], store: &[&str]) -> Result<String> {
    node.twill(&[words, store].concat())
}

fn file() -> Result<()> {
    let lab = Lab::new("reserve")?;
    lab.network(NETWORK)?;
    let (a, b) = (lab.node("a")?, lab.node("b")?);
    let path = lab.store().display().to_string();
    let store = ["--store", "file", "--store-dir", &path];
    let told = twill(&a, &["reserve", "10.50.77.0/24", "--for", &a.address().to_string()], &store)?;
    ensure!(told.contains("10.50.77.0/24 is reserved for the node at 192.168.50."), "{told}");
    for node in [&b, &a] {
        node.start(Launch::now().flags(&["--lease-ttl", "3s"]))?;
        node.ready(SOON)?;
    }
    ensure!(a.subnet()? == "10.50.77.0/24" && b.subnet()? != "10.50.77.0/24", "{} and {}", a.subnet()?, b.subnet()?);
    // It has no end, however long its node is away: here, longer than a lease's term.
    a.stop()?;
    b.kill()?;
    let c = lab.ready_node("c")?;
    wait_until("the end of the lease that is not reserved", SOON, || {
        Ok(ensure!(!c.api("leases")?.to_string().contains(&b.address().to_string())))
    })?;
    ensure!(
        c.twill(&["leases"])?.lines().any(|line| line.contains("10.50.77.0/24") && line.contains("never (reserved)")),
        "{}",
        c.twill(&["leases"])?
    );
    a.start(Launch::now())?;
    a.ready(SOON)?;
    ensure!(a.subnet()? == "10.50.77.0/24");
    Ok(())
}

fn etcd() -> Result<()> {
    let lab = Lab::new("reserve")?;
    let etcd = Etcd::with_config(&lab, &config("udp"))?;
    let a = lab.node("a")?;
    let flags = etcd.flags();
    let store: Vec<&str> = flags.iter().map(String::as_str).collect();
    twill(&a, &["reserve", "10.50.77.0/24", "--for", &a.address().to_string()], &store)?;
    let key = place("10.50.77.0/24");
    let value = etcd.value(&key)?;
    ensure!(value == format!(r#"{{"PublicIP":"{}","PublicIPv6":null}}"#, a.address()), "flannel must be able to read it: {value}");
    let without_end = || -> Result<()> {
        let term = etcd.term(&key)?;
        ensure!(term.is_none(), "{term:?}");
        Ok(())
    };
    without_end()?;
    a.start(etcd.launch())?;
    a.ready(SOON)?;
    ensure!(a.subnet()? == "10.50.77.0/24", "{}", a.subnet()?);
    without_end()?;
    let told = twill(&a, &["unreserve", "10.50.77.0/24"], &store)?;
    ensure!(told.contains("no longer"), "{told}");
    wait_until("an end of the lease", SOON, || Ok(ensure!(without_end().is_err())))?;
    ensure!(a.subnet()? == "10.50.77.0/24" && a.ready(SOON).is_ok());
    Ok(())
}

fn in_use() -> Result<()> {
    let (lab, [a, b], [p, q]) = cluster(["a", "b"])?;
    let path = lab.store().display().to_string();
    let store = ["--store", "file", "--store-dir", &path];
    let subnet = a.subnet()?;
    let stream = flowing(&p, &q)?;
    ensure!(twill(&a, &["reserve"], &store)?.contains(&subnet));
    wait_until("the reservation everywhere", SOON, || {
        for node in [&a, &b] {
            let line = node.twill(&["leases"])?.lines().find(|line| line.contains(&subnet)).unwrap_or_default().to_owned();
            ensure!(line.contains("never (reserved)"), "{line}");
        }
        Ok(())
    })?;
    twill(&a, &["unreserve", &subnet], &store)?;
    wait_until("a lease with an end", SOON, || Ok(ensure!(a.twill(&["leases"])?.contains(" in 2"), "{}", a.twill(&["leases"])?)))?;
    over_the_api(&a, &subnet)?;
    goes_on(&stream)?;
    stream.stop()?.nothing_lost()?;
    ensure!(a.subnet()? == subnet);
    Ok(())
}

/// The running daemon does it too: for its own subnet without a word, for others by name, and it says what is wrong.
fn over_the_api(node: &Node, own: &str) -> Result<()> {
    let asks = |path: &str, json: &str, status: u16, words: &str| -> Result<()> {
        let (found, body) = node.post(&format!("/api/v1/{path}"), json)?;
        Ok(ensure!(found == status && body.contains(words), "{path} {json}: {found} {body}"))
    };
    asks("reserve", "", 200, &format!("{own} is reserved for the node at 192.168.50."))?;
    asks("unreserve", &format!(r#"{{"subnets":["{own}"]}}"#), 200, "reserved no longer")?;
    asks(
        "reserve",
        r#"{"subnets":["10.50.78.0/24"],"public":["192.168.50.99"]}"#,
        200,
        "10.50.78.0/24 is reserved for the node at 192.168.50.99",
    )?;
    wait_until("it among the leases", SOON, || Ok(ensure!(node.api("leases")?.to_string().contains("10.50.78.0/24"))))?;
    asks("unreserve", r#"{"subnets":["10.50.78.0/24"]}"#, 200, "reserved no longer")?;
    asks("unreserve", r#"{"subnets":["10.50.78.0/24"]}"#, 409, "not a reservation")?;
    asks("reserve", r#"{"subnets":["10.99.7.0/24"],"public":["192.168.50.99"]}"#, 409, "cannot reserve 10.99.7.0/24")?;
    asks("reserve", r#"{"subnets":["10.50.78.0/24"]}"#, 400, "name the address")?;
    asks("reserve", r#"{"subnets":["10.50.78.0/24"],"public":["192.168.50.300"]}"#, 400, "cannot be understood")?;
    asks("reserve", r#"{"subnets":["10.50.78.0/24","10.50.79.0/24"],"public":["192.168.50.99"]}"#, 400, "one subnet of a family")?;
    asks("unreserve", "", 400, "name the subnet")?;
    asks("reserve", r#"{"subnets":["nonsense"]}"#, 400, "cannot be understood")
}

fn refused() -> Result<()> {
    let (lab, [a], _pods) = cluster(["a"])?;
    let subnet = a.subnet()?;
    let cases: [(&[&str], i32, &str); 6] = [
        (&["reserve", &subnet, "--for", "192.168.50.99"], 1, "is held by"),
        (&["reserve", "10.50.7.0/25", "--for", "192.168.50.99"], 64, "of length /24"),
        (&["reserve", "10.99.7.0/24", "--for", "192.168.50.99"], 64, "10.50."),
        (&["reserve", "10.50.7.0/24", "10.50.8.0/24", "--for", "192.168.50.99"], 64, "one subnet of a family"),
        (&["reserve", "10.50.7.0/24"], 64, "--for"),
        (&["unreserve", "10.50.7.0/24"], 1, "not a reservation"),
    ];
    for (words, code, part) in cases {
        let mut command = a.command(artifacts::twill())?;
        command.args(words).args(["--store", "file", "--store-dir"]).arg(lab.store());
        let output = outcome(&mut command)?;
        ensure!(output.status.code() == Some(code) && said(&output).contains(part), "{words:?}: {}: {}", output.status, said(&output));
    }
    Ok(())
}
