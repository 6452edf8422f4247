//! Tests of [`super`]: the interface look-up of flannel's list, and what goes beyond it.

use super::*;

fn address(text: &str) -> InterfaceAddress {
    let net = text.parse().expect("a good address");
    InterfaceAddress { net, deprecated: false, permanent: true, temporary: false, duplicate: false }
}

fn interface(index: u32, name: &str, addresses: &[&str]) -> Interface {
    Interface { name: name.into(), index, mtu: 1500, addresses: addresses.iter().map(|text| address(text)).collect() }
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("a good address")
}

fn there() -> Surroundings {
    Surroundings {
        interfaces: vec![
            interface(1, "lo", &["127.0.0.1/8", "::1/128"]),
            interface(2, "eth0", &["169.254.7.7/16", "192.168.1.5/24", "192.168.1.6/24", "fe80::5/64", "fd00:1::5/64"]),
            interface(3, "eth1", &["172.16.0.5/16", "fe80::6/64", "fd00:2::6/64"]),
            interface(4, "bare", &[]),
            interface(5, "wlan0", &["10.9.8.7/24"]),
        ],
        default_v4: Some(2),
        default_v6: Some(2),
        reaching: None,
    }
}

fn v4() -> UnderlaySettings {
    UnderlaySettings { v4: Want::Must, ..UnderlaySettings::default() }
}

fn v6() -> UnderlaySettings {
    UnderlaySettings { v6: Want::Must, ..UnderlaySettings::default() }
}

fn dual() -> UnderlaySettings {
    UnderlaySettings { v4: Want::Must, v6: Want::Must, ..UnderlaySettings::default() }
}

/// What a daemon asks for that does not know the network's families yet.
fn open() -> UnderlaySettings {
    UnderlaySettings { v4: Want::IfThere, v6: Want::IfThere, ..UnderlaySettings::default() }
}

fn iface(base: UnderlaySettings, asked: &[&str]) -> UnderlaySettings {
    UnderlaySettings { iface: asked.iter().map(|one| (*one).to_owned()).collect(), ..base }
}

fn pattern(base: UnderlaySettings, asked: &[&str]) -> UnderlaySettings {
    UnderlaySettings { iface_regex: asked.iter().map(|one| (*one).to_owned()).collect(), ..base }
}

fn public(base: UnderlaySettings, v4: Option<&str>, v6: Option<&str>) -> UnderlaySettings {
    let public_ip = v4.map(|text| text.parse().expect("a good address"));
    let public_ipv6 = v6.map(|text| text.parse().expect("a good address"));
    UnderlaySettings { public_ip, public_ipv6, ..base }
}

fn reach(base: UnderlaySettings, text: &str) -> UnderlaySettings {
    UnderlaySettings { iface_can_reach: Some(ip(text)), ..base }
}

/// Name, first IPv4, first IPv6 address of the interface, and what is published.
fn outcome(settings: &UnderlaySettings, there: &Surroundings) -> Result<(String, String), String> {
    let chosen = choose(settings, there).map_err(|error| error.to_string())?;
    Ok((chosen.underlay.name, chosen.published.to_string()))
}

