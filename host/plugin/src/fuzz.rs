//! Fuzzing: whatever bytes lie in a folder, and whatever records a plugin returns, the host goes on and nothing gets past the policy.

use std::sync::Arc;

use proptest::prelude::*;
use twill_model::node::{Node, Underlay};
use twill_model::state::{Observed, Origin};
use twill_model::{Addresses, Lease, Lifetime, NodeId, Prefixes};
use twill_reconcile::links::Names;
use twill_reconcile::union::unite;
use twill_reconcile::{Inputs, SourceCheck};

use crate::convert;
use crate::folder;
use crate::grants::Surroundings;
use crate::host::Host;
use crate::limit_table::LimitTable;
use crate::signature::Keys;
use crate::wit::{backend_api as api, types};

/// Text that is nearly right more often than chance would have it.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("10.1.2.0/24".to_owned()),
        Just("192.0.2.2".to_owned()),
        Just("fd00::/64".to_owned()),
        Just("0.0.0.0/0".to_owned()),
        Just("tun".to_owned()),
        Just("flannel%d".to_owned()),
        Just("02:00:00:00:00:01".to_owned()),
        "[0-9./:a-f%]{0,20}",
        any::<String>(),
    ]
}

fn number() -> impl Strategy<Value = u32> {
    prop_oneof![Just(0), Just(u32::MAX), 0..70_000u32, any::<u32>()]
}

fn addresses() -> impl Strategy<Value = types::Addresses> {
    (proptest::option::of(text()), proptest::option::of(text())).prop_map(|(v4, v6)| types::Addresses { v4, v6 })
}

fn kind() -> impl Strategy<Value = api::LinkKind> {
    let vxlan = (number(), any::<u16>(), text(), any::<bool>(), any::<bool>())
        .prop_map(|(vni, port, local, learning, gbp)| api::LinkKind::Vxlan(api::Vxlan { vni, port, local, learning, gbp }));
    let tunnel = (any::<u16>(), addresses()).prop_map(|(port, local)| api::LinkKind::Tunnel(api::Tunnel { port, local }));
    let wireguard = (any::<u16>(), text()).prop_map(|(port, key)| api::LinkKind::Wireguard(api::Wireguard { port, key }));
    prop_oneof![vxlan, tunnel, wireguard, text().prop_map(api::LinkKind::Ipip)]
}

fn device() -> impl Strategy<Value = api::Device> {
    prop_oneof![text().prop_map(api::Device::Link), Just(api::Device::Underlay)]
}

fn route() -> impl Strategy<Value = api::Item> {
    (text(), proptest::option::of(text()), device(), any::<bool>(), any::<bool>(), proptest::option::of(number()))
        .prop_map(|(to, via, on, onlink, scope_global, mtu)| api::Item::Route(api::Route { to, via, on, onlink, scope_global, mtu }))
}

fn item() -> impl Strategy<Value = api::Item> {
    let link = (text(), text(), kind(), number(), proptest::option::of(text()))
        .prop_map(|(handle, name, kind, mtu, mac)| api::Item::Link(api::Link { handle, name, kind, mtu, mac }));
    let assignment = (text(), text()).prop_map(|(on, address)| api::Item::Assignment(api::Assignment { on, address }));
    let neighbour = (text(), text(), text()).prop_map(|(on, address, mac)| api::Item::Neighbour(api::Neighbour { on, address, mac }));
    let fdb = (text(), text(), text()).prop_map(|(on, mac, to)| api::Item::Fdb(api::FdbEntry { on, mac, to }));
    let endpoint =
        (text(), text(), text(), any::<u16>()).prop_map(|(on, to, peer, port)| api::Item::Endpoint(api::Endpoint { on, to, peer, port }));
    let sender = (text(), text(), proptest::collection::vec(text(), 0..4))
        .prop_map(|(on, peer, inner)| api::Item::Sender(api::Sender { on, peer, inner }));
    let wireguard = (text(), text(), proptest::option::of((text(), any::<u16>())), proptest::collection::vec(text(), 0..4)).prop_map(
        |(on, key, endpoint, inner)| {
            let (keepalive, preshared_name) = (0, None);
            api::Item::WireguardPeer(api::WireguardPeer { on, key, endpoint, inner, keepalive, preshared_name })
        },
    );
    prop_oneof![link, assignment, route(), neighbour, fdb, endpoint, sender, wireguard]
}

fn lease(number: u8) -> Lease {
    Lease {
        subnets: Prefixes { v4: format!("10.1.{number}.0/24").parse().ok(), v6: None },
        public: Addresses { v4: format!("192.0.2.{number}").parse().ok(), v6: None },
        ways: Vec::new(),
        node: Some(NodeId(format!("node-{number}"))),
        life: Lifetime::Seconds(60),
    }
}

fn inputs() -> Inputs {
    let underlay = Underlay { name: "eth0".into(), index: 2, mtu: 1500, addresses: vec!["192.0.2.1/24".parse().expect("an address")] };
    Inputs {
        networks: Prefixes { v4: "10.1.0.0/16".parse().ok(), v6: None },
        backend: "udp".into(),
        node: Node { id: NodeId("node-1".into()), underlay, public: lease(1).public, seed: String::new() },
        mine: lease(1),
        peers: vec![lease(2).into()],
        complete: true,
        firewall: None,
        proofs: Default::default(),
    }
}

