//! The backend "@name@": plain routes to peers on the same link.
//!
//! It plans, and nothing else: the daemon asks once what there is on this node in any case (`local`), then about one peer at a time, checks what comes
//! back against its policy and makes the kernel so. Same arguments, same answer.

use twill_guest::backend::*;
use twill_guest::options::Options;

/// The config's `Backend` object, as far as this backend reads it.
const OPTIONS_SCHEMA: &str = r#"{
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {
        "Type": { "const": "@name@" },
        "MTU": { "type": "integer", "minimum": 576, "maximum": 65535, "description": "what pods may send at once, in bytes; the underlay's unless set" }
    }
}"#;

/// The backend.
pub struct Plugin;

impl Backend for Plugin {
    fn describe() -> About {
        twill_guest::about!("@name@", "plain routes to peers on the same link", OPTIONS_SCHEMA)
    }

    /// What peers and this node itself are told: here the options alone, checked before anything is changed.
    fn advertise(
        _: Network,
        _: Node,
        options: String,
        _: Option<Way>,
        _: Vec<(String, String)>,
    ) -> Result<Way, Refusal> {
        let mtu = mtu("Backend", &options)?;
        let options = mtu.map_or("{}".into(), |mtu| format!("{{\"MTU\":{mtu}}}"));
        Ok(Way { backend: "@name@".into(), options, data_v4: None, data_v6: None })
    }

    /// No link and no address of our own; only the size of packets.
    fn local(context: Context) -> Result<Base, Refusal> {
        let underlay = context.node.underlay.mtu;
        let mtu = mtu("this node's options", &context.way.options)?.unwrap_or(underlay);
        Ok(Base { items: vec![], pod_mtu: mtu.min(underlay) })
    }

    /// The peer is the gateway to its own subnet, if the kernel reaches it without a router.
    fn send_to(_: Context, peer: Lease, _: Way, road: Road) -> Result<Vec<Item>, Refusal> {
        let (Some(to), Some(via)) = (peer.subnets.v4, peer.public.v4) else {
            return Err(Refusal::Unsuitable("the peer has no IPv4 subnet and address".into()));
        };
        if road.v4 != Hop::OnLink {
            return Err(Refusal::Unsuitable(format!("{via} is not on this link")));
        }
        let route = Route::via(to, Some(via), Device::Underlay);
        Ok(vec![Item::Route(route)])
    }

    /// Plain packets arrive by themselves.
    fn receive_from(_: Context, _: Lease) -> Result<Vec<Item>, Refusal> {
        Ok(vec![])
    }
}

fn mtu(section: &'static str, options: &str) -> Result<Option<u32>, Refusal> {
    let mtu = Options::parse(section, options)?.number("MTU", 576..=65_535, 0)?;
    Ok((mtu != 0).then_some(mtu))
}

twill_guest::export_backend!(Plugin);

#[cfg(test)]
mod tests {
    use twill_guest::fake::cluster::{self, ON_LINK, ROUTED};

    use super::*;

    fn way(options: &str) -> Result<Way, Refusal> {
        Plugin::advertise(cluster::network("@name@"), cluster::node(1), options.into(), None, vec![])
    }

    #[test]
    fn a_peer_on_the_link_is_the_gateway_to_its_subnet() {
        let way = way("{}").expect("a way");
        let items = Plugin::send_to(cluster::context(&way), cluster::lease(2, &way), way, ON_LINK).expect("a plan");
        let wanted = Route::via("10.10.2.0/24".into(), Some("10.98.0.2".into()), Device::Underlay);
        assert_eq!(items, [Item::Route(wanted)]);
    }

    #[test]
    fn a_peer_behind_a_router_is_for_another_way() {
        let way = way("{}").expect("a way");
        let refused = Plugin::send_to(cluster::context(&way), cluster::lease(2, &way), way, ROUTED);
        assert_eq!(refused, Err(Refusal::Unsuitable("10.98.0.2 is not on this link".into())));
    }

    #[test]
    fn an_mtu_that_is_none_is_refused_by_name() {
        assert_eq!(
            Plugin::local(cluster::context(&way(r#"{"MTU":1400}"#).expect("a way"))).expect("a base").pod_mtu,
            1400
        );
        let refused = way(r#"{"MTU":"much"}"#).expect_err("refused");
        assert!(matches!(&refused, Refusal::Invalid(text) if text.contains("Backend.MTU")), "{refused:?}");
    }
}
