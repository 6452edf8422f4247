//! The backend "alloc": flannel's alloc backend, as a plan.
//!
//! Nodes get subnets and nothing else: who carries the packets (a cloud's router, a routing daemon) is another's business. So there is nothing to
//! plan, pods have the underlay's whole MTU, and a peer needs nothing but its lease.

use twill_guest::backend::{About, Backend, Base, Context, Item, Lease, Network, Node, Refusal, Road, Way};
use twill_guest::options::Options;

/// JSON Schema of the `Backend` object, as far as this backend reads it.
pub const OPTIONS_SCHEMA: &str =
    r#"{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","properties":{"Type":{"const":"alloc"}}}"#;

/// The backend.
pub struct Alloc;

impl Backend for Alloc {
    fn describe() -> About {
        twill_guest::about!("alloc", "subnets alone; others carry the packets, as with flannel's alloc backend", OPTIONS_SCHEMA)
    }

    fn advertise(_: Network, _: Node, options: String, _: Option<Way>, _: Vec<(String, String)>) -> Result<Way, Refusal> {
        Options::parse("Backend", &options)?;
        Ok(Way { backend: "alloc".into(), options: "{}".into(), data_v4: None, data_v6: None })
    }

    fn local(context: Context) -> Result<Base, Refusal> {
        Ok(Base { items: Vec::new(), pod_mtu: context.node.underlay.mtu })
    }

    fn send_to(_: Context, _: Lease, _: Way, _: Road) -> Result<Vec<Item>, Refusal> {
        Ok(Vec::new())
    }

    fn receive_from(_: Context, _: Lease) -> Result<Vec<Item>, Refusal> {
        Ok(Vec::new())
    }
}

#[cfg(feature = "component")]
twill_guest::export_backend!(Alloc);
