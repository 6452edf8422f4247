//! What a new plan for this node interrupts: links that pods' traffic goes by now, and that the plan wants otherwise than they can become while they run.
//!
//! Pure. It compares two answers of one backend (of the config in force and of another, of a plugin and of its next version), not plan and kernel: a device that
//! another hand changed is repaired at once, whatever it takes.

use std::fmt;

use twill_model::item::{Device, Item, Link, LinkKind};

/// A link that is made anew, and the packets of that moment with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remade {
    /// The link's name, or its kind where the name is the kernel's to number.
    pub link: String,
    /// What cannot change while it runs: "its port 8472 becomes 4790".
    pub why: String,
}

impl fmt::Display for Remade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "link {} is made anew: {}", self.link, self.why)
    }
}

/// A link in a plan: what it is found again by in another plan, its name for people, its kind.
#[derive(Debug)]
pub(crate) struct Placed<'a, P> {
    pub place: P,
    pub shown: String,
    pub kind: &'a LinkKind,
}

/// The links of one backend's answer `before` that `after` has under the same handle and name, and that must be made anew for it. A link of another name is made
/// beside the old one.
pub fn remade(before: &[Item], after: &[Item]) -> Vec<Remade> {
    made_anew(&of_answer(before), &of_answer(after))
}

/// The links of `before` that have the same place in `after`, and cannot become what they are there while they run.
pub(crate) fn made_anew<P: PartialEq>(before: &[Placed<'_, P>], after: &[Placed<'_, P>]) -> Vec<Remade> {
    let wanted = |there: &Placed<'_, P>| after.iter().find(|wanted| wanted.place == there.place).map(|wanted| wanted.kind);
    before.iter().filter_map(|there| Some(Remade { link: there.shown.clone(), why: there.kind.remake(wanted(there)?)? })).collect()
}

fn of_answer(items: &[Item]) -> Vec<Placed<'_, (&Device, &str)>> {
    let links = items.iter().filter_map(|item| if let Item::Link(link) = item { Some(link) } else { None });
    links.map(|link| Placed { place: (&link.on, link.name.as_str()), shown: name(link), kind: &link.kind }).collect()
}

fn name(link: &Link<Device>) -> String {
    if link.name.contains('%') { link.kind.word().to_owned() } else { link.name.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use twill_model::Addresses;

    fn vxlan(vni: u32, port: u16, mtu: u32) -> Item {
        let kind = LinkKind::Vxlan { vni, port, local: [192, 0, 2, 1].into(), learning: false, gbp: false };
        Item::Link(Link { on: Device::Link("v4".into()), name: format!("flannel.{vni}"), kind, mtu, mac: None })
    }

    fn tunnel(port: u16) -> Item {
        let kind = LinkKind::Tunnel { port, local: Addresses::default() };
        Item::Link(Link { on: Device::Link("tun".into()), name: "flannel%d".into(), kind, mtu: 1472, mac: None })
    }

    fn told(before: Item, after: Item) -> Vec<String> {
        remade(&[before], &[after]).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn only_what_cannot_be_changed_in_place_is_made_anew() {
        assert_eq!(told(vxlan(1, 8472, 1450), vxlan(1, 8472, 1400)), [""; 0]);
        assert_eq!(told(vxlan(1, 8472, 1450), vxlan(1, 4790, 1450)), ["link flannel.1 is made anew: its port 8472 becomes 4790"]);
        assert_eq!(told(vxlan(1, 8472, 1450), vxlan(7, 8472, 1450)), [""; 0], "another name lives beside the old one");
        assert_eq!(told(tunnel(8285), tunnel(9285)), ["link tunnel is made anew: its UDP port 8285 becomes 9285"]);
        assert_eq!(told(tunnel(8285), vxlan(1, 8472, 1450)), [""; 0], "another backend is no change of this one's link");
    }
}
