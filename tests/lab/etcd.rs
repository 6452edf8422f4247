//! A real etcd: one server or a cluster of them, each on a machine of its own; with or without TLS and users.

use std::cell::RefCell;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::authority::{Authority, Pair};
use crate::cluster::Lab;
use crate::daemon::Launch;
use crate::harness::Need;
use crate::node::Node;
use crate::process::run;
use crate::wait::wait_until;

/// What flannel's keys begin with.
pub const PREFIX: &str = "/coreos.com/network";
/// What a test with etcd needs installed.
pub const NEEDS: &[Need] = &[Need::Program("etcd"), Need::Program("etcdctl")];

const PORT: u16 = 2379;
const PATIENCE: Duration = Duration::from_secs(30);

/// How etcd is to be run.
#[derive(Default)]
pub struct Plan<'a> {
    members: usize,
    authority: Option<&'a Authority>,
    flags: Vec<&'static str>,
}

impl<'a> Plan<'a> {
    /// One server, without TLS.
    pub fn plain() -> Plan<'a> {
        Plan { members: 1, ..Plan::default() }
    }

    /// So many servers.
    pub fn members(self, members: usize) -> Plan<'a> {
        Plan { members, ..self }
    }

    /// TLS with certificates that `authority` signed.
    pub fn tls(self, authority: &'a Authority) -> Plan<'a> {
        Plan { authority: Some(authority), ..self }
    }

    /// This flag of etcd's too.
    pub fn flag(mut self, flag: &'static str) -> Plan<'a> {
        self.flags.push(flag);
        self
    }
}

/// What a client of etcd has to show.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// Flags of twill's, and, but for their names, of etcdctl's.
    flags: Vec<String>,
}

impl Access {
    /// Trusts `authority` and shows this certificate.
    pub fn certificate(self, authority: &Authority, pair: &Pair) -> Access {
        let shown = [("--etcd-certfile", pair.certificate.display()), ("--etcd-keyfile", pair.key.display())];
        self.trusting(authority).with(&shown.map(|(flag, file)| format!("{flag}={file}")))
    }

    /// Trusts `authority` and shows nothing.
    pub fn trusting(self, authority: &Authority) -> Access {
        self.with(&[format!("--etcd-cafile={}", authority.roots().display())])
    }

    /// These flags of twill's too.
    pub fn with(mut self, flags: &[String]) -> Access {
        self.flags.extend_from_slice(flags);
        self
    }
}

/// A running etcd.
pub struct Etcd {
    members: Vec<Member>,
    access: Access,
    /// Words for etcdctl: certificates, user and password.
    control: RefCell<Vec<String>>,
}

/// One of its servers.
pub struct Member {
    node: Node,
    words: Vec<String>,
    url: String,
    process: RefCell<Option<Child>>,
}

impl Etcd {
    /// One server without TLS, in a lab, with this network config.
    pub fn with_config(lab: &Lab, config: &str) -> Result<Etcd> {
        let etcd = Etcd::start(lab, Plan::plain())?;
        etcd.config(config)?;
        Ok(etcd)
    }

