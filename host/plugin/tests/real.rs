//! The plugins that twill comes with, run for real through the host.

mod support;

use std::time::{Duration, Instant};

use support::{Home, context, lease, network, node, real, status, subnet, way};
use twill_lease::store::{Change, Store, StoreError};
use twill_model::item::{Item, LinkKind};
use twill_model::state::{Hop, Road};
use twill_model::status::PluginState;
use twill_plugin::{Grants, PluginError, Plugins, Refusals, StoreHandle};
use twill_reconcile::ports::Planner;

fn home() -> Option<Home> {
    let (store, backend) = (real("store-file.wasm")?, real("backend-udp.wasm")?);
    let home = Home::new();
    home.put("store-file.wasm", &store);
    home.put("backend-udp.wasm", &backend);
    Some(home)
}

async fn store(plugins: &Plugins, home: &Home, node: &str) -> StoreHandle {
    let grants = Grants { directory: Some(home.path("data")), ..Grants::default() };
    plugins.open_store("file", "{}", node, grants).await.expect("the store opens")
}

#[tokio::test(flavor = "multi_thread")]
async fn cached_plugins_open_fast() {
    let Some(home) = home() else { return };
    home.open().await;
    let started = Instant::now();
    let plugins = home.open().await;
    let took = started.elapsed();
    println!("two cached plugins open in {took:?}");
    assert!(took < Duration::from_millis(if cfg!(debug_assertions) { 1000 } else { 100 }), "{took:?}");
    assert_eq!(plugins.stores()[0].name, "file");
    assert!(plugins.stores()[0].directory);
    assert_eq!(status(&plugins, "backend-udp").world.as_deref(), Some("backend"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_without_its_directory_says_which_flag_to_give() {
    let Some(home) = home() else { return };
    let plugins = home.open().await;
    let refused = plugins.open_store("store-file", "{}", "a", Grants::default()).await.map(drop).expect_err("refused");
    assert!(matches!(refused, PluginError::NotGranted { .. }));
    assert_eq!(refused.to_string(), "store-file needs a directory: name one with --store-dir <path>");
    let unknown = plugins.open_store("etcd", "{}", "a", Grants::default()).await.map(drop).expect_err("unknown");
    assert_eq!(unknown.to_string(), r#"no store plugin "etcd" is loaded; there are: file"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_share_a_directory() {
    let Some(home) = home() else { return };
    let (one, two) = (home.open().await, home.open().await);
    let (a, b) = (store(&one, &home, "a").await, store(&two, &home, "b").await);
    a.write_config(r#"{"Network":"10.1.0.0/16"}"#.into(), None).await.expect("written");
    assert!(matches!(b.write_config("{}".into(), None).await, Err(StoreError::Conflict(_))));
    let candidates = vec![subnet(1), subnet(2)];
    let (held_a, held_b) = tokio::join!(a.claim(candidates.clone(), lease(1)), b.claim(candidates, lease(2)));
    let (held_a, held_b) = (held_a.expect("claimed"), held_b.expect("claimed"));
    assert_ne!(held_a.lease.subnets, held_b.lease.subnets);

    let snapshot = b.read().await.expect("read");
    assert_eq!(snapshot.config.as_deref(), Some(r#"{"Network":"10.1.0.0/16"}"#));
    assert_eq!(snapshot.leases.len(), 2);
    let renewed = a.publish(held_a.clone()).await.expect("published");
    assert!(matches!(a.publish(held_a).await, Err(StoreError::Conflict(_))), "a stale token was honoured");
    a.release(renewed).await.expect("released");
    assert_eq!(b.read().await.expect("read").leases.len(), 1);
    assert_eq!(status(&one, "store-file").state, PluginState::Active);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_wakes_and_never_holds_up_a_call() {
    let Some(home) = home() else { return };
    let plugins = home.open().await;
    let (a, b) = (store(&plugins, &home, "a").await, store(&plugins, &home, "b").await);
    let cursor = b.read().await.expect("read").cursor;
    let mut woke = Vec::new();
    let mut cursor = cursor;
    for number in 1..=10 {
        let watching = tokio::spawn({
            let (b, cursor) = (b.clone(), cursor.clone());
            async move { (b.watch(cursor, 20_000).await, Instant::now()) }
        });
        // The watch is under way once it is the one call that has not ended.
        b.read().await.expect("a call passes the watch");
        let wrote = Instant::now();
        a.claim(vec![subnet(number)], lease(number)).await.expect("claimed");
        let (changes, when) = watching.await.expect("it ends");
        let changes = changes.expect("changes");
        assert!(matches!(&changes.changes[..], [Change::Put(lease)] if lease.subnets == subnet(number)), "{:?}", changes.changes);
        woke.push(when.duration_since(wrote));
        cursor = changes.cursor;
    }
    println!("a claim reached a watcher after {woke:?}");
    assert!(woke.iter().all(|took| *took < Duration::from_millis(100)), "{woke:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_watch_makes_room_for_the_next() {
    let Some(home) = home() else { return };
    let plugins = home.open().await;
    let store = store(&plugins, &home, "a").await;
    let cursor = store.read().await.expect("read").cursor;
    let dropped = tokio::time::timeout(Duration::from_millis(50), store.watch(cursor.clone(), 60_000)).await;
    assert!(dropped.is_err(), "nothing changed");
    let changes =
        tokio::time::timeout(Duration::from_secs(5), store.watch(cursor, 100)).await.expect("not behind the old watch").expect("an answer");
    assert!(changes.changes.is_empty());
    assert_eq!(status(&plugins, "store-file").failures, 0, "a cancelled call is no failure");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_directory_may_go_and_come_back() {
    let Some(home) = home() else { return };
    let plugins = home.open().await;
    let store = store(&plugins, &home, "a").await;
    store.read().await.expect("read");
    std::fs::rename(home.path("data"), home.path("away")).expect("moved");
    let away = store.read().await.expect_err("there is no directory");
    assert!(matches!(&away, StoreError::Retry(text) if text.contains("does not exist")), "{away:?}");
    std::fs::rename(home.path("away"), home.path("data")).expect("moved back");
    store.read().await.expect("read again");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_udp_backend_plans() {
    let Some(home) = home() else { return };
    let plugins = home.open().await;
    let planner = plugins.planner(Refusals::to(|refused| panic!("{refused:?}")));
    let way_published = planner.advertise("udp", network(), node(), way().options, None, vec![]).await.expect("a way");
    assert_eq!(way_published.backend, "udp");
    let base = planner.local("udp", context()).await.expect("a base");
    assert!(base.items.iter().any(|item| matches!(item, Item::Link(link) if matches!(link.kind, LinkKind::Tunnel { port: 8285, .. }))));
    assert_eq!(base.pod_mtu, 1472);
    let road = Road { v4: Hop::Routed, v6: Hop::Unreachable };
    let first = planner.send_to("udp", context(), lease(7), way(), road).await.expect("items");
    assert!(first.iter().any(|item| matches!(item, Item::Endpoint(endpoint) if endpoint.peer.to_string() == "192.0.2.7")));
    assert_eq!(planner.send_to("udp", context(), lease(7), way(), road).await.expect("items"), first, "the same question, another answer");
    assert!(!planner.receive_from("udp", context(), lease(7)).await.expect("items").is_empty());
    assert!(planner.digest("udp").is_some() && planner.digest("vxlan").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn planning_is_quick() {
    let Some(home) = home() else { return };
    let plugins = home.open().await;
    let planner = plugins.planner(Refusals::default());
    let road = Road { v4: Hop::Routed, v6: Hop::Unreachable };
    planner.send_to("udp", context(), lease(7), way(), road).await.expect("items");
    let started = Instant::now();
    for _ in 0..1000 {
        planner.send_to("udp", context(), lease(7), way(), road).await.expect("items");
    }
    let took = started.elapsed() / 1000;
    println!("send-to takes {took:?}, the guest {} us a call", status(&plugins, "backend-udp").guest_us / 1000);
    assert!(took < Duration::from_millis(2), "{took:?}");
}
