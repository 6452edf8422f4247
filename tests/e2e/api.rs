//! The API of a running daemon: who is let in over the network, what outlives a restart, how a node is drained, what systemd is told, and that the OpenAPI document
//! tells the truth.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use lab::harness::{Need, Test};
use lab::process::{outcome, said};
use lab::{Lab, Launch, Node, artifacts, wait_until};
use serde_json::Value;

use crate::story::{NETWORK, SOON, cluster, flowing, goes_on};

/// The tests of this subject.
pub const TESTS: &[Test] = &[
    Test::new("api: it is not opened to the network without a token", shut),
    Test::new("api: over the network everything takes the token, and no answer tells it", token),
    Test::new("api: events outlive a killed daemon, and the next one says how the last one ended", history),
    Test::new("api: events are followed as they happen, with cause and act", follow),
    Test::new("api: a drained node loses no packet on the way out and leaves nothing behind", drain),
    Test::new("api: a pass can be asked for", reconcile),
    Test::new("api: systemd is told when the node is ready", systemd),
    Test::new("api: 200 clients that follow the stream cost no packet", followers),
    Test::new("api: schemathesis finds every answer as the OpenAPI document has it", schemathesis).needs(&[SCHEMATHESIS]),
];

const SCHEMATHESIS: Need = Need::Built("tools/schemathesis/bin/schemathesis", "tests/setup.sh lab installs it");
/// What schemathesis checks of each answer, and what of answers to somebody with the token.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance,negative_data_rejection";
/// See [`CHECKS`].
const CHECKS_WITH_TOKEN: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance,negative_data_rejection,unsupported_method";
const TOKEN: &str = "0123456789abcdef0123456789abcdef0123456789abcdef";

fn shut() -> Result<()> {
    let lab = Lab::new("shut")?;
    lab.network(NETWORK)?;
    let a = lab.node("a")?;
    let open = a.dir("lib").join("open-token");
    std::fs::write(&open, TOKEN)?;
    std::fs::set_permissions(&open, PermissionsExt::from_mode(0o644))?;
    let cases: [(&[&str], &[&str]); 3] = [
        (&["--listen", "0.0.0.0:4646"], &["0.0.0.0:4646", "--api-token-file"]),
        (&["--listen", "0.0.0.0:4646", "--api-token-file", "/var/lib/open-token"], &["/var/lib/open-token", "chmod 600"]),
        (&["--api-token-file", "/var/lib/none"], &["/var/lib/none"]),
    ];
    for (flags, words) in cases {
        let mut command = a.command("timeout")?;
        command.args(["20"]).arg(artifacts::twill()).args(["run", "--store", "file", "--store-dir"]).arg(a.store()).args(flags);
        let output = outcome(&mut command)?;
        let told = said(&output);
        ensure!(output.status.code() == Some(64), "{flags:?}: {}: {told}", output.status);
        ensure!(words.iter().all(|word| told.contains(word)) && !told.contains(TOKEN), "{flags:?}: {told}");
    }
    Ok(())
}

/// A request from `from` over the network: status and body.
fn ask(from: &Node, to: Ipv4Addr, request: &str) -> Result<(u16, String)> {
    let answer = from.net().inside(|| {
        let mut stream = TcpStream::connect((to, 4646))?;
        stream.set_read_timeout(Some(SOON))?;
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    })?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
    Ok((head.split(' ').nth(1).context("no status")?.parse()?, body.to_owned()))
}

fn token() -> Result<()> {
    let lab = Lab::new("token")?;
    lab.network(NETWORK)?;
    let [a, b] = [lab.node("a")?, lab.node("b")?];
    let file = a.dir("lib").join("token");
    std::fs::write(&file, TOKEN)?;
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600))?;
    a.start(Launch::now().flags(&["--listen", "0.0.0.0:4646", "--api-token-file", "/var/lib/token"]))?;
    a.ready(SOON)?;
    let request = |method: &str, path: &str, more: &str| {
        format!("{method} {path} HTTP/1.1\r\nHost: {}:4646\r\nContent-Length: 0\r\nConnection: close\r\n{more}\r\n", a.address())
    };
    let status = |method: &str, path: &str, more: &str| Ok::<_, anyhow::Error>(ask(&b, a.address(), &request(method, path, more))?.0);
    let right = format!("Authorization: Bearer {TOKEN}\r\n");
    for (method, path) in [
        ("GET", "/api/v1/node"),
        ("GET", "/"),
        ("GET", "/metrics"),
        ("POST", "/api/v1/reconcile"),
        ("POST", "/api/v1/drain"),
        ("POST", "/api/v1/release"),
    ] {
        ensure!(status(method, path, "")? == 401, "{method} {path} without a token");
        ensure!(status(method, path, "Authorization: Bearer wrong\r\n")? == 401, "{method} {path} with a wrong token");
        ensure!(
            status(method, path, &format!("{right}Origin: http://evil.example\r\n"))? == 403,
            "{method} {path} from a page of another site"
        );
    }
    ensure!(status("GET", "/readyz", "")? == 200, "probes need no token");
    ensure!(status("GET", "/api/v1/node", &right)? == 200 && status("POST", "/api/v1/reconcile", &right)? == 200, "with the token");
    let rebound = format!("GET /api/v1/node HTTP/1.1\r\nHost: rebound.example:4646\r\nConnection: close\r\n{right}\r\n");
    ensure!(ask(&b, a.address(), &rebound)?.0 == 421, "by a name that is not this server's");
    for path in ["/api/v1/snapshot", "/api/v1/events?limit=1000", "/metrics", "/api/v1/openapi.json"] {
        let (code, body) = ask(&b, a.address(), &request("GET", path, &right))?;
        ensure!(code == 200 && !body.contains(TOKEN), "{path}: {code}");
    }
    ensure!(!a.log()?.contains(TOKEN), "the log tells the token");
    Ok(())
}

