//! The ways from pod to pod that are measured: twill's, the kernel's by plain `ip`, and other programs' where they are installed.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::process::run;
use lab::wait_until;
use lab::world::ROOT;

use crate::path::pair::Pair;

/// How long a way may take until the first packet arrives.
const PATIENCE: Duration = Duration::from_secs(15);

/// A way that stands.
#[derive(Debug)]
pub struct Way {
    /// Its name in tables.
    pub name: &'static str,
    /// The second pod's address by this way.
    pub to: Ipv4Addr,
    /// Programs that carry its packets, a process a node.
    programs: Vec<Program>,
}

/// A process that this one started, and ends.
#[derive(Debug)]
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Way {
    /// The processes that carry its packets, node by node.
    pub fn processes(&self, pair: &Pair) -> Result<[Vec<u32>; 2]> {
        if self.name == TWILL {
            return Ok([vec![pair.nodes[0].pid()?], vec![pair.nodes[1].pid()?]]);
        }
        // Of flanneld's the first is its etcd.
        let own = &self.programs[self.programs.len() % 2..];
        let of_node = |node: usize| own.iter().skip(node).step_by(2).map(|program| program.0.id()).collect();
        Ok([of_node(0), of_node(1)])
    }

    /// Resident memory of the larger of its processes in megabytes; none for the kernel's own ways.
    pub fn memory_mb(&self, pair: &Pair) -> Result<Option<f64>> {
        let sizes: Vec<u64> = self.processes(pair)?.concat().into_iter().map(resident_kb).collect::<Result<_>>()?;
        Ok(sizes.into_iter().max().map(|kb| kb as f64 / 1000.0))
    }
}

/// The way that is judged, and the one that it is judged against.
pub const TWILL: &str = "twill udp";
/// See [`TWILL`].
pub const VXLAN: &str = "kernel VXLAN";

/// A real flanneld's udp backend, which the operator names by a variable.
const FLANNELD: &str = "flanneld";

