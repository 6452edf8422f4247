//! Real requests over real sockets: each route, the shape of errors, who is let in, the stream, the files, the end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::sample;
use crate::wire::Server;
use serde_json::{json, to_value};
use twill_http::bind_unix;
use twill_model::event::{Told, Weight};
use twill_model::status::Snapshot;

#[tokio::test]
async fn each_part_of_the_snapshot_has_an_address() {
    let server = Server::start(sample::snapshot()).await;
    let whole = to_value(sample::snapshot()).expect("JSON");
    for part in ["node", "network", "leases", "paths", "state", "plugins", "tunnels", "events"] {
        let answer = server.get(&format!("/api/v1/{part}")).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")), "{part}");
        assert_eq!(answer.json(), whole[part], "{part}");
    }
    assert_eq!(server.get("/api/v1/snapshot").await.json(), whole);
}

#[tokio::test]
async fn single_things_are_found_by_name() {
    let server = Server::start(sample::snapshot()).await;
    let lease = server.get("/api/v1/leases/10.123.12.0-24").await;
    assert_eq!((lease.status, &lease.json()["public"]["v4"]), (200, &json!("192.0.2.11")));
    assert_eq!(server.get("/api/v1/leases/fd00:123:7::-64").await.json()["own"], json!(true));
    assert_eq!(server.get("/api/v1/leases/10.123.12.0%2F24").await.status, 200);
    let plugin = server.get("/api/v1/plugins/backend-udp").await;
    assert_eq!((plugin.status, &plugin.json()["calls"]), (200, &json!(48)));
}

#[tokio::test]
async fn a_peer_is_its_lease_its_way_and_its_traffic() {
    let server = Server::start(sample::snapshot()).await;
    let peers = server.get("/api/v1/peers").await.json();
    let peers = peers.as_array().expect("a list");
    assert_eq!(peers.len(), sample::snapshot().leases.len() - 1, "all but this node");
    assert_eq!(peers[0]["endpoint"], json!("192.0.2.11:8285"));
    assert_eq!(peers[0]["traffic"]["sent_packets"], json!(812 * 700));
    assert_eq!((&peers[0]["way"], &peers[0]["heard_ms"]), (&json!("udp"), &json!(sample::NOW_MS - 240)));
    let unreached = peers.iter().find(|peer| peer["way"].is_null()).expect("a peer without a way");
    assert_eq!((&unreached["endpoint"], &unreached["traffic"]), (&json!(null), &json!(null)));
    assert!(unreached["reason"].as_str().is_some_and(|reason| reason.contains("no plugin for vxlan")));
}

#[tokio::test]
async fn events_come_in_pages() {
    let server = Server::start(sample::snapshot()).await;
    let ids = async |query: &str| -> Vec<u64> {
        let page = server.get(&format!("/api/v1/events?{query}")).await.json();
        page.as_array().expect("a list").iter().filter_map(|event| event["id"].as_u64()).collect()
    };
    assert_eq!(ids("limit=2").await, [4, 5]);
    assert_eq!(ids("after=1&limit=2").await, [2, 3]);
    assert_eq!(ids("before=3").await, [1, 2]);
    assert_eq!(ids("after=5").await, [0; 0]);
}

#[tokio::test]
async fn a_client_that_was_cut_off_goes_on_after_the_last_event_it_had() {
    let server = Server::start(sample::snapshot()).await;
    let add = |text: &'static str| server.events.add(|id| Told::from(text).event(id, 1, Weight::Info, "lease"));
    let mut from_now = server.follow_at("/api/v1/events/stream", "").await;
    let mut resumed = server.follow_at("/api/v1/events/stream?after=1", "Last-Event-ID: 3\r\n").await;
    let mut given = server.follow_at("/api/v1/events/stream?after=4", "").await;
    for id in [4, 5] {
        assert_eq!(resumed.next().await.expect("an event").1["id"], json!(id));
    }
    assert_eq!(given.next().await.expect("an event").1["id"], json!(5));
    for text in ["one", "two"] {
        add(text);
    }
    for stream in [&mut from_now, &mut resumed, &mut given] {
        for (id, text) in [(6, "one"), (7, "two")] {
            let (name, event) = stream.next().await.expect("an event");
            assert_eq!((name.as_str(), &event["id"], &event["text"]), ("event", &json!(id), &json!(text)));
        }
    }
}

