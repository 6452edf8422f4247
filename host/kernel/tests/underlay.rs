//! The choice of the underlay from a real namespace.

mod lab;

use lab::{in_namespace, ip, kernel, wire};
use twill_kernel::underlay::{UnderlayError, UnderlaySettings, Want};

fn both() -> UnderlaySettings {
    UnderlaySettings { v4: Want::Must, v6: Want::Must, ..UnderlaySettings::default() }
}

#[test]
fn the_default_route_decides_and_its_absence_is_told() {
    in_namespace(|| async {
        wire();
        ip("link add eth1 type veth peer name far1");
        let (kernel, _directory) = kernel();
        assert_eq!(kernel.choose_underlay(&both()).await, Err(UnderlayError::NoDefaultRoute { family: "IPv4" }));
        ip("route add default via 10.0.0.2");
        ip("-6 route add default via fd00::2");
        let chosen = kernel.choose_underlay(&both()).await.expect("a choice");
        assert_eq!((chosen.underlay.name.as_str(), chosen.underlay.mtu), ("eth0", 1500));
        assert_eq!(chosen.published.to_string(), "10.0.0.1 and fd00::1");
        let texts: Vec<String> = chosen.underlay.addresses.iter().map(ToString::to_string).collect();
        assert_eq!(texts[..2], ["10.0.0.1/24", "fd00::1/64"]);
    });
}

#[test]
fn the_road_to_an_address_decides() {
    in_namespace(|| async {
        wire();
        let (kernel, _directory) = kernel();
        let to = |text: &str| UnderlaySettings { v6: Want::No, iface_can_reach: Some(text.parse().expect("a good address")), ..both() };
        assert_eq!(kernel.choose_underlay(&to("10.0.0.77")).await.expect("a choice").underlay.name, "eth0");
        assert!(matches!(kernel.choose_underlay(&to("192.0.2.1")).await, Err(UnderlayError::NoRoad { .. })));
    });
}

#[test]
fn changes_of_the_interface_are_followed() {
    in_namespace(|| async {
        wire();
        let (kernel, _directory) = kernel();
        let settings = UnderlaySettings { iface: vec!["eth0".into()], ..both() };
        let before = kernel.choose_underlay(&settings).await.expect("a choice");
        assert_eq!(kernel.follow_underlay(&before, &settings).await.as_ref(), Ok(&before));
        ip("link set eth0 mtu 1400");
        ip("addr del 10.0.0.1/24 dev eth0");
        ip("addr add 10.0.0.6/24 dev eth0");
        let after = kernel.follow_underlay(&before, &settings).await.expect("it is there");
        assert_eq!(after.underlay.mtu, 1400);
        assert_eq!(after.published.v4, Some("10.0.0.6".parse().expect("a good address")));
    });
}