    /// Starts its servers, each on a machine of its own, and waits until all answer.
    pub fn start(lab: &Lab, plan: Plan<'_>) -> Result<Etcd> {
        let scheme = if plan.authority.is_some() { "https" } else { "http" };
        let nodes: Vec<Node> = (1..=plan.members).map(|number| lab.node(&format!("etcd{number}"))).collect::<Result<_>>()?;
        let peers: Vec<String> = nodes.iter().map(|node| format!("{}=http://{}:2380", node.name(), node.address())).collect();
        let mut members = Vec::new();
        for node in nodes {
            let url = format!("{scheme}://{}:{PORT}", node.address());
            let peer = format!("http://{}:2380", node.address());
            let mut words: Vec<String> = plan.flags.iter().map(|flag| (*flag).to_owned()).collect();
            for (flag, value) in [
                ("--name", node.name()),
                ("--data-dir", "/var/lib/etcd"),
                ("--log-level", "error"),
                ("--listen-peer-urls", &peer),
                ("--initial-advertise-peer-urls", &peer),
                ("--initial-cluster", &peers.join(",")),
                ("--listen-client-urls", &url),
                ("--advertise-client-urls", &url),
            ] {
                words.push(format!("{flag}={value}"));
            }
            if let Some(authority) = plan.authority {
                let pair = authority.server(node.address().into())?;
                words.push(format!("--cert-file={}", pair.certificate.display()));
                words.push(format!("--key-file={}", pair.key.display()));
                // etcd wants a client certificate as soon as it is told whose to trust.
                if plan.flags.contains(&"--client-cert-auth") {
                    words.push(format!("--trusted-ca-file={}", authority.roots().display()));
                }
            }
            members.push(Member { node, words, url, process: RefCell::new(None) });
        }
        let (mut access, mut control) = (Access::default(), Vec::new());
        if let Some(authority) = plan.authority {
            let pair = authority.client("operator", "")?;
            control.push(format!("--cacert={}", authority.roots().display()));
            control.push(format!("--cert={}", pair.certificate.display()));
            control.push(format!("--key={}", pair.key.display()));
            access = access.certificate(authority, &pair);
        }
        let etcd = Etcd { members, access, control: RefCell::new(control) };
        etcd.go_on()?;
        Ok(etcd)
    }

    /// Starts again what was stopped, and waits until all answer.
    pub fn go_on(&self) -> Result<()> {
        for member in &self.members {
            member.go_on()?;
        }
        for member in &self.members {
            wait_until("etcd to answer", PATIENCE, || run(&mut self.etcdctl_of(&member.url, &["endpoint", "health"])?).map(drop))?;
        }
        Ok(())
    }

    /// Kills all servers.
    pub fn stop(&self) -> Result<()> {
        self.members.iter().try_for_each(Member::stop)
    }

    /// Has them forget everything; none may run.
    pub fn wipe(&self) -> Result<()> {
        self.members.iter().try_for_each(|member| Ok(std::fs::remove_dir_all(member.node.dir("lib").join("etcd"))?))
    }

    /// Its servers.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The machine of its first server.
    pub fn node(&self) -> &Node {
        &self.members[0].node
    }

    /// The server that leads the others.
    pub fn leader(&self) -> Result<&Member> {
        let told = self.ctl(&["endpoint", "status", "-w", "json"])?;
        let all: Value = serde_json::from_str(&told)?;
        let leads = |one: &&Value| one["Status"]["leader"] == one["Status"]["header"]["member_id"];
        let leader = all.as_array().into_iter().flatten().find(leads).with_context(|| format!("nobody leads: {told}"))?;
        self.members.iter().find(|member| leader["Endpoint"] == member.url.as_str()).context("an unknown server leads")
    }

    /// The addresses of all servers.
    pub fn urls(&self) -> String {
        self.members.iter().map(|member| member.url.as_str()).collect::<Vec<_>>().join(",")
    }

    /// Flags of twill's for this etcd, as its operator has access to it.
    pub fn flags(&self) -> Vec<String> {
        self.flags_for(&self.access)
    }

    /// The same for somebody with other access.
    pub fn flags_for(&self, access: &Access) -> Vec<String> {
        [vec!["--store=etcd".into(), format!("--etcd-endpoints={}", self.urls())], access.flags.clone()].concat()
    }

    /// A daemon on this etcd.
    pub fn launch(&self) -> Launch {
        Launch::now().on(&self.flags())
    }

    /// A daemon on this etcd, by flannel's command line.
    pub fn flanneld(&self, program: &std::path::Path) -> Launch {
        let flags = self.flags();
        // flannel has no --store.
        Launch::flanneld(program).on(&flags[1..])
    }

    /// A new node whose daemon is ready.
    pub fn join(&self, lab: &Lab, name: &str) -> Result<Node> {
        let node = lab.node(name)?;
        node.start(self.launch())?;
        node.ready(PATIENCE)?;
        Ok(node)
    }

