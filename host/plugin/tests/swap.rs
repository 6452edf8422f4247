//! Plugins exchanged in the host: a store's watch goes on, going back works, and what does not do in its trial is remembered.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use support::{Home, Text, context, for_tests, lease, status, subnet};
use tokio::sync::mpsc;
use twill_lease::store::{Change, Store};
use twill_model::Prefixes;
use twill_model::status::PluginState;
use twill_plugin::{Grants, Plugins, Refusals, StoreHandle, TryOut};
use twill_reconcile::ports::Planner;

/// Leases that come and go meanwhile.
const LEASES: u8 = 100;

async fn open(plugins: &Plugins, home: &Home, node: &str) -> StoreHandle {
    let grants = Grants { directory: Some(home.path("data")), ..Grants::default() };
    plugins.open_store("file", "{}", node, grants).await.expect("the store opens")
}

/// What the watch told: a subnet that came, or went.
type Told = (Prefixes, bool);

async fn watch(store: StoreHandle, told: mpsc::UnboundedSender<Told>) {
    let mut cursor = store.read().await.expect("read").cursor;
    loop {
        let changes = store.watch(cursor, 20_000).await.expect("the watch goes on from its cursor");
        for change in changes.changes {
            let one = match change {
                Change::Put(lease) => (lease.subnets, true),
                Change::Gone(subnets) => (subnets, false),
                other => panic!("{other:?}"),
            };
            if told.send(one).is_err() {
                return;
            }
        }
        cursor = changes.cursor;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_watch_goes_on_over_swaps_and_tells_each_change_once() {
    let (Some(older), Some(newer)) = (for_tests("hostile-store-older.wasm"), for_tests("hostile-store-newer.wasm")) else { return };
    let home = Home::new();
    home.put("store.wasm", &older);
    let (plugins, writing) = (home.open().await, home.open().await);
    let (store, writer) = (open(&plugins, &home, "a").await, open(&writing, &home, "b").await);
    let (tell, mut told) = mpsc::unbounded_channel();
    let watching = tokio::spawn(watch(store, tell));

    let (stop, swaps) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let swapping = tokio::spawn({
        let (plugins, stop, swaps, place) = (plugins.clone(), stop.clone(), swaps.clone(), home.path("plugins/store.wasm"));
        async move {
            while !stop.load(Ordering::Relaxed) {
                for (bytes, version) in [(&newer, "8.1.0"), (&older, "8.0.0")] {
                    std::fs::write(&place, bytes).expect("written");
                    plugins.reload(Some("store-file"), false).await.expect("looked");
                    let now = status(&plugins, "store-file");
                    assert_eq!((now.version.as_str(), now.state), (version, PluginState::Active), "{:?}", now.error);
                    swaps.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    });

    for number in 1..=LEASES {
        let held = writer.claim(vec![subnet(number)], lease(number)).await.expect("claimed");
        let next = tokio::time::timeout(Duration::from_secs(20), told.recv()).await.expect("the change is told");
        assert_eq!(next, Some((subnet(number), true)), "after {} swaps", swaps.load(Ordering::Relaxed));
        writer.release(held).await.expect("released");
        let next = tokio::time::timeout(Duration::from_secs(20), told.recv()).await.expect("the change is told");
        assert_eq!(next, Some((subnet(number), false)), "after {} swaps", swaps.load(Ordering::Relaxed));
    }
    stop.store(true, Ordering::Relaxed);
    swapping.await.expect("all swaps went well");
    // One more change, and nothing else before it: none was doubled.
    writer.claim(vec![subnet(200)], lease(200)).await.expect("claimed");
    assert_eq!(told.recv().await, Some((subnet(200), true)));
    assert!(told.try_recv().is_err(), "a change was told twice");
    println!("{} changes over {} swaps", 2 * u32::from(LEASES) + 1, swaps.load(Ordering::Relaxed));
    assert!(swaps.load(Ordering::Relaxed) >= 4, "there was hardly a swap");
    watching.abort();
}

/// A backend of that version whose plan for this node has that MTU.
fn version(version: &'static str, mtu: u32) -> Vec<u8> {
    let local = format!("(i32.store (i32.const 65548) (i32.const {mtu})) (i32.const 65536)");
    Text { version, local: local.leak(), ..Text::default() }.component()
}

async fn mtu(plugins: &Plugins) -> u32 {
    plugins.planner(Refusals::default()).local("test", context()).await.expect("a plan").pod_mtu
}

#[tokio::test(flavor = "multi_thread")]
async fn going_back_stands_over_a_restart_and_ends_with_something_newer() {
    let home = Home::new();
    home.put("x.wasm", &version("1.0.0", 1001));
    let plugins = home.open().await;
    let none = plugins.go_back("backend-test").await.expect_err("there is nothing before");
    assert_eq!(none.to_string(), "cannot go back to the backend-test before: there is no version before");
    home.put("x.wasm", &version("2.0.0", 2000));
    plugins.rescan().await.expect("looked");
    assert_eq!(mtu(&plugins).await, 2000);
    plugins.go_back("backend-test").await.expect("gone back");
    assert_eq!(mtu(&plugins).await, 1001);
    plugins.rescan().await.expect("looked");
    assert_eq!(mtu(&plugins).await, 1001, "it stays");

    let restarted = home.open().await;
    assert_eq!(mtu(&restarted).await, 1001, "it stays over a restart");
    home.put("x.wasm", &version("2.0.1", 2001));
    restarted.rescan().await.expect("looked");
    assert_eq!(mtu(&restarted).await, 2001, "something newer takes over");
    restarted.go_back("backend-test").await.expect("gone back");
    restarted.go_on("backend-test").await.expect("gone on");
    assert_eq!(mtu(&restarted).await, 2001);
}

/// A judge that speaks against one MTU.
fn against(bad: u32) -> TryOut {
    Arc::new(move |_, candidate, _| {
        Box::pin(async move {
            let base = candidate.local("test", context()).await.map_err(|error| error.to_string())?;
            if base.pod_mtu == bad { Err(format!("an MTU of {bad} is bad")) } else { Ok("good".into()) }
        })
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_its_trial_is_not_used_until_it_may_try_again_also_over_a_restart() {
    let home = Home::new();
    home.put("x.wasm", &version("1.0.0", 1001));
    let plugins = home.open().await;
    plugins.try_out_with(against(666));
    home.put("x.wasm", &version("2.0.0", 666));
    plugins.rescan().await.expect("looked");
    assert_eq!(mtu(&plugins).await, 1001);
    let refused = plugins.status().into_iter().find(|one| one.version == "2.0.0").expect("it is listed");
    assert_eq!(refused.state, PluginState::Refused);
    assert_eq!(refused.error.as_deref(), Some("an MTU of 666 is bad; `twill plugin reload backend-test` tries it again"));

    let restarted = home.open().await;
    assert_eq!(mtu(&restarted).await, 1001, "a restart is no consent");
    restarted.try_out_with(against(0));
    restarted.reload(Some("backend-test"), false).await.expect("looked");
    assert_eq!(mtu(&restarted).await, 666, "it may try again");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_needs_goes_with_its_file() {
    let home = Home::new();
    home.put("x.wasm", &version("1.0.0", 1001));
    let plugins = home.open().await;
    plugins.need(["test".to_owned()].into()).await.expect("told");
    std::fs::remove_file(home.path("plugins/x.wasm")).expect("removed");
    plugins.rescan().await.expect("looked");
    assert_eq!(mtu(&plugins).await, 1001);
    let note = status(&plugins, "backend-test").error;
    assert_eq!(note.as_deref(), Some("its file is gone; it stays in use until nothing needs it"));
    plugins.need([].into()).await.expect("told");
    assert!(plugins.status().is_empty(), "{:?}", plugins.status());
    assert!(plugins.planner(Refusals::default()).digest("test").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_is_one_plugins_whatever_takes_over_meanwhile() {
    let home = Home::new();
    home.put("x.wasm", &version("1.0.0", 1001));
    let plugins = home.open().await;
    let live = plugins.planner(Refusals::default());
    let fixed = live.as_of_now();
    home.put("x.wasm", &version("2.0.0", 2000));
    plugins.rescan().await.expect("looked");
    let answer = async |planner: &twill_plugin::Backends| planner.local("test", context()).await.expect("a plan").pod_mtu;
    assert_eq!((answer(&live).await, answer(&fixed).await), (2000, 1001));
    assert_ne!(live.digest("test"), fixed.digest("test"));
}
