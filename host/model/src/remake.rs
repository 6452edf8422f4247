//! What a running link cannot become without being made anew. A link that is made anew loses its addresses, routes and entries on the way, and the packets of that moment.
//!
//! Pure. By the kernel's `vxlan_changelink` (drivers/net/vxlan/vxlan_core.c): local address and learning can be changed on a running VXLAN device; VNI, port and
//! GBP cannot, nor the family of the local address. MTU, Ethernet address and up can be changed on any link.

use crate::item::LinkKind;

/// The kernel's default for a VXLAN device (`vxlan_port`, drivers/net/vxlan/vxlan_core.c), which port 0 stands for.
const VXLAN_PORT: u16 = 8472;

impl LinkKind {
    /// What keeps a running link of this kind from becoming `wanted` in place, in words such as "its port 8472 becomes 4790"; none when nothing does.
    pub fn remake(&self, wanted: &LinkKind) -> Option<String> {
        match (self, wanted) {
            (
                LinkKind::Vxlan { vni, port, local, gbp, .. },
                LinkKind::Vxlan { vni: to_vni, port: to_port, local: to_local, gbp: to_gbp, .. },
            ) => becomes("VNI", vni, to_vni)
                .or_else(|| becomes("port", &explicit(*port), &explicit(*to_port)))
                .or_else(|| becomes("group policy extension", &on(*gbp), &on(*to_gbp)))
                .or_else(|| becomes("local address", local, to_local).filter(|_| local.is_ipv4() != to_local.is_ipv4())),
            (LinkKind::Tunnel { port, local }, LinkKind::Tunnel { port: to_port, local: to_local }) => {
                becomes("UDP port", port, to_port).or_else(|| becomes("local address", local, to_local))
            }
            (LinkKind::Ipip { local }, LinkKind::Ipip { local: to_local }) => becomes("local address", local, to_local),
            (LinkKind::Wireguard { .. }, LinkKind::Wireguard { .. }) => None,
            (this, other) => becomes("kind", &this.word(), &other.word()),
        }
    }
}

fn becomes<T: PartialEq + std::fmt::Display>(what: &str, from: &T, to: &T) -> Option<String> {
    (from != to).then(|| format!("its {what} {from} becomes {to}"))
}

fn explicit(port: u16) -> u16 {
    if port == 0 { VXLAN_PORT } else { port }
}

fn on(truth: bool) -> &'static str {
    if truth { "on" } else { "off" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Addresses;

    fn vxlan(change: impl FnOnce(&mut u32, &mut u16, &mut std::net::IpAddr, &mut bool, &mut bool)) -> LinkKind {
        let (mut vni, mut port, mut local, mut learning, mut gbp) = (1, 8472, [192, 0, 2, 1].into(), false, false);
        change(&mut vni, &mut port, &mut local, &mut learning, &mut gbp);
        LinkKind::Vxlan { vni, port, local, learning, gbp }
    }

    #[test]
    fn a_vxlan_device_keeps_vni_port_and_group_policy_for_life() {
        let from = vxlan(|_, _, _, _, _| {});
        let remake = |to: LinkKind| from.remake(&to);
        assert_eq!(remake(from.clone()), None);
        assert_eq!(remake(vxlan(|_, port, _, _, _| *port = 0)), None, "0 is the kernel's default");
        assert_eq!(remake(vxlan(|_, _, local, learning, _| (*local, *learning) = ([192, 0, 2, 2].into(), true))), None);
        assert_eq!(remake(vxlan(|_, port, _, _, _| *port = 4790)).as_deref(), Some("its port 8472 becomes 4790"));
        assert_eq!(remake(vxlan(|vni, _, _, _, _| *vni = 7)).as_deref(), Some("its VNI 1 becomes 7"));
        assert_eq!(remake(vxlan(|_, _, _, _, gbp| *gbp = true)).as_deref(), Some("its group policy extension off becomes on"));
        let v6 = vxlan(|_, _, local, _, _| *local = std::net::Ipv6Addr::LOCALHOST.into());
        assert_eq!(remake(v6).as_deref(), Some("its local address 192.0.2.1 becomes ::1"));
    }

    #[test]
    fn a_tunnel_is_its_socket() {
        let tunnel = |port: u16, last: u8| LinkKind::Tunnel { port, local: Addresses { v4: Some([192, 0, 2, last].into()), v6: None } };
        assert_eq!(tunnel(8285, 1).remake(&tunnel(8285, 1)), None);
        assert_eq!(tunnel(8285, 1).remake(&tunnel(9285, 1)).as_deref(), Some("its UDP port 8285 becomes 9285"));
        assert_eq!(tunnel(8285, 1).remake(&tunnel(8285, 2)).as_deref(), Some("its local address 192.0.2.1 becomes 192.0.2.2"));
        assert_eq!(tunnel(8285, 1).remake(&vxlan(|_, _, _, _, _| {})).as_deref(), Some("its kind tunnel becomes vxlan"));
    }
}