/// All kept events of a node.
fn events(node: &Node) -> Result<Vec<Value>> {
    let listed: Value = serde_json::from_str(&node.twill(&["events", "--limit", "1000", "--json"])?)?;
    Ok(listed.as_array().context("no list")?.clone())
}

fn history() -> Result<()> {
    let (_lab, [a, _b], _pods) = cluster(["a", "b"])?;
    a.ip(&format!("route delete {NETWORK} dev flannel0"))?;
    let repair = |events: &[Value]| events.iter().find(|event| event["kind"] == "repair").cloned();
    wait_until("word of the repair", SOON, || repair(&events(&a)?).context("no repair was told"))?;
    let before = events(&a)?;
    let told = repair(&before).context("no repair was told")?;
    for field in ["item", "cause", "act"] {
        ensure!(told[field].as_str().is_some_and(|text| !text.is_empty()), "{field} is missing in {told}");
    }
    ensure!(told["took_ms"].as_u64().is_some_and(|took| took < 5_000), "{told}");
    a.kill()?;
    a.start(Launch::now())?;
    a.ready(SOON)?;
    let after = events(&a)?;
    ensure!(after[..before.len()] == before[..], "the events of before are not what they were:\n{before:?}\n{after:?}");
    ensure!(after.windows(2).all(|two| two[0]["id"].as_u64() < two[1]["id"].as_u64()), "ids do not count up: {after:?}");
    let start = &after[before.len()];
    ensure!(start["kind"] == "daemon" && start["cause"].as_str().is_some_and(|cause| cause.contains("broken off")), "{start}");
    a.stop()?;
    a.start(Launch::now())?;
    a.ready(SOON)?;
    let last: Vec<Value> = events(&a)?.into_iter().filter(|event| event["kind"] == "daemon").collect();
    let [.., end, start] = &last[..] else { anyhow::bail!("{last:?}") };
    ensure!(end["act"] == "ended" && start["act"] == "started" && start["cause"].is_null(), "{end}\n{start}");
    Ok(())
}

fn follow() -> Result<()> {
    let (_lab, [a, _b], _pods) = cluster(["a", "b"])?;
    let mut following = a.command(artifacts::twill())?;
    let mut following = following.args(["events", "--follow", "--json", "--limit", "1"]).stdout(Stdio::piped()).spawn()?;
    let mut lines = BufReader::new(following.stdout.take().context("no output")?).lines();
    lines.next().context("not even the last event")??;
    a.ip("link set flannel0 mtu 1300")?;
    let repaired = loop {
        let event: Value = serde_json::from_str(&lines.next().context("the stream ended")??)?;
        if event["kind"] == "repair" {
            break event;
        }
    };
    ensure!(repaired["item"].as_str().is_some_and(|item| item.contains("flannel0")), "{repaired}");
    a.stop()?;
    ensure!(!following.wait()?.success(), "a stream that ends with the daemon is no success");
    Ok(())
}

fn drain() -> Result<()> {
    let (lab, [a, b], [p, q]) = cluster(["a", "b"])?;
    let (subnet, stream) = (a.subnet()?, flowing(&q, &p)?);
    let told = a.twill(&["drain", "--for", "4s"])?;
    ensure!(told.contains(&subnet) && told.contains("4 s"), "{told}");
    ensure!(lab.leases_in_store()? == 1, "the lease is still in the store");
    b.wait_for_no_lease(&subnet, SOON)?;
    ensure!(a.get("/readyz")?.0 == 503 && a.twill(&["status"])?.contains("drained"), "a node that is being drained is not ready");
    let report = stream.stop()?;
    let last = report.last.unwrap_or_default();
    ensure!(last > 100 && report.lost.iter().all(|lost| *lost > last), "packets were lost before the peer stopped sending: {report}");
    let status = a.wait_for_end(SOON)?;
    ensure!(status.success() && !a.has_link("flannel0"), "{status}: {}", a.ip("link")?);
    ensure!(!a.dir("run").join("flannel/subnet.env").exists(), "subnet.env is still there");
    Ok(())
}

