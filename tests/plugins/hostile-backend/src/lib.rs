//! A backend that misbehaves, for tests of what the host does about it.
//!
//! Built once a cargo feature. Most variants say that they are "udp", newer than the real one, and plan as it does, except that `send-to` goes
//! wrong. The variant `beside` is a type of its own, "hostile", so that it can run beside the real one; its options say what goes wrong, and
//! in which function: `{"Type":"hostile","Do":"traps","In":"local"}`.

mod misdeed;

use misdeed::Misdeed;
use twill_backend_udp::plan;
use twill_guest::backend::{About, Backend, Base, Context, Item, Lease, Network, Node, Refusal, Road, Way};
use twill_guest::options::Options;

/// The backend.
pub struct Hostile;

/// The type that it says it is.
const NAME: &str = if cfg!(feature = "beside") { "hostile" } else { "udp" };

/// What `function` is to do wrong, by `options` or else by the variant.
fn misdeed(function: &str, options: &str) -> Result<Misdeed, Refusal> {
    let options = Options::parse("Backend", options)?;
    let chosen = options.text("Do")?.map(Misdeed::named).unwrap_or(misdeed::BUILT_IN);
    let place = options.text("In")?.unwrap_or("send-to");
    Ok(if place == function { chosen } else { Misdeed::None })
}

impl Backend for Hostile {
    fn describe() -> About {
        twill_guest::about!(NAME, "misbehaves, for tests", plan::OPTIONS_SCHEMA)
    }

    fn advertise(_: Network, node: Node, options: String, _: Option<Way>, _: Vec<(String, String)>) -> Result<Way, Refusal> {
        misdeed("advertise", &options)?.act();
        plan::advertise(&node, &options).map(|way| Way { backend: NAME.into(), options, ..way })
    }

    fn local(context: Context) -> Result<Base, Refusal> {
        let misdeed = misdeed("local", &context.way.options)?;
        misdeed.act();
        let mut base = plan::local(&context)?;
        base.items.extend(misdeed.items());
        if cfg!(feature = "remakes") {
            misdeed::move_ports(&mut base.items);
        }
        Ok(base)
    }

    fn send_to(context: Context, peer: Lease, over: Way, road: Road) -> Result<Vec<Item>, Refusal> {
        assert!(!(cfg!(feature = "sleeper") && is_number(&peer, 3)), "hostile: woken up");
        let misdeed = misdeed("send-to", &context.way.options)?;
        misdeed.act();
        let mut items = plan::send_to(&context, &peer, &over, road)?;
        items.extend(misdeed.items());
        if cfg!(feature = "sleeper") && is_number(&peer, 4) {
            items.extend(Misdeed::DefaultRoute.items());
        }
        Ok(items)
    }

    fn receive_from(context: Context, peer: Lease) -> Result<Vec<Item>, Refusal> {
        let misdeed = misdeed("receive-from", &context.way.options)?;
        misdeed.act();
        let mut items = plan::receive_from(&peer)?;
        items.extend(misdeed.items());
        Ok(items)
    }
}

/// True for the lab's node of that number, which is the last part of its address.
fn is_number(peer: &Lease, number: u8) -> bool {
    peer.public.v4.as_deref().is_some_and(|address| address.ends_with(&format!(".{number}")))
}

twill_guest::export_backend!(Hostile);