#[tokio::test]
async fn nonsense_is_answered_by_a_sentence() {
    let server = Server::start(sample::snapshot()).await;
    let long = format!("/api/v1/leases/{}", "a".repeat(4_000));
    let cases = [
        ("/api/v1/events?limit=0", 400, "from 1 to 1000"),
        ("/api/v1/events?limit=1001", 400, "from 1 to 1000"),
        ("/api/v1/events?limit=many", 400, "limit"),
        ("/api/v1/events?after=-1", 400, "after"),
        ("/api/v1/events?colour=red", 400, "colour"),
        ("/api/v1/events?limit=1&limit=2", 400, "limit"),
        ("/api/v1/events/stream?after=x", 400, "after"),
        ("/api/v1/leases/everything", 400, "10.244.7.0-24"),
        ("/api/v1/leases/10.123.12.0-33", 400, "10.244.7.0-24"),
        ("/api/v1/leases/%ff", 400, "UTF-8"),
        (long.as_str(), 400, "10.244.7.0-24"),
        ("/api/v1/leases/10.9.9.0-24", 404, "nobody holds 10.9.9.0/24"),
        ("/api/v1/plugins/backend-carrier-pigeon", 404, "backend-carrier-pigeon"),
        ("/api/v2/node", 404, "/api/v1/openapi.json"),
    ];
    for (path, status, words) in cases {
        let answer = server.get(path).await;
        assert_eq!((answer.status, answer.header("content-type")), (status, Some("application/problem+json")), "{path}: {}", answer.body);
        let detail = answer.json()["detail"].as_str().unwrap_or_default().to_owned();
        assert!(detail.contains(words), "{path}: {detail}");
    }
    let bad_id = "GET /api/v1/events/stream HTTP/1.1\r\nHost: localhost\r\nLast-Event-ID: x\r\nConnection: close\r\n\r\n";
    assert_eq!(server.send(bad_id).await.status, 400);
}

#[tokio::test]
async fn the_document_is_served() {
    let server = Server::start(Snapshot::default()).await;
    let served = server.get("/api/v1/openapi.json").await.json();
    assert_eq!(served, serde_json::from_str::<serde_json::Value>(&twill_http::openapi()).expect("JSON"));
}

#[tokio::test]
async fn routes_are_the_items_of_that_kind() {
    let server = Server::start(sample::snapshot()).await;
    let routes = server.get("/api/v1/routes").await.json();
    let routes = routes.as_array().expect("a list");
    assert_eq!(routes.len(), sample::snapshot().state.iter().filter(|item| item.kind == "route").count());
    assert_eq!(routes[1]["desired"], json!("10.123.12.0/24 dev twill0"));
    assert_eq!(routes[1]["observed"], json!("10.123.12.0/24 via 192.0.2.1 dev eth0"));
    assert_eq!(routes[1]["standing"], json!("missing"));
}

#[tokio::test]
async fn health_is_about_the_process_and_readiness_about_the_node() {
    let mut snapshot = sample::snapshot();
    snapshot.node.ready = false;
    snapshot.node.problems = vec!["There is no lease yet.".into()];
    let server = Server::start(snapshot).await;
    let health = server.get("/healthz").await;
    assert_eq!((health.status, health.body.as_str()), (200, "twill is running\n"));
    let ready = server.get("/readyz").await;
    assert_eq!((ready.status, ready.body.as_str()), (503, "not ready\nThere is no lease yet.\n"));
    server.snapshots.send_modify(|snapshot| {
        let node = &mut Arc::make_mut(snapshot).node;
        (node.ready, node.problems) = (true, vec![]);
    });
    let ready = server.get("/readyz").await;
    assert_eq!((ready.status, ready.body.as_str()), (200, "ready\n"));
}

#[tokio::test]
async fn flannels_health_checks_have_flannels_words_and_tell_nothing_else() {
    let mut snapshot = sample::snapshot();
    snapshot.node.ready = false;
    let server = Server::start(snapshot).await;
    let probe = async |path| {
        let answer = server.probe(path).await;
        (answer.status, answer.body)
    };
    assert_eq!(probe("/healthz").await, (200, "flanneld is running".into()));
    for (ready, wanted) in
        [(false, (503, "flanneld is not ready yet")), (true, (200, "flanneld is ready")), (false, (503, "flanneld is not ready yet"))]
    {
        server.snapshots.send_modify(|snapshot| Arc::make_mut(snapshot).node.ready = ready);
        assert_eq!(probe("/readyz").await, (wanted.0, wanted.1.into()));
    }
    for other in ["/", "/api/v1/node", "/healthz/x"] {
        assert_eq!(probe(other).await, (404, String::new()), "{other}");
    }
}

