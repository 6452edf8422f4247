//! Peers as nobody should publish them. A backend may refuse each of them, and must fail on none.

use twill_model::{Addresses, Lease, Lifetime, Prefixes, Way};

use super::Asked;
use crate::question::Question;
use crate::report::{Verdict, kept_unless};
use crate::sample::{self, NO_ROAD, ON_LINK};

/// Texts in the place of options and data. The last is as long as a lease may make it.
fn texts() -> Vec<String> {
    let mut texts: Vec<String> = [
        "",
        "{",
        "[]",
        "null",
        "7",
        "\"\"",
        "{\"Port\":-1,\"VNI\":\"x\",\"VtepMAC\":7}",
        "{\"VtepMAC\":\"zz\"}",
        "\u{0}",
        "{\"\":{\"\":[[[[]]]]}}",
    ]
    .map(String::from)
    .to_vec();
    texts.push(format!("{{\"Type\":\"{}\"}}", "ä".repeat(30_000)));
    texts
}

fn odd_peers(asked: &Asked<'_>) -> Vec<Lease> {
    let number = 7;
    let plain = sample::lease(number, asked.families, vec![asked.way.clone()]);
    let with_way = |way: Way| Lease { ways: vec![way], ..plain.clone() };
    let mut peers: Vec<Lease> = texts().into_iter().map(|options| with_way(Way { options, ..asked.way.clone() })).collect();
    peers.extend(texts().into_iter().map(|data| with_way(Way { data_v4: Some(data.clone()), data_v6: Some(data), ..asked.way.clone() })));
    peers.push(with_way(Way { options: "{}".into(), data_v4: None, data_v6: None, ..asked.way.clone() }));
    // A real flanneld's lease, and one that repeats this node's own way.
    peers.push(Lease { node: None, ..with_way(Way { options: "{}".into(), ..asked.way.clone() }) });
    peers.push(plain.clone());
    let (subnets, public) = (plain.subnets, plain.public);
    let nothing = Addresses::default();
    peers.push(Lease { public: Addresses { v6: None, ..public }, ..plain.clone() });
    peers.push(Lease { public: Addresses { v4: None, ..public }, ..plain.clone() });
    peers.push(Lease { public: nothing, ..plain.clone() });
    peers.push(Lease { public: sample::public(1), ..plain.clone() });
    peers.push(Lease { subnets: Prefixes { v6: None, ..subnets }, ..plain.clone() });
    peers.push(Lease { subnets: Prefixes { v4: None, ..subnets }, ..plain.clone() });
    peers.push(Lease { life: Lifetime::Reserved, ways: vec![], ..plain });
    peers
}

pub(super) async fn bears_any(asked: &Asked<'_>) -> Verdict {
    let (mut faults, mut count) = (Vec::new(), 0);
    for peer in odd_peers(asked) {
        let over = peer.ways.first().cloned().unwrap_or_else(|| asked.way.clone());
        let (context, peer) = (Box::new(asked.context(true)), Box::new(peer));
        let send = |road| Question::SendTo(context.clone(), peer.clone(), over.clone(), road);
        for question in [send(ON_LINK), send(NO_ROAD), Question::ReceiveFrom(context.clone(), peer.clone())] {
            count += 1;
            if let Some(why) = question.ask(&asked.planners[0], asked.kind).await.failure() {
                faults.push(format!("{}: {why}", question.words()));
            }
        }
    }
    kept_unless(faults, format!("{count} questions about odd peers"))
}
