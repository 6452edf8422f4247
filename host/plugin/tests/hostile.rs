//! Plugins that trap, loop, grow, flood or lie: each is contained and named, and nobody else notices.

mod support;

use std::time::{Duration, Instant};

use support::{Home, Text, component, context, lease, status};
use twill_model::status::PluginState;
use twill_plugin::{Backends, Grants, LimitTable, PluginSettings, Plugins, Refusals};
use twill_reconcile::ports::{PlanError, Planner};

/// Loads one backend.
async fn loaded(text: Text) -> (Home, Plugins, Backends) {
    let home = Home::new();
    home.put("backend-test.wasm", &text.component());
    let plugins = home.open().await;
    let planner = plugins.planner(Refusals::default());
    (home, plugins, planner)
}

/// Asks for what traps, loops or floods; the cause, and how long it took.
async fn failure(planner: &Backends) -> (String, Duration) {
    let started = Instant::now();
    match planner.local("test", context()).await {
        Err(PlanError::Plugin(cause)) => (cause, started.elapsed()),
        other => panic!("{other:?}"),
    }
}

/// After a failure the same backend answers another question, from a fresh instance.
async fn answers_again(plugins: &Plugins, planner: &Backends) {
    assert_eq!(planner.receive_from("test", context(), lease(2)).await, Ok(vec![]));
    let status = status(plugins, "backend-test");
    assert_eq!((status.failures, status.restarts, status.state), (1, 1, PluginState::Active));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trap_costs_one_call() {
    let (_home, plugins, planner) = loaded(Text { local: "unreachable", ..Text::default() }).await;
    let (cause, _) = failure(&planner).await;
    assert_eq!(cause, "backend-test failed: it panicked or gave up (trap: unreachable code reached)");
    answers_again(&plugins, &planner).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_loop_is_ended() {
    let (_home, plugins, planner) = loaded(Text { local: "(loop (br 0)) unreachable", ..Text::default() }).await;
    let (cause, took) = failure(&planner).await;
    assert!(cause.contains("without a pause, as if in an endless loop"), "{cause}");
    assert!(took < Duration::from_millis(500), "{took:?}");
    answers_again(&plugins, &planner).await;
}

#[tokio::test]
async fn an_endless_loop_does_not_hold_up_a_single_thread() {
    let (_home, _plugins, planner) = loaded(Text { local: "(loop (br 0)) unreachable", ..Text::default() }).await;
    let spinning = tokio::spawn(async move { failure(&planner).await });
    let mut waits = 0;
    while !spinning.is_finished() {
        tokio::time::sleep(Duration::from_millis(1)).await;
        waits += 1;
    }
    assert!(waits >= 5, "others had the word {waits} times");
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_without_end_is_refused() {
    let grow = "(loop (br_if 0 (i32.ge_s (memory.grow (i32.const 16)) (i32.const 0)))) unreachable";
    let (_home, plugins, planner) = loaded(Text { local: grow, ..Text::default() }).await;
    let (cause, _) = failure(&planner).await;
    assert_eq!(cause, "backend-test failed: it wanted more than 128 MiB of memory");
    answers_again(&plugins, &planner).await;
    assert!(status(&plugins, "backend-test").memory <= 128 << 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_without_end_is_refused() {
    let grow = "(loop (br_if 0 (i32.ge_s (table.grow (ref.null func) (i32.const 9999)) (i32.const 0)))) unreachable";
    let (_home, plugins, planner) = loaded(Text { local: grow, ..Text::default() }).await;
    let (cause, _) = failure(&planner).await;
    assert_eq!(cause, "backend-test failed: it wanted a table of more than 100000 elements");
    answers_again(&plugins, &planner).await;
}

/// The same under other limits than the defaults.
async fn loaded_within(text: Text, limits: &[&str]) -> (Home, Plugins, Backends) {
    let home = Home::new();
    home.put("backend-test.wasm", &text.component());
    let limits = LimitTable::parse(limits.iter().copied()).expect("limits");
    let plugins = Plugins::open(PluginSettings { limits, ..home.settings() }).await.expect("the plugins open");
    let planner = plugins.planner(Refusals::default());
    (home, plugins, planner)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_too_large_is_not_taken() {
    // More bytes than are allowed, and fewer items.
    let (_home, plugins, planner) =
        loaded_within(Text { local: zeros("100000").leak(), ..Text::default() }, &["output-mib=1", "items=200000"]).await;
    let (cause, _) = failure(&planner).await;
    assert_eq!(cause, "backend-test failed: it handed over more than 1 MiB at once");
    answers_again(&plugins, &planner).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_too_many_modules_is_refused() {
    let (_home, plugins, planner) = loaded_within(Text::default(), &["instances=1"]).await;
    assert!(planner.local("test", context()).await.is_err());
    let refused = status(&plugins, "backend-test");
    assert_eq!(refused.state, PluginState::Refused);
    let error = refused.error.unwrap_or_default();
    assert!(error.contains("it is made of more than 1 instances of core modules"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_flood_ends_the_call() {
    let flood = "(loop (call $log (i32.const 0) (i32.const 256) (i32.const 4)) (br 0)) unreachable";
    let (_home, plugins, planner) = loaded(Text { local: flood, ..Text::default() }).await;
    let (cause, took) = failure(&planner).await;
    assert_eq!(cause, "backend-test failed: it logged more than 1000 lines in one call");
    assert!(took < Duration::from_millis(500), "{took:?}");
    answers_again(&plugins, &planner).await;
}

/// A `local` that answers with so many items of zeros: links without handle and name. The result's tag lies at 131072, list and mtu
/// behind it.
fn zeros(items: &str) -> String {
    format!(
        "(i32.store (i32.const 131076) (i32.const 196608)) (i32.store (i32.const 131080) (i32.const {items}))
         (i32.store (i32.const 131084) (i32.const 1400)) (i32.const 131072)"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_items_are_refused_whole() {
    let (_home, _plugins, planner) = loaded(Text { local: zeros("100000").leak(), ..Text::default() }).await;
    let (cause, _) = failure(&planner).await;
    assert_eq!(cause, "backend-test planned 100000 items in one answer, more than 4096: all are refused");
    assert_eq!(planner.receive_from("test", context(), lease(2)).await, Ok(vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_but_nonsense_for_a_peer_is_no_answer() {
    let (_home, _plugins, planner) = loaded(Text { receive: zeros("1").leak(), ..Text::default() }).await;
    let answer = planner.receive_from("test", context(), lease(2)).await;
    let Err(PlanError::Plugin(cause)) = answer else { panic!("{answer:?}") };
    assert!(cause.starts_with(&format!("backend-test planned nonsense for {}: link  (): handle", lease(2).subnets)), "{cause}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_for_this_node_is_no_plan_at_all() {
    let (_home, _plugins, planner) = loaded(Text { local: zeros("1").leak(), ..Text::default() }).await;
    let (cause, _) = failure(&planner).await;
    assert!(cause.starts_with("backend-test planned nonsense for this node: link  (): handle"), "{cause}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_outside_its_memory_is_a_failure() {
    let (_home, plugins, planner) = loaded(Text { local: "(i32.const -4)", ..Text::default() }).await;
    failure(&planner).await;
    answers_again(&plugins, &planner).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_only_fails_rests_and_says_so() {
    let (_home, plugins, planner) = loaded(Text { local: "unreachable", ..Text::default() }).await;
    for _ in 0..4 {
        assert!(failure(&planner).await.0.starts_with("backend-test failed: "));
    }
    let answer = planner.local("test", context()).await;
    let Err(PlanError::Resting(cause)) = answer else { panic!("{answer:?}") };
    assert!(cause.starts_with("backend-test failed 4 times in a row and is tried again in "), "{cause}");
    assert_eq!(status(&plugins, "backend-test").state, PluginState::Backoff);
    let recovered = async {
        while planner.receive_from("test", context(), lease(2)).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), recovered).await.expect("it is tried again");
    assert_eq!(status(&plugins, "backend-test").state, PluginState::Active);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neighbours_do_not_notice() {
    let home = Home::new();
    home.put("spin.wasm", &Text { name: "spin", local: "(loop (br 0)) unreachable", ..Text::default() }.component());
    home.put("good.wasm", &Text { name: "good", ..Text::default() }.component());
    let plugins = home.open().await;
    let planner = plugins.planner(Refusals::default());
    planner.receive_from("good", context(), lease(2)).await.expect("warm");
    let spinning = tokio::spawn({
        let planner = planner.clone();
        async move { planner.local("spin", context()).await }
    });
    let (mut asked, mut worst) = (0, Duration::ZERO);
    while !spinning.is_finished() {
        let started = Instant::now();
        planner.receive_from("good", context(), lease(2)).await.expect("it answers");
        (asked, worst) = (asked + 1, worst.max(started.elapsed()));
    }
    println!("{asked} calls beside a spinning neighbour, the worst took {worst:?}");
    assert!(asked > 10 && worst < Duration::from_millis(150), "{asked} calls, worst {worst:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_do_not_fit_are_refused_with_the_reason() {
    let home = Home::new();
    let good = Text::default().component();
    home.put("good.wasm", &good);
    home.put("half.wasm", &good[..good.len() / 2]);
    home.put("empty.wasm", b"");
    home.put("text.wasm", b"not a plugin at all");
    home.put("core.wasm", &wat::parse_str("(module)").expect("parses"));
    home.put("nothing.wasm", &wat::parse_str("(component)").expect("parses"));
    home.put("shouting.wasm", &Text { name: "LOUD", ..Text::default() }.component());
    home.put("unversioned.wasm", &Text { name: "unversioned", version: "soon", ..Text::default() }.component());
    home.put("needy.wasm", &mute(true));
    home.put("notes.txt", b"not looked at");
    let plugins = home.open().await;
    assert_eq!(status(&plugins, "backend-test").error, None);
    for (file, reason) in [
        ("half", "it cannot be compiled, perhaps it was cut off"),
        ("empty", "it is not WebAssembly, or only the beginning of a file"),
        ("text", "it is not WebAssembly"),
        ("core", "it is a core WebAssembly module and not a component"),
        ("nothing", "it is no twill plugin: it exports neither"),
        ("shouting", r#"its name "LOUD" is not 1 to 32 of a-z 0-9 -"#),
        ("unversioned", r#"its version "soon" is not like 1.2.3"#),
        ("needy", "it imports twill:plugin/clock@0.1.0, which a backend is not given"),
    ] {
        let status = status(&plugins, file);
        assert_eq!(status.state, PluginState::Refused);
        assert!(status.error.as_ref().is_some_and(|error| error.starts_with(reason)), "{file}: {:?}", status.error);
    }
    assert_eq!(plugins.status().len(), 9);
    assert_eq!(plugins.planner(Refusals::default()).receive_from("test", context(), lease(2)).await, Ok(vec![]));
}

/// A backend of which every function traps; with a clock it imports one, and its world allows it.
fn mute(with_clock: bool) -> Vec<u8> {
    let api = "twill:plugin/backend-api@0.1.0";
    let (import, world) = match with_clock {
        true => (r#"(import "twill:plugin/clock@0.1.0" "now" (func (result f64)))"#, "import twill:plugin/clock@0.1.0;"),
        false => ("", ""),
    };
    let functions: String = ["advertise", "local", "send-to", "receive-from"]
        .map(|name| format!(r#"(func (export "{api}#{name}") (param i32) (result i32) unreachable)"#))
        .concat();
    let module = format!(
        r#"(module {import}
          (memory (export "memory") 1)
          (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) unreachable)
          (func (export "{api}#describe") (result i32) unreachable)
          {functions})"#
    );
    component(&module, &format!("package t:t; world w {{ {world} include twill:plugin/backend@0.1.0; }}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_cannot_describe_itself_is_refused() {
    let home = Home::new();
    home.put("mute.wasm", &mute(false));
    home.put("store-file.wasm", b"");
    let plugins = home.open().await;
    let reason = status(&plugins, "mute").error.expect("a reason");
    assert_eq!(reason, "it cannot describe itself: it panicked or gave up (trap: unreachable code reached)");
    let error = plugins.open_store("file", "{}", "a", Grants::default()).await.map(drop).expect_err("there is no store");
    assert!(error.to_string().contains("store-file.wasm was refused: it is not WebAssembly"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_of_one_name_the_higher_version_is_used_then_the_later_folder() {
    let home = Home::new();
    home.put("new.wasm", &Text { version: "1.10.0", ..Text::default() }.component());
    home.put("old.wasm", &Text { version: "1.9.0", ..Text::default() }.component());
    let plugins = home.open().await;
    let used = |plugins: &Plugins| plugins.status().into_iter().find(|one| one.error.is_none()).expect("one is used");
    assert_eq!(used(&plugins).version, "1.10.0");
    let other = Text { version: "1.10.0", receive: "unreachable", ..Text::default() }.component();
    std::fs::write(home.path("more").join("same.wasm"), other).expect("written");
    plugins.rescan().await.expect("scanned");
    assert!(used(&plugins).file.ends_with("more/same.wasm"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_file_is_swapped_in_and_a_broken_one_is_not() {
    let (home, plugins, planner) = loaded(Text { local: "unreachable", ..Text::default() }).await;
    let mut changed = plugins.changed();
    changed.mark_unchanged();
    let before = planner.digest("test");
    failure(&planner).await;

    home.put("backend-test.wasm", b"\0asm");
    plugins.rescan().await.expect("scanned");
    assert_eq!(planner.digest("test"), before, "the loaded one stays");
    assert!(!changed.has_changed().expect("open"));
    assert_eq!(planner.receive_from("test", context(), lease(2)).await, Ok(vec![]));

    home.put(
        "backend-test.wasm",
        &Text { version: "1.0.1", local: "(i32.store (i32.const 65548) (i32.const 1400)) (i32.const 65536)", ..Text::default() }
            .component(),
    );
    plugins.rescan().await.expect("scanned");
    assert!(changed.has_changed().expect("open"));
    assert_ne!(planner.digest("test"), before);
    assert_eq!(planner.local("test", context()).await.expect("the new one answers").pod_mtu, 1400);
    changed.mark_unchanged();
    plugins.rescan().await.expect("scanned");
    assert!(!changed.has_changed().expect("open"), "nothing changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_folder_there_is_nothing_and_it_says_where_it_looked() {
    let home = Home::new();
    let settings = PluginSettings { folders: vec![home.path("missing")], ..home.settings() };
    let plugins = Plugins::open(settings).await.expect("a missing folder is skipped");
    let error = plugins.open_store("file", "{}", "a", Grants::default()).await.map(drop).expect_err("there is no store");
    assert!(error.to_string().starts_with(r#"no store plugin "file" is loaded; there is none in /"#), "{error}");
    let planner = plugins.planner(Refusals::default());
    assert_eq!(planner.local("udp", context()).await.map(drop), Err(PlanError::Absent("udp".into())));
}