#[tokio::test]
async fn errors_have_one_shape() {
    let server = Server::start(Snapshot::default()).await;
    let post = |path: &str| format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    let cases = [
        (server.get("/api/v1/nothing").await, 404, "Not Found"),
        (server.get("/api").await, 404, "Not Found"),
        (server.get("/assets/nothing.js").await, 404, "Not Found"),
        (server.send_unix(&post("/api/v1/node")).await, 405, "Method Not Allowed"),
        (server.send(&post("/api/v1/node")).await, 403, "Forbidden"),
        (server.send_unix(&post("/leases")).await, 405, "Method Not Allowed"),
        (server.get("/api/v1/release").await, 405, "Method Not Allowed"),
        (server.send(&post("/api/v1/release")).await, 403, "Forbidden"),
        (server.send(&post("/api/v1/config/accept")).await, 403, "Forbidden"),
        (server.send(&post("/api/v1/plugins/reload")).await, 403, "Forbidden"),
    ];
    for (answer, status, title) in cases {
        assert_eq!((answer.status, answer.header("content-type")), (status, Some("application/problem+json")));
        let problem = answer.json();
        assert_eq!((&problem["status"], &problem["title"]), (&json!(status), &json!(title)));
        assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()));
    }
}

#[tokio::test]
async fn a_wrong_method_is_told_the_right_ones() {
    let server = Server::start(Snapshot::default()).await;
    let answer = server.send_unix("DELETE /api/v1/node HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await;
    assert_eq!((answer.status, answer.header("allow")), (405, Some("GET,HEAD")));
}

#[tokio::test]
async fn foreign_names_are_turned_away_over_tcp_and_not_over_the_socket() {
    let server = Server::start(Snapshot::default()).await;
    let request = |host: &str| format!("GET /api/v1/node HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    for host in ["localhost:1234", "127.0.0.1", "[::1]:80"] {
        assert_eq!(server.send(&request(host)).await.status, 200, "{host}");
    }
    for host in ["rebound.example", "rebound.example:80", "192.0.2.1"] {
        let answer = server.send(&request(host)).await;
        assert_eq!((answer.status, answer.header("content-type")), (421, Some("application/problem+json")), "{host}");
    }
    let absolute = "GET http://rebound.example/api/v1/node HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    assert_eq!(server.send(absolute).await.status, 421);
    let twice = "GET /api/v1/node HTTP/1.1\r\nHost: localhost\r\nHost: rebound.example\r\nConnection: close\r\n\r\n";
    assert_eq!(server.send(twice).await.status, 400);
    assert_eq!(server.send("GET /api/v1/node HTTP/1.0\r\n\r\n").await.status, 400);
    assert_eq!(server.send_unix(&request("twill")).await.status, 200);
}

#[tokio::test]
async fn every_answer_has_the_security_headers() {
    let server = Server::start(Snapshot::default()).await;
    let foreign = "GET / HTTP/1.1\r\nHost: rebound.example\r\nConnection: close\r\n\r\n";
    for answer in [server.get("/").await, server.get("/api/v1/node").await, server.get("/api/x").await, server.send(foreign).await] {
        assert!(answer.header("content-security-policy").is_some_and(|policy| policy.starts_with("default-src 'self';")));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
    assert_eq!(server.get("/api/v1/node").await.header("cache-control"), Some("no-store"));
}

#[tokio::test]
async fn only_the_unix_socket_releases_the_lease() {
    let request = "POST /api/v1/release HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let server = Server::start(Snapshot::default()).await;
    assert_eq!(server.send(request).await.status, 403);
    let released = server.send_unix(request).await;
    assert_eq!((released.status, released.json()), (200, json!({ "done": "10.123.7.0/24 is free again" })));

    let server = Server::with(Snapshot::default(), Err("the store does not answer".into())).await;
    let refused = server.send_unix(request).await;
    assert_eq!((refused.status, &refused.json()["detail"]), (409, &json!("the store does not answer")));
}

#[tokio::test]
async fn plugins_are_ordered_about_through_the_unix_socket() {
    let server = Server::with(Snapshot::default(), Ok("done".into())).await;
    for (path, order) in [
        ("reload", r#"Reload(None)"#),
        ("backend-udp/reload", r#"Reload(Some("backend-udp"))"#),
        ("backend-udp/reload/disrupting", r#"ReloadDisrupting("backend-udp")"#),
        ("backend-udp/rollback", r#"Rollback("backend-udp")"#),
        ("backend-udp/rollback/clear", r#"ClearRollback("backend-udp")"#),
    ] {
        let request = format!("POST /api/v1/plugins/{path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        let answer = server.send_unix(&request).await;
        assert_eq!((answer.status, answer.json()), (200, json!({ "done": format!("done: {order}") })));
    }
}

#[tokio::test]
async fn the_stream_tells_a_change_within_a_second_and_only_what_changed() {
    let server = Server::start(sample::snapshot()).await;
    let mut events = server.follow().await;
    let (name, mut first) = events.next().await.expect("an event");
    assert_eq!(name, "snapshot");
    assert!(first["at_ms"].as_u64().is_some_and(|at| at > 1_700_000_000_000));
    first.as_object_mut().expect("an object").remove("at_ms");
    assert_eq!(first, to_value(sample::snapshot()).expect("JSON"));

    let started = Instant::now();
    server.snapshots.send_modify(|snapshot| Arc::make_mut(snapshot).node.hostname = "renamed".into());
    let (name, change) = events.next().await.expect("an event");
    assert!(started.elapsed() < Duration::from_secs(1));
    assert_eq!((name.as_str(), &change["node"]["hostname"]), ("change", &json!("renamed")));
    assert_eq!(change.as_object().expect("an object").len(), 2, "more than the clock and the node: {change}");
}

#[tokio::test]
async fn quick_changes_arrive_as_few_events_and_the_last_one_is_among_them() {
    let server = Server::start(Snapshot::default()).await;
    let mut events = server.follow().await;
    events.next().await.expect("the snapshot");
    let started = Instant::now();
    for round in 0..200 {
        server.snapshots.send_modify(|snapshot| Arc::make_mut(snapshot).node.hostname = format!("round-{round}"));
        tokio::task::yield_now().await;
    }
    let mut seen = 0;
    loop {
        let (_, change) = events.next().await.expect("an event");
        seen += 1;
        if change["node"]["hostname"] == "round-199" {
            break;
        }
    }
    assert!(seen <= 1 + started.elapsed().as_millis() / 250, "{seen} events in {:?}", started.elapsed());
}

#[tokio::test]
async fn streams_and_servers_end_at_shutdown() {
    let mut server = Server::start(Snapshot::default()).await;
    let mut events = server.follow().await;
    events.next().await.expect("the snapshot");
    server.shutdown.cancel();
    assert!(events.next().await.is_none(), "the stream went on");
    for serving in server.serving.drain(..) {
        serving.await.expect("no panic").expect("no error");
    }
}

#[tokio::test]
async fn pages_are_sent_once_and_then_confirmed_by_their_tag() {
    let server = Server::start(Snapshot::default()).await;
    let first = server.get("/leases").await;
    assert_eq!((first.status, first.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let tag = first.header("etag").expect("a tag");
    let again = format!("GET / HTTP/1.1\r\nHost: localhost\r\nIf-None-Match: {tag}\r\nConnection: close\r\n\r\n");
    let again = server.send(&again).await;
    assert_eq!((again.status, again.body.as_str(), again.header("etag")), (304, "", Some(tag)));
    let other = "GET / HTTP/1.1\r\nHost: localhost\r\nIf-None-Match: \"x\"\r\nConnection: close\r\n\r\n";
    assert_eq!(server.send(other).await.status, 200);
}

#[tokio::test]
async fn a_sockets_name_is_taken_only_from_the_dead() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("api.sock");
    let listener = bind_unix(&path).expect("a new socket");
    assert_eq!(std::fs::metadata(&path).expect("a socket").permissions().mode() & 0o777, 0o660);
    assert!(bind_unix(&path).expect_err("in use").to_string().contains("another twill answers there"));
    drop(listener);
    let listener = bind_unix(&path).expect("a stale socket is replaced");
    tokio::net::UnixStream::connect(&path).await.expect("it is open");
    drop(listener);
    std::fs::remove_file(&path).expect("removed");
    std::fs::write(&path, "a file").expect("written");
    assert!(bind_unix(&path).expect_err("a file").to_string().contains("not a socket"));
    assert_eq!(std::fs::read_to_string(&path).expect("still there"), "a file");
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 1, "something was left behind");
}