#[test]
fn the_interface_is_found_by_each_way_of_asking() {
    let road = Surroundings { reaching: Some((3, Some(ip("172.16.0.5")))), ..there() };
    let table: Vec<(&str, UnderlaySettings, Surroundings, &str, &str)> = vec![
        ("default route", v4(), there(), "eth0", "192.168.1.5"),
        ("default route, IPv6", v6(), there(), "eth0", "fd00:1::5"),
        ("default routes, both", dual(), there(), "eth0", "192.168.1.5 and fd00:1::5"),
        ("name, first global address", iface(v4(), &["eth0"]), there(), "eth0", "192.168.1.5"),
        ("name, IPv6", iface(v6(), &["eth1"]), there(), "eth1", "fd00:2::6"),
        ("name, both", iface(dual(), &["eth1"]), there(), "eth1", "172.16.0.5 and fd00:2::6"),
        ("address", iface(v4(), &["192.168.1.6"]), there(), "eth0", "192.168.1.6"),
        ("address, both", iface(dual(), &["172.16.0.5"]), there(), "eth1", "172.16.0.5 and fd00:2::6"),
        ("IPv6 address", iface(v6(), &["fe80::6"]), there(), "eth1", "fe80::6"),
        ("second name", iface(v4(), &["eth7", "eth1"]), there(), "eth1", "172.16.0.5"),
        ("name without address passed over", iface(v4(), &["bare", "eth1"]), there(), "eth1", "172.16.0.5"),
        ("regex on an address", pattern(v4(), &[r"^172\.16"]), there(), "eth1", "172.16.0.5"),
        ("regex on a second address", pattern(v4(), &[r"1\.6$"]), there(), "eth0", "192.168.1.6"),
        ("regex on an IPv6 address", pattern(v6(), &["^fd00:2:"]), there(), "eth1", "fd00:2::6"),
        ("regex on a name", pattern(v4(), &["^wl"]), there(), "wlan0", "10.9.8.7"),
        ("regex on a name, address first", pattern(v4(), &["0"]), there(), "eth1", "172.16.0.5"),
        ("second regex", pattern(v4(), &["^never$", "eth1"]), there(), "eth1", "172.16.0.5"),
        ("iface before regex", pattern(iface(v4(), &["wlan0"]), &["eth1"]), there(), "wlan0", "10.9.8.7"),
        ("regex and public address", public(pattern(v4(), &["eth1"]), Some("203.0.113.9"), None), there(), "eth1", "203.0.113.9"),
        ("can reach", reach(v4(), "172.16.9.9"), road, "eth1", "172.16.0.5"),
        ("public address alone: its owner", public(v4(), Some("10.9.8.7"), None), there(), "wlan0", "10.9.8.7"),
        ("public IPv6 alone: its owner", public(v6(), None, Some("fd00:2::6")), there(), "eth1", "fd00:2::6"),
        ("public IPv4 alone, both wanted", public(dual(), Some("172.16.0.5"), None), there(), "eth1", "172.16.0.5 and fd00:2::6"),
        ("translated address with a name", public(iface(v4(), &["eth0"]), Some("203.0.113.9"), None), there(), "eth0", "203.0.113.9"),
    ];
    for (case, settings, there, name, published) in table {
        assert_eq!(outcome(&settings, &there), Ok((name.to_owned(), published.to_owned())), "{case}");
    }
}

