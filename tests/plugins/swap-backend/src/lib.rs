//! The backend "swap": plain routes as host-gw plans them, with an MTU on them by which a test sees which build planned them.
//!
//! Built once a cargo feature: `old` is version 1.0.0 and plans an MTU of 1400, `new` is 1.1.0 and plans 1300.

use twill_backend_host_gw::plan;
use twill_guest::backend::{About, Backend, Base, Context, Item, Lease, Network, Node, Refusal, Road, Way};

/// The backend.
pub struct Swap;

/// Version and MTU of this build.
const BUILD: (&str, u32) = if cfg!(feature = "new") { ("1.1.0", 1300) } else { ("1.0.0", 1400) };

impl Backend for Swap {
    fn describe() -> About {
        let about = twill_guest::about!("swap", "plain routes with an MTU that tells the build, for tests", "{}");
        About { version: BUILD.0.into(), ..about }
    }

    fn advertise(network: Network, node: Node, options: String, _: Option<Way>, _: Vec<(String, String)>) -> Result<Way, Refusal> {
        plan::advertise(&network, &node, &options).map(|way| Way { backend: "swap".into(), ..way })
    }

    fn local(context: Context) -> Result<Base, Refusal> {
        Ok(plan::local(&context))
    }

    fn send_to(context: Context, peer: Lease, _: Way, road: Road) -> Result<Vec<Item>, Refusal> {
        let mut items = plan::send_to(&context, &peer, road)?;
        for item in &mut items {
            if let Item::Route(route) = item {
                route.mtu = Some(BUILD.1);
            }
        }
        Ok(items)
    }

    fn receive_from(_: Context, _: Lease) -> Result<Vec<Item>, Refusal> {
        Ok(Vec::new())
    }
}

twill_guest::export_backend!(Swap);