    /// New nodes, started together, that are ready and know each other.
    pub fn cluster<const N: usize>(&self, lab: &Lab, names: [&str; N]) -> Result<[Node; N]> {
        let nodes: Vec<Node> = names.iter().map(|name| lab.node(name)).collect::<Result<_>>()?;
        for node in &nodes {
            node.start(self.launch())?;
        }
        for node in &nodes {
            node.ready(PATIENCE)?;
        }
        lab.wait_for_routes(&nodes.iter().collect::<Vec<_>>(), PATIENCE)?;
        nodes.try_into().map_err(|_| anyhow::anyhow!("as many nodes as names"))
    }

    /// Makes a user whose role reads and writes what is below [`PREFIX`], and has etcd want users from now on; `etcdctl` is its root.
    pub fn wants_users(&self, user: &str, password: &str) -> Result<()> {
        const ROOT: &str = "root-of-the-lab";
        let below = format!("{PREFIX}/");
        for words in [
            &["user", "add", &format!("root:{ROOT}")][..],
            &["user", "grant-role", "root", "root"],
            &["role", "add", "network"],
            &["role", "grant-permission", "network", "readwrite", "--prefix", &below],
            &["user", "add", &format!("{user}:{password}")],
            &["user", "grant-role", user, "network"],
            &["auth", "enable"],
        ] {
            self.ctl(words)?;
        }
        self.control.borrow_mut().push(format!("--user=root:{ROOT}"));
        Ok(())
    }

    /// Gives a user another password.
    pub fn change_password(&self, user: &str, password: &str) -> Result<()> {
        let mut child =
            self.etcdctl(&["user", "passwd", user, "--interactive=false"])?.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
        child.stdin.take().context("etcdctl has no standard input")?.write_all(format!("{password}\n").as_bytes())?;
        ensure!(child.wait()?.success(), "etcdctl did not change the password");
        Ok(())
    }

    /// `etcdctl` with these words.
    pub fn ctl(&self, words: &[&str]) -> Result<String> {
        run(&mut self.etcdctl(words)?)
    }

    /// A long-running `etcdctl` whose output can be read, such as a watch.
    pub fn listen(&self, words: &[&str]) -> Result<Child> {
        Ok(self.etcdctl(words)?.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?)
    }

    fn etcdctl(&self, words: &[&str]) -> Result<Command> {
        self.etcdctl_of(&self.urls(), words)
    }

    fn etcdctl_of(&self, urls: &str, words: &[&str]) -> Result<Command> {
        let mut etcdctl = self.node().command("/usr/bin/env")?;
        etcdctl.args(["etcdctl", "--endpoints", urls]).args(&*self.control.borrow()).args(words).env("ETCDCTL_API", "3");
        Ok(etcdctl)
    }

    /// Writes a key without a term.
    pub fn put(&self, key: &str, value: &str) -> Result<()> {
        self.ctl(&["put", "--", key, value]).map(drop)
    }

    /// Writes a key on a new etcd lease of so many seconds, as flannel writes its leases.
    pub fn put_for(&self, seconds: u32, key: &str, value: &str) -> Result<()> {
        let granted = self.ctl(&["lease", "grant", &seconds.to_string()])?;
        let lease = granted.split_whitespace().nth(1).context("etcdctl names no lease")?;
        self.ctl(&["put", &format!("--lease={lease}"), "--", key, value]).map(drop)
    }

    /// Writes the network config, as an operator of flannel does.
    pub fn config(&self, config: &str) -> Result<()> {
        self.put(&format!("{PREFIX}/config"), config)
    }