/// A way that is left out, and why.
pub type LeftOut = (&'static str, String);

/// Sets up all ways, and names those that cannot be, with the reason.
pub fn set_up(pair: &Pair) -> Result<(Vec<Way>, Vec<LeftOut>)> {
    type SetUp = fn(&Pair) -> Result<(Ipv4Addr, Vec<Program>)>;
    const ALL: [(&str, &[&str], SetUp); 6] = [
        (TWILL, &[], |pair| Ok((pair.pods[1].address(), vec![]))),
        (VXLAN, &[], vxlan),
        ("kernel routing", &[], routing),
        ("wireguard-go", &["wireguard-go", "wg"], wireguard),
        ("nebula", &["nebula", "nebula-cert"], nebula),
        (FLANNELD, &["etcd", "etcdctl"], flanneld),
    ];
    let (mut ways, mut left_out) = (Vec::new(), Vec::new());
    for (name, programs, set_up) in ALL {
        if name == FLANNELD && std::env::var_os("FLANNELD").is_none() {
            left_out.push((name, "set FLANNELD=path".into()));
            continue;
        }
        if let Some(program) = programs.iter().find(|program| !is_installed(program)) {
            left_out.push((name, format!("{program} is not installed (tests/setup.sh bench)")));
            continue;
        }
        let (to, programs) = set_up(pair).with_context(|| format!("cannot set up {name}"))?;
        wait_until(&format!("a packet by {name}"), PATIENCE, || pair.pods[0].ping_address(to))?;
        ways.push(Way { name, to, programs });
    }
    Ok((ways, left_out))
}

/// True when this user's shell would find it.
pub fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

fn resident_kb(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS in /proc/PID/status")?;
    Ok(line.split_whitespace().next().context("VmRSS is empty")?.parse()?)
}

fn vxlan(pair: &Pair) -> Result<(Ipv4Addr, Vec<Program>)> {
    pair.each(|node, own, other| {
        let (local, remote) = (pair.nodes[own - 1].address(), pair.nodes[other - 1].address());
        node.ip(&format!("link add vxlan9 type vxlan id 9 local {local} remote {remote} dstport 8472 dev eth0 nolearning"))?;
        node.ip(&format!("address add 172.31.61.{own}/24 dev vxlan9"))?;
        node.ip("link set vxlan9 mtu 1450 up")?;
        node.ip(&format!("route add 10.61.{other}.0/24 via 172.31.61.{other}"))?;
        Ok(())
    })?;
    Ok((pair.subnet(61, 1450)?, vec![]))
}

fn routing(pair: &Pair) -> Result<(Ipv4Addr, Vec<Program>)> {
    pair.each(|node, _, other| node.ip(&format!("route add 10.62.{other}.0/24 via {}", pair.nodes[other - 1].address())).map(drop))?;
    Ok((pair.subnet(62, 1500)?, vec![]))
}

fn wireguard(pair: &Pair) -> Result<(Ipv4Addr, Vec<Program>)> {
    let keys = [genkey()?, genkey()?];
    let mut programs = Vec::new();
    for (index, node) in pair.nodes.iter().enumerate() {
        // Where the kernel has WireGuard of its own, the program wants to be told that it is meant.
        let mut command = node.command("wireguard-go")?;
        command.args(["-f", "wg0"]).env("WG_I_PREFER_BUGGY_USERSPACE_TO_POLISHED_KMOD", "1");
        programs.push(quiet(&mut command)?);
        let other = 2 - index;
        fs::write(node.dir("run").join("wg.key"), &keys[index].0)?;
        let peer = &keys[other - 1].1;
        let (allowed, endpoint) = (format!("10.63.{other}.0/24"), format!("{}:51820", pair.nodes[other - 1].address()));
        let words = ["set", "wg0", "listen-port", "51820", "private-key", "/run/wg.key", "peer", peer];
        wait_until("wireguard-go to take its keys", PATIENCE, || {
            run(node.command("wg")?.args(words).args(["allowed-ips", &allowed, "endpoint", &endpoint]))
        })?;
        node.ip("link set wg0 mtu 1420 up")?;
        node.ip(&format!("route add {allowed} dev wg0"))?;
    }
    Ok((pair.subnet(63, 1420)?, programs))
}

/// A private key and its public one.
fn genkey() -> Result<(String, String)> {
    let private = run(Command::new("wg").arg("genkey"))?.trim().to_owned();
    let public = run(Command::new("sh").args(["-c", "printf %s \"$1\" | wg pubkey", "sh", &private]))?.trim().to_owned();
    Ok((private, public))
}

fn nebula(pair: &Pair) -> Result<(Ipv4Addr, Vec<Program>)> {
    let dir = Path::new(ROOT).join("nebula");
    fs::create_dir_all(&dir)?;
    let cert = |words: &str| run(Command::new("nebula-cert").current_dir(&dir).args(words.split_whitespace())).map(drop);
    cert("ca -name lab")?;
    let mut programs = Vec::new();
    for (index, node) in pair.nodes.iter().enumerate() {
        let (own, other) = (index + 1, 2 - index);
        cert(&format!("sign -name node{own} -ip 172.31.64.{own}/24 -subnets 10.64.{own}.0/24"))?;
        let config = dir.join(format!("node{own}.yml"));
        fs::write(&config, nebula_config(&dir, own, other, pair.nodes[other - 1].address()))?;
        programs.push(quiet(node.command("nebula")?.arg("-config").arg(&config))?);
    }
    for node in &pair.nodes {
        wait_until("nebula's device", PATIENCE, || {
            ensure!(node.has_link("nebula1"), "there is none");
            Ok(())
        })?;
    }
    Ok((pair.subnet(64, NEBULA_MTU)?, programs))
}

/// What fits under 1500 with its headers of 60 bytes; its own default is 1300.
const NEBULA_MTU: u32 = 1440;

fn nebula_config(dir: &Path, own: usize, other: usize, address: Ipv4Addr) -> String {
    let dir = dir.display();
    format!(
        "pki: {{ca: {dir}/ca.crt, cert: {dir}/node{own}.crt, key: {dir}/node{own}.key}}
static_host_map: {{'172.31.64.{other}': ['{address}:4242']}}
lighthouse: {{am_lighthouse: false}}
listen: {{host: 0.0.0.0, port: 4242, batch: 64}}
tun: {{dev: nebula1, mtu: {NEBULA_MTU}, tx_queue: 500, unsafe_routes: [{{route: 10.64.{other}.0/24, via: 172.31.64.{other}, mtu: {NEBULA_MTU}}}]}}
logging: {{level: error}}
firewall: {{outbound: [{{port: any, proto: any, host: any}}], inbound: [{{port: any, proto: any, host: any}}]}}
"
    )
}

/// flanneld on both nodes, with an etcd beside the first. Each finds a reservation for its address, so that it takes the subnet that its pod is given.
fn flanneld(pair: &Pair) -> Result<(Ipv4Addr, Vec<Program>)> {
    let program = std::env::var_os("FLANNELD").context("FLANNELD is not set")?;
    let node = &pair.nodes[0];
    let (url, peer) = (format!("http://{}:2379", node.address()), format!("http://{}:2380", node.address()));
    let mut etcd = node.command("etcd")?;
    etcd.args(["--data-dir=/var/lib/etcd", "--name=lab", &format!("--initial-cluster=lab={peer}")]);
    for (flags, at) in
        [(["listen-client-urls", "advertise-client-urls"], &url), (["listen-peer-urls", "initial-advertise-peer-urls"], &peer)]
    {
        etcd.args(flags.map(|flag| format!("--{flag}={at}")));
    }
    let mut programs = vec![quiet(&mut etcd)?];
    let put = |key: &str, value: &str| {
        run(node.command("etcdctl")?.args([&format!("--endpoints={url}"), "put", &format!("/coreos.com/network/{key}"), value])).map(drop)
    };
    // Another port than twill's. nftables spare it the search for br_netfilter.
    let config = r#"{"Network":"10.65.0.0/16","EnableNFTables":true,"Backend":{"Type":"udp","Port":8286}}"#;
    wait_until("etcd to take the config", PATIENCE, || put("config", config))?;
    for (index, node) in pair.nodes.iter().enumerate() {
        put(&format!("subnets/10.65.{}.0-24", index + 1), &format!(r#"{{"PublicIP":"{}","BackendType":"udp"}}"#, node.address()))?;
        let mut command = node.command(&program)?;
        command.args([&format!("-etcd-endpoints={url}"), "-iface=eth0", "-subnet-file=/run/flanneld/subnet.env", "-healthz-port=0"]);
        programs.push(quiet(&mut command)?);
    }
    for node in &pair.nodes {
        wait_until("flanneld's subnet.env", PATIENCE, || {
            ensure!(node.dir("run").join("flanneld/subnet.env").exists(), "there is none");
            Ok(())
        })?;
    }
    Ok((pair.subnet(65, 1472)?, programs))
}

fn quiet(command: &mut Command) -> Result<Program> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let name = command.get_program().to_string_lossy().into_owned();
    Ok(Program(command.spawn().with_context(|| format!("cannot start {name}"))?))
}
