//! Who may speak to etcd: TLS with client certificates, users with passwords, and what is said when one of them is wrong. No secret is ever told.

use anyhow::{Result, ensure};
use lab::authority::Authority;
use lab::etcd::{Access, Etcd, NEEDS, PREFIX, Plan};
use lab::harness::Test;
use lab::{Lab, Launch, Node, Stream, artifacts, wait_until};

use crate::story::{SOON, flowing};

/// The tests of this subject.
pub const TESTS: &[Test] = &[
    Test::new("etcd access: by client certificate, and whatever is wrong is said in one sentence and tried again", certificates)
        .needs(NEEDS),
    Test::new("etcd access: by user and password whose role ends at the prefix, and no secret is told", users).needs(NEEDS),
    Test::new("etcd access: a client certificate and a user together", both).needs(NEEDS),
    Test::new("etcd access: a password that is changed while all run costs no packet, and the new file is used", rotation).needs(NEEDS),
    Test::new("etcd access: a server without its JSON gateway says which switch is off", no_gateway).needs(NEEDS),
];

const CONFIG: &str = r#"{"Network":"10.50.0.0/16","Backend":{"Type":"vxlan"}}"#;
const USER: &str = "overlay";
const PASSWORD: &str = "correct-horse-battery";

fn certificates() -> Result<()> {
    let lab = Lab::new("certificates")?;
    let (ours, theirs) = (Authority::new("ours")?, Authority::new("theirs")?);
    let etcd = Etcd::start(&lab, Plan::plain().tls(&ours).flag("--client-cert-auth"))?;
    etcd.config(CONFIG)?;
    let [a, b] = etcd.cluster(&lab, ["a", "b"])?;
    let (p, q) = (a.pod("p")?, b.pod("p")?);
    p.reaches(&q, SOON)?;
    let good = ours.client("node", "")?;
    let stranger = theirs.client("stranger", "")?;
    let wrong = [
        (Access::default().certificate(&theirs, &good), "its certificate is not signed by a trusted CA"),
        (Access::default().certificate(&ours, &stranger), "it does not accept our client certificate"),
        (Access::default().trusting(&ours), "it wants a client certificate, and none is configured"),
    ];
    let stream = flowing(&p, &q)?;
    for (access, sentence) in wrong {
        restarted_with(&b, &etcd, &access)?;
        complains(&b, sentence)?;
    }
    // Files are read anew for each connection: put right, they are used without a restart.
    let file = std::path::Path::new("/mnt/pki/renewed.pem");
    std::fs::copy(theirs.roots(), file)?;
    let renewed = [
        format!("--etcd-cafile={}", file.display()),
        format!("--etcd-certfile={}", good.certificate.display()),
        format!("--etcd-keyfile={}", good.key.display()),
    ];
    restarted_with(&b, &etcd, &Access::default().with(&renewed))?;
    complains(&b, "its certificate is not signed by a trusted CA")?;
    std::fs::copy(ours.roots(), file)?;
    recovers(&b)?;
    stream.stop()?.nothing_lost()
}

fn users() -> Result<()> {
    let lab = Lab::new("users")?;
    let authority = Authority::new("ours")?;
    let etcd = Etcd::start(&lab, Plan::plain().tls(&authority))?;
    etcd.config(CONFIG)?;
    etcd.wants_users(USER, PASSWORD)?;
    // The role ends where the prefix does.
    let elsewhere = etcd.ctl(&[&format!("--user={USER}:{PASSWORD}"), "get", &format!("{PREFIX}-elsewhere/x")]);
    ensure!(elsewhere.is_err_and(|error| error.to_string().contains("permission denied")), "the role reaches further than it should");
    let trusting = Access::default().trusting(&authority).with(&[format!("--etcd-username={USER}")]);
    let file = secret("right", PASSWORD)?;
    let by_file = trusting.clone().with(&[format!("--etcd-password-file={file}")]);
    let nodes = [lab.node("a")?, lab.node("b")?, lab.node("c")?];
    nodes[0].start(Launch::now().on(&etcd.flags_for(&by_file)))?;
    nodes[1].start(Launch::now().on(&etcd.flags_for(&trusting)).variable("TWILL_ETCD_PASSWORD", PASSWORD))?;
    // flannel's way: the password is an argument.
    let flannels = Launch::flanneld(&artifacts::flanneld()?)
        .on(&etcd.flags_for(&trusting)[1..])
        .flags(&[&format!("--etcd-password={PASSWORD}"), "-v=10"]);
    nodes[2].start(flannels)?;
    let stream = talking(&lab, &nodes.each_ref())?;
    let wrong = trusting.clone().with(&[format!("--etcd-password-file={}", secret("wrong", "mistyped-staple")?)]);
    restarted_with(&nodes[1], &etcd, &wrong)?;
    complains(&nodes[1], "etcd does not accept user \"overlay\" with the configured password")?;
    tells_no_secret(&nodes[1], "mistyped-staple")?;
    restarted_with(&nodes[1], &etcd, &Access::default().trusting(&authority))?;
    complains(&nodes[1], "etcd wants a user and a password, and none are configured")?;
    restarted_with(&nodes[1], &etcd, &by_file)?;
    recovers(&nodes[1])?;
    for node in &nodes {
        tells_no_secret(node, PASSWORD)?;
    }
    stream.stop()?.nothing_lost()
}