    /// What a flannel node writes for itself, with this backend.
    pub fn flannel_joins(&self, backend: &str, subnet: &str, public: &str) -> Result<()> {
        let data = match backend {
            "udp" => String::new(),
            "vxlan" => {
                let host = public.rsplit('.').next().context("no address")?.parse::<u8>()?;
                format!(r#","BackendType":"vxlan","BackendData":{{"VNI":1,"VtepMAC":"02:00:00:00:00:{host:02x}"}}"#)
            }
            other => format!(r#","BackendType":"{other}""#),
        };
        self.put_for(86_400, &place(subnet), &format!(r#"{{"PublicIP":"{public}","PublicIPv6":null{data}}}"#))
    }

    /// The value of a key; an error when it is not there.
    pub fn value(&self, key: &str) -> Result<String> {
        let told = self.ctl(&["get", "-w", "json", key])?;
        let found: Value = serde_json::from_str(&told)?;
        let value = found["kvs"][0]["value"].as_str().with_context(|| format!("there is no key {key}"))?;
        String::from_utf8(STANDARD.decode(value)?).context("the value is no text")
    }

    /// The keys that begin so.
    pub fn keys(&self, prefix: &str) -> Result<Vec<String>> {
        Ok(self.ctl(&["get", "--prefix", "--keys-only", prefix])?.split_whitespace().map(str::to_owned).collect())
    }

    /// The seconds that a key's etcd lease was granted for; none for a key without one.
    pub fn term(&self, key: &str) -> Result<Option<u64>> {
        let found: Value = serde_json::from_str(&self.ctl(&["get", "-w", "json", key])?)?;
        match found["kvs"][0]["lease"].as_i64() {
            None | Some(0) => Ok(None),
            Some(_) => self.seconds(key, "TTL(").map(|seconds| Some(seconds.into())),
        }
    }

    /// The whole seconds that are left of a key's etcd lease.
    pub fn left(&self, key: &str) -> Result<u32> {
        self.seconds(key, "remaining(")
    }

    /// What `etcdctl lease timetolive` tells behind a word.
    fn seconds(&self, key: &str, word: &str) -> Result<u32> {
        let mut lease = self.lease_of(key)?;
        let told = loop {
            let told = self.ctl(&["lease", "timetolive", &lease])?;
            if !told.contains("already expired") {
                break told;
            }
            // Renewed between the two questions, by another etcd lease.
            let now = self.lease_of(key)?;
            ensure!(std::mem::replace(&mut lease, now.clone()) != now, "{key} still has an etcd lease that ended: {told}");
        };
        let seconds = told.split(word).nth(1).and_then(|rest| rest.split('s').next());
        Ok(seconds.with_context(|| told.clone())?.parse()?)
    }

    /// The etcd lease of a key, as etcdctl names it.
    pub fn lease_of(&self, key: &str) -> Result<String> {
        let found: Value = serde_json::from_str(&self.ctl(&["get", "-w", "json", key])?)?;
        Ok(format!("{:x}", found["kvs"][0]["lease"].as_i64().with_context(|| format!("{key} has no etcd lease"))?))
    }

    /// The store's revision.
    pub fn revision(&self) -> Result<u64> {
        let answer: Value = serde_json::from_str(&self.ctl(&["get", "/", "-w", "json"])?)?;
        answer["header"]["revision"].as_u64().context("no revision")
    }

    /// Posts a question to the JSON gateway of the first server and waits for the answer: quicker than starting etcdctl. Without TLS only.
    pub fn post(&self, path: &str, body: &str) -> Result<Value> {
        let address = SocketAddr::new(self.node().address().into(), PORT);
        let mut stream = self.node().net().inside(|| Ok(TcpStream::connect_timeout(&address, PATIENCE)?))?;
        stream.set_nodelay(true)?;
        let head = format!("POST {path} HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all(format!("{head}{body}").as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        ensure!(answer.starts_with("HTTP/1.0 200"), "etcd answered {answer}");
        let (_, body) = answer.split_once("\r\n\r\n").context("no body")?;
        Ok(serde_json::from_str(body)?)
    }
}

impl Member {
    /// Its machine.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Its address for clients.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Starts it, if it does not run.
    pub fn go_on(&self) -> Result<()> {
        let mut process = self.process.borrow_mut();
        if process.is_none() {
            let mut etcd = self.node.command("/usr/bin/env")?;
            etcd.arg("etcd").args(&self.words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            *process = Some(etcd.spawn().context("cannot start etcd")?);
        }
        Ok(())
    }

    /// Kills it, if it runs.
    pub fn stop(&self) -> Result<()> {
        if let Some(mut child) = self.process.borrow_mut().take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // Its world ends with it anyway.
        let _ = self.stop();
    }
}

/// The key of a subnet such as 10.50.1.0/24, or of a pair with `&` between.
pub fn place(subnet: &str) -> String {
    format!("{PREFIX}/subnets/{}", subnet.replace('/', "-"))
}

/// Text as the JSON gateway takes it.
pub fn encode(text: &str) -> String {
    STANDARD.encode(text)
}
