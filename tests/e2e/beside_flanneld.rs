//! twill does not start beside a flanneld that runs on the same network, and lives with one on another network or in another network namespace.
//!
//! The flanneld here is a stand-in: a process of that name which does nothing. What twill goes by (name, namespace, flags, variables, subnet file) is as with a real one.

use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use lab::harness::Test;
use lab::process::{outcome, said};
use lab::{Lab, Launch, Node, artifacts, wait_until};

use crate::story::{NETWORK, SOON};

/// The tests of this subject.
pub const TESTS: &[Test] = &[
    Test::new("beside flanneld: on the same network twill refuses, and has touched neither kernel nor store", same_network),
    Test::new("beside flanneld: with the same subnet file twill refuses, also with remembered leases", same_file),
    Test::new("beside flanneld: another network or another namespace is no obstacle, and a late one is told of", elsewhere),
];

/// A process by the name of flanneld; it ends with the test's world, or when dropped.
struct StandIn(Child);

impl StandIn {
    /// On this node, with these flags and variables.
    fn start(node: &Node, flags: &[&str], variables: &[(&str, &str)]) -> Result<StandIn> {
        let program = node.dir("lib").join("flanneld");
        if !program.exists() {
            std::fs::copy("/bin/sh", &program)?;
        }
        // The shell waits for a line that never comes; the flags are its script's arguments, and stand in /proc/PID/cmdline.
        let mut command = node.command("/var/lib/flanneld")?;
        command.args(["-c", "read -r _", "flanneld"]).args(flags).envs(variables.iter().copied());
        let child = command.stdin(Stdio::piped()).spawn().context("cannot start the stand-in")?;
        let stand_in = StandIn(child);
        wait_until("the stand-in's name", SOON, || {
            let comm = std::fs::read_to_string(format!("/proc/{}/comm", stand_in.0.id()))?;
            ensure!(comm.trim() == "flanneld", "{comm}");
            Ok(())
        })?;
        Ok(stand_in)
    }

    fn pid(&self) -> String {
        self.0.id().to_string()
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn subnet_file(node: &Node, name: &str, network: &str) -> Result<()> {
    let folder = node.dir("run").join("flannel");
    std::fs::create_dir_all(&folder)?;
    let subnet = network.replace(".0.0/16", ".9.1/24");
    Ok(std::fs::write(
        folder.join(name),
        format!("FLANNEL_NETWORK={network}\nFLANNEL_SUBNET={subnet}\nFLANNEL_MTU=1472\nFLANNEL_IPMASQ=false\n"),
    )?)
}

fn lab() -> Result<(Lab, Node)> {
    let lab = Lab::new("beside")?;
    lab.network(NETWORK)?;
    let node = lab.node("a")?;
    Ok((lab, node))
}

/// `twill run`, ended by `timeout` (code 124) if it does not refuse.
fn run(node: &Node, flags: &[&str]) -> Result<Command> {
    let mut command = node.command("timeout")?;
    command.args(["20"]).arg(artifacts::twill()).args(["run", "--store", "file", "--store-dir"]).arg(node.store()).args(flags);
    Ok(command)
}

/// It ends with code 1, and its last line has these words.
fn refuses(command: &mut Command, words: &[&str]) -> Result<()> {
    let output = outcome(command)?;
    let told = said(&output);
    ensure!(output.status.code() == Some(1), "{}: {told}", output.status);
    let sentence = told.lines().last().unwrap_or_default();
    for word in words {
        ensure!(sentence.contains(word), "\"{word}\" is not in: {sentence}");
    }
    Ok(())
}

/// Links, addresses, routes and rules of a node.
fn kernel(node: &Node) -> Result<String> {
    let nft = lab::process::run(node.net().command("nft")?.args(["list", "ruleset"]))?;
    Ok([node.ip("-d address show")?, node.ip("route show table all")?, node.ip("-6 route show table all")?, nft].join("\n"))
}

/// Fails with the lines that differ.
fn untouched(node: &Node, before: &str) -> Result<()> {
    let after = kernel(node)?;
    let differing = |a: &str, b: &str| a.lines().filter(|line| !b.lines().any(|other| other == *line)).collect::<Vec<_>>().join("\n");
    ensure!(after == before, "the kernel's state was:\n{}\nand is:\n{}", differing(before, &after), differing(&after, before));
    Ok(())
}

fn same_network() -> Result<()> {
    let (lab, a) = lab()?;
    subnet_file(&a, "theirs.env", NETWORK)?;
    let before = kernel(&a)?;
    let by_flag = StandIn::start(&a, &["-iface=eth0", "-subnet-file=/run/flannel/theirs.env"], &[])?;
    let words = ["flanneld", &format!("process {}", by_flag.pid()), NETWORK, &format!("kill {}", by_flag.pid())];
    refuses(&mut run(&a, &[])?, &words)?;
    // A network that only overlaps is no other one.
    subnet_file(&a, "theirs.env", "10.0.0.0/8")?;
    refuses(&mut run(&a, &[])?, &["10.0.0.0/8"])?;
    ensure!(lab.leases_in_store()? == 0, "a lease was taken all the same");
    untouched(&a, &before)?;
    drop(by_flag);
    a.start(Launch::now())?;
    a.ready(SOON)
}

fn same_file() -> Result<()> {
    let (lab, a) = lab()?;
    a.start(Launch::now())?;
    a.ready(SOON)?;
    let subnet = a.subnet()?;
    a.stop()?;
    // It has not written its file yet; what stands there is twill's.
    let stand_in = StandIn::start(&a, &[], &[])?;
    let pid = format!("process {}", stand_in.pid());
    refuses(&mut run(&a, &[])?, &[&pid])?;
    std::fs::remove_file(a.dir("run").join("flannel/subnet.env"))?;
    wait_until("the tunnel without its daemon", SOON, || {
        Ok(ensure!(a.ip("link show flannel0")?.contains("NO-CARRIER") && a.ip("route")?.contains("linkdown")))
    })?;
    let before = kernel(&a)?;
    refuses(&mut run(&a, &[])?, &[&pid, "/run/flannel/subnet.env", "--subnet-file"])?;
    untouched(&a, &before)?;
    ensure!(lab.leases_in_store()? == 1);
    drop(stand_in);
    a.start(Launch::now())?;
    a.ready(SOON)?;
    ensure!(a.subnet()? == subnet, "{subnet} became {}", a.subnet()?);
    Ok(())
}

fn elsewhere() -> Result<()> {
    let (lab, a) = lab()?;
    let b = lab.node("b")?;
    subnet_file(&a, "theirs.env", "10.77.0.0/16")?;
    let _another_network = StandIn::start(&a, &[], &[("FLANNELD_SUBNET_FILE", "/run/flannel/theirs.env")])?;
    let _another_namespace = StandIn::start(&b, &[], &[])?;
    subnet_file(&b, "subnet.env", NETWORK)?;
    a.start(Launch::now())?;
    a.ready(SOON)?;
    // One that comes later is told of, and pods go on being served.
    subnet_file(&a, "late.env", NETWORK)?;
    let late = StandIn::start(&a, &["--subnet-file", "/run/flannel/late.env"], &[])?;
    let told = format!("process {}", late.pid());
    wait_until("a word of the late flanneld", SOON * 3, || {
        let events = a.api("events")?.to_string();
        ensure!(events.contains(&told) && events.contains(NETWORK), "{events}");
        Ok(())
    })?;
    a.ready(SOON)
}