#[test]
fn what_cannot_be_chosen_is_told_with_what_to_do() {
    let nowhere = Surroundings { default_v4: None, default_v6: None, ..there() };
    let apart = Surroundings { default_v6: Some(3), ..there() };
    let table: Vec<(UnderlaySettings, Surroundings, &str)> = vec![
        (iface(v4(), &["eth7"]), there(), r#"there is no interface "eth7"; there are lo, eth0, eth1, bare, wlan0"#),
        (iface(v4(), &["bare"]), there(), r#"the interface "bare" has no usable IPv4 address"#),
        (iface(v4(), &["lo"]), there(), r#"the interface "lo" has no usable IPv4 address"#),
        (iface(dual(), &["wlan0"]), there(), r#"the interface "wlan0" has no usable IPv6 address"#),
        (
            iface(v4(), &["10.0.0.9"]),
            there(),
            "no interface has the address 10.0.0.9; if it is translated to this node, name the interface with --iface",
        ),
        (v4(), nowhere.clone(), "there is no IPv4 default route to tell the interface by; name it with --iface"),
        (v6(), nowhere, "there is no IPv6 default route to tell the interface by; name it with --iface"),
        (dual(), apart, r#"IPv4 points to the interface "eth0" and IPv6 to "eth1", but one must carry both; name it with --iface"#),
        (pattern(v4(), &["^never$"]), there(), r#"no address or name of an interface matches "^never$""#),
        (reach(v4(), "198.51.100.1"), there(), "the kernel has no route to 198.51.100.1"),
        (public(v4(), Some("127.0.0.1"), None), there(), "127.0.0.1 cannot be a public address: it is a loopback address"),
        (public(v4(), Some("224.0.0.1"), None), there(), "224.0.0.1 cannot be a public address: it is a multicast address"),
        (
            public(v4(), Some("203.0.113.9"), None),
            there(),
            "no interface has the address 203.0.113.9; if it is translated to this node, name the interface with --iface",
        ),
        (UnderlaySettings::default(), there(), "neither IPv4 nor IPv6 is enabled"),
        (
            iface(v4(), &["eth7", "bare"]),
            there(),
            r#"no interface fits: there is no interface "eth7"; there are lo, eth0, eth1, bare, wlan0; the interface "bare" has no usable IPv4 address"#,
        ),
    ];
    for (settings, there, words) in table {
        assert_eq!(outcome(&settings, &there), Err(words.to_owned()));
    }
}

#[test]
fn a_pattern_that_is_none_is_named() {
    let words = outcome(&pattern(v4(), &["eth["]), &there()).expect_err("a refusal");
    assert!(words.starts_with(r#""eth[" is no regular expression: "#), "{words}");
}

#[test]
fn addresses_are_ordered_global_permanent_lasting() {
    let mut there = there();
    there.interfaces[1].addresses = vec![
        address("fe80::5/64"),
        InterfaceAddress { deprecated: true, ..address("fd00::1/64") },
        InterfaceAddress { duplicate: true, ..address("fd00::2/64") },
        InterfaceAddress { permanent: false, temporary: true, ..address("fd00::3/64") },
        InterfaceAddress { permanent: false, ..address("fd00::4/64") },
        address("fd00::5/64"),
    ];
    let chosen = choose(&v6(), &there).expect("a choice");
    let order: Vec<String> = chosen.underlay.addresses.iter().map(|net| net.addr().to_string()).collect();
    assert_eq!(order, ["fd00::5", "fd00::4", "fd00::3", "fe80::5"]);
}

#[test]
fn a_changed_interface_is_followed_by_its_name() {
    let settings = iface(v4(), &["192.168.1.6"]);
    let before = choose(&settings, &there()).expect("a choice");
    let mut now = there();
    assert_eq!(follow(&before, &settings, &now).as_ref(), Ok(&before));
    now.interfaces[1].mtu = 1400;
    now.interfaces[1].index = 9;
    let after = follow(&before, &settings, &now).expect("it is there");
    assert_eq!((after.underlay.mtu, after.underlay.index, after.published), (1400, 9, before.published));
    now.interfaces[1].addresses.retain(|address| address.net.addr() != ip("192.168.1.6"));
    let after = follow(&before, &settings, &now).expect("it has another address");
    assert_eq!(after.published.to_string(), "192.168.1.5");
    now.interfaces.remove(1);
    assert!(matches!(follow(&before, &settings, &now), Err(UnderlayError::UnknownInterface { .. })));
}

#[test]
fn families_that_nobody_insists_on_are_taken_where_they_are() {
    let published = |settings: &UnderlaySettings, there: &Surroundings| {
        choose(settings, there).map(|chosen| format!("{}: {}", chosen.underlay.name, chosen.published)).map_err(|error| error.to_string())
    };
    let apart = Surroundings { default_v6: Some(3), ..there() };
    let v6_alone = Surroundings { default_v4: None, default_v6: Some(3), ..there() };
    assert_eq!(published(&open(), &there()).as_deref(), Ok("eth0: 192.168.1.5 and fd00:1::5"));
    assert_eq!(published(&open(), &apart).as_deref(), Ok("eth0: 192.168.1.5 and fd00:1::5"));
    assert_eq!(published(&open(), &v6_alone).as_deref(), Ok("eth1: 172.16.0.5 and fd00:2::6"));
    assert_eq!(published(&iface(open(), &["wlan0"]), &there()).as_deref(), Ok("wlan0: 10.9.8.7"));
    let nowhere = Surroundings { default_v4: None, default_v6: None, ..there() };
    assert!(published(&open(), &nowhere).expect_err("a refusal").starts_with("there is no IPv4 default route"));
    assert_eq!(published(&iface(open(), &["bare"]), &there()), Err(r#"the interface "bare" has no usable IPv4 or IPv6 address"#.into()));
}

#[test]
fn an_address_that_only_its_link_knows_is_published_only_when_asked_for() {
    let mut there = there();
    there.interfaces[1].addresses = vec![address("192.168.1.5/24"), address("fe80::5/64")];
    assert_eq!(choose(&open(), &there).expect("a choice").published.to_string(), "192.168.1.5");
    assert_eq!(choose(&dual(), &there).expect("a choice").published.to_string(), "192.168.1.5 and fe80::5");
}
