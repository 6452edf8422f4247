//! Many nodes, few subnets.

use super::*;
use std::collections::BTreeSet;
use std::time::Duration;

const TIGHT: &str = r#"{"Network": "10.3.0.0/16", "SubnetMin": "10.3.1.0", "SubnetMax": "10.3.24.0"}"#;

async fn round(moment: u64) {
    let store = Memory::with_config(TIGHT);
    let names: Vec<String> = (0..24).map(|i| format!("node-{moment}-{i}")).collect();
    let states: Vec<_> = names.iter().map(|_| tempdir().expect("a directory")).collect();
    let start = |i: usize| Start { address: "192.0.2.1", ..Start::new(&names[i], &states[i]) }.run(&store);
    let mut nodes: Vec<_> = (0..24).map(|i| Some(start(i))).collect();
    tokio::time::sleep(Duration::from_millis(moment)).await;
    for i in (0..24).step_by(3) {
        nodes[i].take().expect("running").kill().await;
        nodes[i] = Some(start(i));
    }
    let mut found = BTreeSet::new();
    for node in nodes.iter().flatten() {
        found.insert(node.own().await);
    }
    assert_eq!(found.len(), 24, "round {moment}");
    assert_eq!(store.leases().len(), 24, "none is lost, round {moment}");
    let state = tempdir().expect("a directory");
    let late = Start::new("late", &state).run(&store);
    let cluster = late.until(|cluster| !cluster.problems.is_empty()).await;
    assert!(cluster.problems[0].contains("10.3.0.0/16 is full") && cluster.own.is_none(), "{:?}", cluster.problems);
    let given_up = *found.first().expect("24 of them");
    store.delete(&[given_up]);
    let owner = nodes.iter().flatten().find(|node| node.now().own.as_ref().is_some_and(|own| own.subnets == given_up)).expect("its owner");
    owner.shutdown.cancel();
}

#[tokio::test(start_paused = true)]
async fn twenty_four_nodes_take_twenty_four_subnets_though_a_third_dies_amid_the_claim() {
    for moment in 0..8 {
        round(moment).await;
    }
}

#[tokio::test(start_paused = true)]
async fn who_found_the_network_full_takes_what_becomes_free() {
    const FOUR: &str = r#"{"Network": "10.3.0.0/28", "SubnetMin": "10.3.0.4", "SubnetMax": "10.3.0.4"}"#;
    let (store, state) = (Memory::with_config(FOUR), tempdir().expect("a directory"));
    store.put(lease("b", "10.3.0.4/30", "192.0.2.2"));
    let node = Start::new("a", &state).run(&store);
    node.until(|cluster| cluster.problems.iter().any(|problem| problem.contains("full"))).await;
    assert!(!node.may_send());
    pass(100).await;
    assert_eq!(node.said().iter().filter(|(_, text)| text.contains("full")).count(), 1, "said once");
    store.delete(&[net("10.3.0.4/30")]);
    assert_eq!(node.own().await, net("10.3.0.4/30"));
    assert!(node.now().problems.is_empty());
}