fn reconcile() -> Result<()> {
    let (_lab, [a], _pods) = cluster(["a"])?;
    let before = a.api("snapshot")?["work"]["passes"].as_u64().context("no passes")?;
    let told = a.twill(&["reconcile"])?;
    ensure!(told.contains("nothing differs"), "{told}");
    ensure!(a.api("snapshot")?["work"]["passes"].as_u64() > Some(before), "no pass was made");
    Ok(())
}

fn systemd() -> Result<()> {
    let lab = Lab::new("systemd")?;
    lab.network(NETWORK)?;
    let a = lab.node("a")?;
    let socket = UnixDatagram::bind(a.dir("lib").join("notify"))?;
    socket.set_read_timeout(Some(SOON))?;
    let mut daemon = a.command(artifacts::twill())?;
    daemon.args(["run", "--store", "file", "--store-dir"]).arg(a.store()).env("NOTIFY_SOCKET", "/var/lib/notify").stderr(Stdio::null());
    let mut daemon = daemon.spawn()?;
    let mut told = Vec::new();
    while !told.iter().any(|text: &String| text.contains("READY=1")) {
        let mut text = [0; 1_024];
        let length = socket.recv(&mut text).with_context(|| format!("systemd was told only {told:?}"))?;
        told.push(String::from_utf8_lossy(&text[..length]).into_owned());
    }
    ensure!(a.get("/readyz")?.0 == 200, "READY was told before it was true");
    daemon.kill()?;
    daemon.wait()?;
    Ok(())
}

fn followers() -> Result<()> {
    let (_lab, [a, _b], [p, q]) = cluster(["a", "b"])?;
    let stream = flowing(&p, &q)?;
    let mut clients = Vec::new();
    for _ in 0..200 {
        let mut client = UnixStream::connect(a.socket())?;
        client.set_read_timeout(Some(SOON))?;
        client.write_all(b"GET /api/v1/stream HTTP/1.1\r\nHost: twill\r\n\r\n")?;
        clients.push(BufReader::new(client).lines());
    }
    // Each has its snapshot, and then, since packets flow and are counted, changes.
    for client in &mut clients {
        for wanted in ["event: snapshot", "event: change"] {
            loop {
                let line = client.next().context("the stream ended")??;
                if line == wanted {
                    break;
                }
            }
        }
    }
    goes_on(&stream)?;
    stream.stop()?.nothing_lost()
}

fn schemathesis() -> Result<()> {
    // A virtual environment knows itself by the path that it was made at.
    let tool = artifacts::outside().join("tools/schemathesis/bin/schemathesis");
    let lab = Lab::new("schemathesis")?;
    lab.network(NETWORK)?;
    let [a, b] = [lab.node("a")?, lab.node("b")?];
    let file = a.dir("lib").join("token");
    std::fs::write(&file, TOKEN)?;
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600))?;
    a.start(Launch::now().flags(&["--api-token-file", "/var/lib/token"]))?;
    b.start(Launch::now())?;
    [&a, &b].iter().try_for_each(|node| node.ready(SOON))?;
    lab.wait_for_routes(&[&a, &b], SOON)?;
    let authorization = format!("Authorization: Bearer {TOKEN}");
    // Streams have no end, and a released node has no API any more: those changes are tried without the token only.
    let ends = "stream$|release$|drain$";
    // Whoever has no token is not told which methods there are: that is checked with it.
    let runs: [(&str, &[&str]); 2] =
        [(CHECKS, &["--exclude-path-regex", "stream$"]), (CHECKS_WITH_TOKEN, &["--exclude-path-regex", ends, "--header", &authorization])];
    for (checks, more) in runs {
        let mut command: Command = a.net().command(&tool.to_string_lossy())?;
        command.env("HOME", a.dir("lib")).env("NO_COLOR", "1").current_dir(a.dir("lib"));
        command.args([
            "run",
            "http://127.0.0.1:4646/api/v1/openapi.json",
            "--phases",
            "examples,coverage,fuzzing",
            "--max-examples",
            "15",
            "--seed",
            "1",
        ]);
        command.args(["--checks", checks]);
        let output = outcome(command.args(more))?;
        ensure!(output.status.success(), "{more:?}: {}\n{}", output.status, said(&output));
    }
    ensure!(a.get("/readyz")?.0 == 200 && !a.log()?.contains("panicked"), "{}", a.log()?);
    Ok(())
}