fn stored_lease() -> impl Strategy<Value = types::Lease> {
    let way = (text(), text(), proptest::option::of(text()), proptest::option::of(text()))
        .prop_map(|(backend, options, data_v4, data_v6)| types::Way { backend, options, data_v4, data_v6 });
    let life = prop_oneof![Just(types::Lifetime::Reserved), Just(types::Lifetime::Unknown), number().prop_map(types::Lifetime::Seconds)];
    (addresses(), addresses(), proptest::collection::vec(way, 0..3), proptest::option::of(text()), life).prop_map(
        |(subnets, public, ways, node, life)| {
            let subnets = types::Prefixes { v4: subnets.v4, v6: subnets.v6 };
            types::Lease { subnets, public, ways, node, life }
        },
    )
}

proptest! {
    /// Convert, policy, union: no panic, and what is left is inside the network and never a default route.
    #[test]
    fn no_answer_of_a_backend_gets_past_the_policy(local in proptest::collection::vec(item(), 0..12), peer in proptest::collection::vec(item(), 0..12)) {
        let inputs = inputs();
        let (local, _) = convert::items(local);
        let (peer, _) = convert::items(peer);
        let of = |lease: Option<Prefixes>| Origin { backend: "udp".into(), lease };
        let planned = local.into_iter().map(|item| (of(None), item)).chain(peer.into_iter().map(|item| (of(Some(lease(2).subnets)), item)));
        let united = unite(planned.collect(), Some("udp"), &inputs, SourceCheck::Lease, &Observed::default(), &mut Names::default());
        for (item, _) in united.desired.items.values() {
            if let twill_model::item::Item::Route(route) = item {
                prop_assert!(route.to.prefix_len() > 0 && inputs.networks.cover(route.to), "{item}");
            }
        }
    }

    #[test]
    fn no_lease_of_a_store_is_too_odd(leases in proptest::collection::vec(stored_lease(), 0..6)) {
        use crate::wit::store_api::{Change, Changes, Held, Snapshot};
        let changes = leases.iter().cloned().map(Change::Put).collect();
        convert::changes(Changes { changes, cursor: String::new() });
        for lease in &leases {
            // Good or bad, it is an answer.
            let _ = convert::held(Held { lease: lease.clone(), token: String::new() });
        }
        let read = convert::snapshot(Snapshot { config: None, oddities: Vec::new(), cursor: String::new(), identity: String::new(), leases: leases.clone() });
        prop_assert_eq!(read.leases.len() + read.oddities.len(), leases.len());
    }
}

/// Loads bytes as a plugin file; what matters is that there is an answer.
fn load(runtime: &tokio::runtime::Runtime, host: &Arc<Host>, folder: &std::path::Path, bytes: &[u8]) -> bool {
    let path = folder.join("x.wasm");
    std::fs::write(&path, bytes).expect("written");
    runtime.block_on(folder::load_one(host.clone(), path, Keys::default(), Vec::new())).plugin.is_ok()
}

/// A whole plugin, where the build has left one.
fn seed() -> Vec<u8> {
    let built = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/plugins/backend-host-gw.wasm");
    std::fs::read(built).unwrap_or_else(|_| b"\0asm\x0d\0\x01\0".to_vec())
}

#[test]
fn no_file_is_too_odd_for_the_loader() {
    let home = tempfile::tempdir().expect("a folder");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let _inside = runtime.enter();
    let host = Arc::new(Host::new(&home.path().join("cache"), LimitTable::default(), Surroundings::default()).expect("a host"));
    let good = seed();
    let mutation = (any::<proptest::sample::Index>(), any::<u8>());
    let mutated = proptest::collection::vec(mutation, 1..20).prop_map({
        let good = good.clone();
        move |mutations| {
            let mut bytes = good.clone();
            for (place, value) in mutations {
                let place = place.index(bytes.len());
                bytes[place] = value;
            }
            bytes
        }
    });
    let cut = any::<proptest::sample::Index>().prop_map(move |end| good[..end.index(good.len())].to_vec());
    let noise = proptest::collection::vec(any::<u8>(), 0..2_000);
    let headed = proptest::collection::vec(any::<u8>(), 0..2_000).prop_map(|rest| [b"\0asm\x0d\0\x01\0".as_slice(), &rest].concat());
    let cases = if std::env::var_os("TWILL_LONG").is_some() { 2_000 } else { 60 };
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) };
    let loaded = std::cell::Cell::new(0);
    proptest::test_runner::TestRunner::new(config)
        .run(&prop_oneof![mutated, cut, noise, headed], |bytes| {
            loaded.set(loaded.get() + usize::from(load(&runtime, &host, home.path(), &bytes)));
            Ok(())
        })
        .expect("every file is loaded or refused");
    println!("{} of {cases} odd files were plugins all the same", loaded.get());
}
