//! What a daemon's plugins cost while nothing happens: a watch is under way, and next to no processor time goes.

mod support;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use support::{Home, real};
use twill_lease::store::Store;
use twill_plugin::Grants;

/// Processor time of this process in microseconds.
fn cpu_us() -> i64 {
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("usage");
    usage.user_time().num_microseconds() + usage.system_time().num_microseconds()
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_costs_next_to_nothing() {
    let (Some(store), Some(backend)) = (real("store-file.wasm"), real("backend-udp.wasm")) else { return };
    let home = Home::new();
    home.put("store-file.wasm", &store);
    home.put("backend-udp.wasm", &backend);
    let plugins = home.open().await;
    let store =
        plugins.open_store("file", "{}", "a", Grants { directory: Some(home.path("data")), ..Grants::default() }).await.expect("it opens");
    let cursor = store.read().await.expect("read").cursor;
    // The first of the window is for the ticker to fall asleep.
    store.watch(cursor.clone(), 1_000).await.expect("nothing");
    let before = cpu_us();
    let changes = store.watch(cursor, 5_000).await.expect("nothing");
    let used = cpu_us() - before;
    println!("5 s of watching cost {used} us of processor time");
    assert!(changes.changes.is_empty());
    assert!(used < 5_000, "{used} us in 5 s is more than 0.1 %");
}
