//! Which config is in force.

use super::*;
use crate::keeper::Fatal;

#[tokio::test(start_paused = true)]
async fn a_missing_config_is_waited_for_with_words_on_how_to_write_one() {
    let (store, state) = (Memory::default(), tempdir().expect("a directory"));
    let node = Start::new("a", &state).run(&store);
    let cluster = node.until(|cluster| cluster.complete).await;
    assert!(cluster.problems[0].contains(r#"twill config set '{"Network":"10.244.0.0/16"}'"#), "{:?}", cluster.problems);
    pass(100).await;
    store.set_config(CONFIG);
    node.own().await;
    assert!(node.now().problems.is_empty());
}

#[tokio::test(start_paused = true)]
async fn without_a_good_one_ever_a_bad_config_is_fatal() {
    let (store, state) = (Memory::with_config(r#"{"Network": "10.3.0.0/30"}"#), tempdir().expect("a directory"));
    let node = Start::new("a", &state).run(&store);
    let Fatal::Config(error) = node.task.await.expect("no panic").expect_err("fatal");
    assert!(error.to_string().contains("Network"));
}

#[tokio::test(start_paused = true)]
async fn a_bad_first_config_is_waited_out_where_that_is_wished_for() {
    let (store, state) = (Memory::with_config(r#"{"Network": "10.3.0.0/30"}"#), tempdir().expect("a directory"));
    let node = Start { wait_for_config: true, ..Start::new("a", &state) }.run(&store);
    let cluster = node.until(|cluster| !cluster.problems.is_empty()).await;
    assert!(cluster.problems[0].contains("a better one is waited for") && cluster.own.is_none(), "{:?}", cluster.problems);
    store.set_config(CONFIG);
    node.own().await;
    assert!(node.now().problems.is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_last_good_config_outlives_a_bad_one_and_none() {
    let (store, state) = (Memory::with_config(CONFIG), tempdir().expect("a directory"));
    let node = Start::new("a", &state).run(&store);
    let own = node.own().await;
    store.set_config("{ nonsense");
    let cluster = node.until(|cluster| !cluster.problems.is_empty()).await;
    assert_eq!(cluster.config_text.as_deref(), Some(CONFIG));
    assert_eq!(node.own().await, own);
    store.set_config(CONFIG);
    node.until(|cluster| cluster.problems.is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn another_backend_is_published_on_the_same_subnet() {
    let (store, state) = (Memory::with_config(CONFIG), tempdir().expect("a directory"));
    let node = Start::new("a", &state).run(&store);
    let own = node.own().await;
    store.set_config(r#"{"Network": "10.3.0.0/16", "Backend": {"Type": "vxlan"}}"#);
    let cluster = node.until(|cluster| cluster.own.as_ref().is_some_and(|own| own.ways[0].backend == "vxlan")).await;
    assert_eq!(cluster.own.as_ref().map(|lease| lease.subnets), Some(own));
    assert_eq!(store.leases()[0].ways[0].backend, "vxlan");
}

#[tokio::test(start_paused = true)]
async fn another_network_waits_until_it_is_accepted() {
    const OTHER: &str = r#"{"Network": "10.9.0.0/16"}"#;
    let (store, state) = (Memory::with_config(CONFIG), tempdir().expect("a directory"));
    let node = Start::new("a", &state).run(&store);
    let own = node.own().await;
    node.handle.accept_config().await.expect_err("nothing waits");
    store.set_config(OTHER);
    let cluster = node.until(|cluster| cluster.config_waiting.is_some()).await;
    assert!(cluster.config_text.as_deref() == Some(CONFIG) && cluster.problems[0].contains("overlay network"));
    pass(100).await;
    node.kill().await;
    let node = Start::new("a", &state).run(&store);
    assert_eq!(node.own().await, own, "a restart accepts nothing");
    node.handle.accept_config().await.expect("accepted");
    let cluster = node.until(|cluster| cluster.own.as_ref().is_some_and(|own| own.subnets.overlaps(&net("10.9.0.0/16")))).await;
    assert_eq!(cluster.config_text.as_deref(), Some(OTHER));
    node.until(|_| store.leases().len() == 1).await;
}

/// The same network, with a link that cannot be had without interrupting traffic.
const DISRUPTIVE: &str = r#"{"Network": "10.3.0.0/16", "Backend": {"Type": "udp", "Port": 9000}}"#;

#[tokio::test(start_paused = true)]
async fn a_config_that_interrupts_traffic_waits_for_consent() {
    let (store, state) = (Memory::with_config(CONFIG), tempdir().expect("a directory"));
    let node = Start::new("a", &state).run(&store);
    node.own().await;
    store.set_config(DISRUPTIVE);
    let cluster = node.until(|cluster| cluster.config_waiting.is_some()).await;
    let said = &cluster.problems[0];
    assert!(
        ["--allow-disruption or a restart", "the link is made anew", "`twill config accept`"].iter().all(|part| said.contains(part)),
        "{said}"
    );
    let published = store.leases();
    pass(100).await;
    assert_eq!((node.now().config_text.as_deref(), store.leases()), (Some(CONFIG), published), "what is published stays too");
    node.handle.accept_config().await.expect("accepted");
    node.until(|cluster| cluster.config_text.as_deref() == Some(DISRUPTIVE) && cluster.problems.is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn a_restart_or_the_setting_is_consent() {
    let (store, state, other) = (Memory::with_config(CONFIG), tempdir().expect("a directory"), tempdir().expect("a directory"));
    let (node, willing) = (
        Start::new("a", &state).run(&store),
        Start { allow_disruption: true, address: "192.0.2.2", ..Start::new("b", &other) }.run(&store),
    );
    let own = node.own().await;
    willing.own().await;
    store.set_config(DISRUPTIVE);
    willing.until(|cluster| cluster.config_text.as_deref() == Some(DISRUPTIVE)).await;
    node.until(|cluster| cluster.config_waiting.is_some()).await;
    node.kill().await;
    let node = Start::new("a", &state).run(&store);
    let cluster = node.until(|cluster| cluster.config_text.as_deref() == Some(DISRUPTIVE)).await;
    assert_eq!((cluster.config_waiting.as_ref(), node.own().await), (None, own));
}

#[tokio::test(start_paused = true)]
async fn a_config_that_the_own_lease_does_not_fit_waits() {
    let (store, state) = (Memory::with_config(CONFIG), tempdir().expect("a directory"));
    let node = Start::new("a", &state).run(&store);
    node.own().await;
    store.set_config(r#"{"Network": "10.3.0.0/16", "SubnetLen": 26}"#);
    let cluster = node.until(|cluster| cluster.config_waiting.is_some()).await;
    assert!(cluster.problems[0].contains("does not fit"), "{:?}", cluster.problems);
}

#[tokio::test(start_paused = true)]
async fn a_config_half_written_while_the_node_waits_for_one_ends_nothing() {
    let (store, state) = (Memory::default(), tempdir().expect("a directory"));
    let node = Start::new("a", &state).run(&store);
    node.until(|cluster| cluster.complete).await;
    store.set_config(r#"{"Network": "10.3"#);
    let cluster = node.until(|cluster| cluster.problems.iter().any(|problem| problem.contains("not usable"))).await;
    assert!(cluster.problems[0].contains("a better one is waited for"), "{:?}", cluster.problems);
    pass(100).await;
    assert!(!node.task.is_finished(), "reading it again is no start");
    store.set_config(CONFIG);
    node.own().await;
    assert!(node.now().problems.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_cannot_be_used_is_not_put_in_force() {
    let (store, state) = (Memory::with_config(CONFIG), tempdir().expect("a directory"));
    let node = Start { lacks: Some("vxlna"), ..Start::new("a", &state) }.run(&store);
    let own = node.own().await;
    let wrong = r#"{"Network": "10.3.0.0/16", "Backend": {"Type": "vxlna"}}"#;
    store.set_config(wrong);
    let cluster = node.until(|cluster| !cluster.problems.is_empty()).await;
    assert_eq!(cluster.config_text.as_deref(), Some(CONFIG));
    let sentence = "backend \"vxlna\" cannot be used: there is no such plugin; the last good config stays in force";
    assert_eq!(cluster.problems, [sentence]);
    pass(300).await;
    assert_eq!(node.said().iter().filter(|(_, text)| text == sentence).count(), 1, "{:?}", node.said());
    assert!(node.may_send() && node.own().await == own);
    node.install();
    let cluster = node.until(|cluster| cluster.config_text.as_deref() == Some(wrong)).await;
    assert!(cluster.problems.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_first_config_with_such_a_backend_is_a_problem_that_waits() {
    let (store, state) = (Memory::with_config(CONFIG), tempdir().expect("a directory"));
    let node = Start { lacks: Some("udp"), ..Start::new("a", &state) }.run(&store);
    let cluster = node.until(|cluster| !cluster.problems.is_empty()).await;
    assert!(cluster.problems[0].contains("no such plugin") && cluster.own.is_none(), "{:?}", cluster.problems);
    node.install();
    node.own().await;
}

#[tokio::test(start_paused = true)]
async fn another_network_with_such_a_backend_cannot_be_accepted() {
    let (store, state) = (Memory::with_config(CONFIG), tempdir().expect("a directory"));
    let node = Start { lacks: Some("vxlna"), ..Start::new("a", &state) }.run(&store);
    node.own().await;
    store.set_config(r#"{"Network": "10.9.0.0/16", "Backend": {"Type": "vxlna"}}"#);
    node.until(|cluster| cluster.config_waiting.is_some()).await;
    let refusal = node.handle.accept_config().await.expect_err("it would drop the network").to_string();
    assert!(refusal.contains("backend \"vxlna\" cannot be used"), "{refusal}");
    assert!(node.now().config_waiting.is_some() && node.now().config_text.as_deref() == Some(CONFIG));
}