fn both() -> Result<()> {
    let lab = Lab::new("both")?;
    let authority = Authority::new("ours")?;
    let etcd = Etcd::start(&lab, Plan::plain().tls(&authority).flag("--client-cert-auth"))?;
    etcd.config(CONFIG)?;
    etcd.wants_users(USER, PASSWORD)?;
    let login = [format!("--etcd-username={USER}"), format!("--etcd-password-file={}", secret("right", PASSWORD)?)];
    let named = Access::default().certificate(&authority, &authority.client("named", "node-a")?).with(&login);
    let nameless = Access::default().certificate(&authority, &authority.client("nameless", "")?).with(&login);
    let a = lab.node("a")?;
    a.start(Launch::now().on(&etcd.flags_for(&named)))?;
    complains(&a, "takes no client certificate that has a common name (CN)")?;
    restarted_with(&a, &etcd, &nameless)?;
    a.ready(SOON)?;
    tells_no_secret(&a, PASSWORD)
}

fn rotation() -> Result<()> {
    let lab = Lab::new("rotation")?;
    let etcd = Etcd::with_config(&lab, CONFIG)?;
    etcd.wants_users(USER, PASSWORD)?;
    let file = secret("rotated", PASSWORD)?;
    let access = Access::default().with(&[format!("--etcd-username={USER}"), format!("--etcd-password-file={file}")]);
    let nodes = [lab.node("a")?, lab.node("b")?];
    for node in &nodes {
        node.start(Launch::now().on(&etcd.flags_for(&access)))?;
    }
    let stream = talking(&lab, &nodes.each_ref())?;
    let fresh = "another-battery";
    std::fs::write(&file, fresh)?;
    etcd.change_password(USER, fresh)?;
    etcd.flannel_joins("vxlan", "10.50.251.0/24", "192.168.50.77")?;
    for node in &nodes {
        node.wait_for_lease("10.50.251.0/24".into(), SOON)?;
        tells_no_secret(node, fresh)?;
    }
    stream.stop()?.nothing_lost()
}

fn no_gateway() -> Result<()> {
    let lab = Lab::new("no gateway")?;
    let etcd = Etcd::start(&lab, Plan::plain().flag("--enable-grpc-gateway=false"))?;
    etcd.config(CONFIG)?;
    let a = lab.node("a")?;
    a.start(etcd.launch())?;
    complains(&a, "etcd's JSON gateway is off: start etcd (3.4 or newer) with --enable-grpc-gateway")?;
    ensure!(a.ended()?.is_none(), "the daemon ended instead of waiting: {}", a.log()?);
    Ok(())
}

/// A stream from the first of these nodes to the second, once all are ready and know each other.
fn talking(lab: &Lab, nodes: &[&Node]) -> Result<Stream> {
    for node in nodes {
        node.ready(SOON)?;
    }
    lab.wait_for_routes(nodes, SOON)?;
    let (p, q) = (nodes[0].pod("p")?, nodes[1].pod("p")?);
    p.reaches(&q, SOON)?;
    flowing(&p, &q)
}

/// The same node with another access, after a kill: it goes on by what it remembers.
fn restarted_with(node: &Node, etcd: &Etcd, access: &Access) -> Result<()> {
    node.kill()?;
    node.start(Launch::now().on(&etcd.flags_for(access)))
}

/// The daemon says once in its log what is wrong, shows it among its problems, and goes on trying.
fn complains(node: &Node, sentence: &str) -> Result<()> {
    wait_until(&format!("{} to say: {sentence}", node.name()), SOON, || {
        let shown = node.api("node")?;
        let problems = shown["problems"].as_array().into_iter().flatten().filter_map(|problem| problem.as_str());
        ensure!(problems.filter(|problem| problem.contains(sentence)).count() == 1, "{shown}");
        ensure!(shown["store"]["reachable"] == false, "{shown}");
        let log = node.log()?;
        ensure!(log.lines().filter(|line| line.contains(sentence)).count() == 1, "{log}");
        Ok(())
    })?;
    ensure!(node.ended()?.is_none(), "the daemon ended instead of trying again: {}", node.log()?);
    Ok(())
}

/// The store is used again.
fn recovers(node: &Node) -> Result<()> {
    wait_until(&format!("{} to use its store again", node.name()), SOON, || {
        let shown = node.api("node")?;
        ensure!(shown["store"]["reachable"] == true && shown["ready"] == true, "{shown}");
        Ok(())
    })
}

/// Neither the log nor anything that the API shows holds the secret.
fn tells_no_secret(node: &Node, secret: &str) -> Result<()> {
    ensure!(!node.log()?.contains(secret), "the log of {} holds the password", node.name());
    for what in ["node", "leases", "routes", "state", "plugins", "tunnels", "events"] {
        ensure!(!node.api(what)?.to_string().contains(secret), "{what} of {} holds the password", node.name());
    }
    Ok(())
}

/// A file with a password; the name of the file.
fn secret(name: &str, password: &str) -> Result<String> {
    let path = format!("/mnt/{name}.password");
    std::fs::write(&path, format!("{password}\n"))?;
    Ok(path)
}
