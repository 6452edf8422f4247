use super::*;

fn parsed(text: &str) -> NetworkConfig {
    NetworkConfig::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// The key an error points at.
fn faulty(text: &str) -> String {
    match NetworkConfig::parse(text) {
        Err(ConfigError::Key { key, .. }) => key,
        other => panic!("{text}: {other:?}"),
    }
}

fn v4(text: &str) -> (u8, String, String) {
    let range = parsed(text).v4.expect("IPv4");
    (range.subnet_len, range.min.to_string(), range.max.to_string())
}

#[test]
fn defaults_of_a_slash_16() {
    let config = parsed(r#"{"network": "10.3.0.0/16"}"#);
    assert_eq!(v4(r#"{"Network": "10.3.0.0/16"}"#), (24, "10.3.1.0/24".into(), "10.3.255.0/24".into()));
    assert_eq!((config.backend.as_str(), config.options.as_str()), ("udp", "{}"));
    assert!(config.v6.is_none());
}

#[test]
fn defaults_of_an_ipv6_slash_48() {
    let range = parsed(r#"{"EnableIPv4": false, "enableIPv6": true, "IPv6Network": "fc00::/48"}"#).v6.expect("IPv6");
    assert_eq!(range.subnet_len, 64);
    assert_eq!((range.min.to_string(), range.max.to_string()), ("fc00:0:0:1::/64".into(), "fc00:0:0:ffff::/64".into()));
}

#[test]
fn overrides_are_taken() {
    let text = r#"{"Network": "10.3.0.0/16", "SubnetMin": "10.3.5.0", "SubnetMax": "10.3.8.0", "SubnetLen": 28}"#;
    assert_eq!(v4(text), (28, "10.3.5.0/28".into(), "10.3.8.0/28".into()));
    let text = r#"{"EnableIPv6": true, "Network": "10.3.0.0/16", "IPv6Network": "fc00::/48", "IPv6SubnetLen": 80, "IPv6SubnetMin": "fc00:0:0:5::", "IPv6SubnetMax": "fc00:0:0:8::"}"#;
    let range = parsed(text).v6.expect("IPv6");
    assert_eq!((range.subnet_len, range.min.to_string()), (80, "fc00:0:0:5::/80".into()));
}

#[test]
fn narrow_networks_are_split_in_four() {
    assert_eq!(v4(r#"{"Network": "10.3.0.0/22"}"#), (24, "10.3.1.0/24".into(), "10.3.3.0/24".into()));
    assert_eq!(v4(r#"{"Network": "10.3.0.0/23"}"#), (25, "10.3.0.128/25".into(), "10.3.1.128/25".into()));
    assert_eq!(v4(r#"{"Network": "10.3.0.0/28"}"#).0, 30);
    let v6 = |net: &str| parsed(&format!(r#"{{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"{net}"}}"#)).v6.expect("IPv6").subnet_len;
    assert_eq!((v6("fc00::/62"), v6("fc00::/63"), v6("fc00::/124")), (64, 65, 126));
}

#[test]
fn host_bits_of_the_network_are_dropped() {
    assert_eq!(parsed(r#"{"Network": "10.0.0.5/16"}"#).v4.expect("IPv4").network.to_string(), "10.0.0.0/16");
}

#[test]
fn zero_null_and_the_unspecified_address_mean_absent() {
    let plain = parsed(r#"{"Network": "10.3.0.0/16"}"#);
    let text = r#"{"Network": "10.3.0.0/16", "SubnetLen": 0, "SubnetMin": "0.0.0.0", "SubnetMax": null, "EnableIPv4": null}"#;
    assert_eq!(parsed(text), plain);
}

#[test]
fn the_first_subnet_is_given_out_when_asked_for() {
    assert_eq!(v4(r#"{"Network": "10.3.0.0/16", "SubnetMin": "10.3.0.0"}"#).1, "10.3.0.0/24");
}

#[test]
fn the_backend_is_lower_cased_and_its_text_kept() {
    let config = parsed("{\"Network\": \"10.3.0.0/16\", \"backend\": {\"type\":\"VXLAN\",  \"VNI\": 1e2 }}");
    assert_eq!(config.backend, "vxlan");
    assert_eq!(config.options, "{\"type\":\"VXLAN\",  \"VNI\": 1e2 }");
}

#[test]
fn the_later_spelling_of_a_key_wins() {
    assert_eq!(v4(r#"{"Network": "10.3.0.0/16", "network": "10.9.0.0/16"}"#).1, "10.9.1.0/24");
}

#[test]
fn every_rule_points_at_its_key() {
    let cases = [
        (r#"{}"#, "Network"),
        (r#"{"Network": "0.0.0.0/0"}"#, "Network"),
        (r#"{"Network": "10.3.0.0"}"#, "Network"),
        (r#"{"Network": "10.3.0.0/33"}"#, "Network"),
        (r#"{"Network": "fd00::/48"}"#, "Network"),
        (r#"{"Network": 7}"#, "Network"),
        (r#"{"Network": "10.3.0.0/16", "SubnetLen": 31}"#, "SubnetLen"),
        (r#"{"Network": "10.3.0.0/16", "SubnetLen": 17}"#, "SubnetLen"),
        (r#"{"Network": "10.3.0.0/16", "SubnetLen": 300}"#, "SubnetLen"),
        (r#"{"Network": "10.3.0.0/16", "SubnetLen": "24"}"#, "SubnetLen"),
        (r#"{"Network": "10.3.0.0/16", "SubnetLen": -1}"#, "SubnetLen"),
        (r#"{"Network": "10.3.0.0/16", "SubnetLen": 24.5}"#, "SubnetLen"),
        (r#"{"Network": "10.3.0.0/29"}"#, "Network"),
        (r#"{"Network": "10.3.0.0/16", "SubnetMin": "10.4.1.0"}"#, "SubnetMin"),
        (r#"{"Network": "10.3.0.0/16", "SubnetMax": "10.4.1.0"}"#, "SubnetMax"),
        (r#"{"Network": "10.3.0.0/16", "SubnetMin": "10.3.1.5"}"#, "SubnetMin"),
        (r#"{"Network": "10.3.0.0/16", "SubnetMax": "10.3.1.5"}"#, "SubnetMax"),
        (r#"{"Network": "10.3.0.0/16", "SubnetMin": "here"}"#, "SubnetMin"),
        (r#"{"Network": "10.3.0.0/16", "SubnetMin": "10.3.9.0", "SubnetMax": "10.3.8.0"}"#, "SubnetMin"),
        (r#"{"Network": "10.3.0.0/16", "EnableIPv4": 1}"#, "EnableIPv4"),
        (r#"{"Network": "10.3.0.0/16", "EnableIPv4": false}"#, "EnableIPv4"),
        (r#"{"Network": "10.3.0.0/16", "EnableNFTables": "yes"}"#, "EnableNFTables"),
        (r#"{"Network": "10.3.0.0/16", "Backend": "vxlan"}"#, "Backend"),
        (r#"{"Network": "10.3.0.0/16", "Backend": {}}"#, "Backend.Type"),
        (r#"{"Network": "10.3.0.0/16", "Backend": {"Type": ""}}"#, "Backend.Type"),
        (r#"{"Network": "10.3.0.0/16", "Backend": {"Type": 3}}"#, "Backend.Type"),
        (r#"{"Network": "10.3.0.0/16", "EnableIPv6": true}"#, "IPv6Network"),
        (r#"{"Network": "10.3.0.0/16", "EnableIPv6": true, "IPv6Network": "10.3.0.0/16"}"#, "IPv6Network"),
        (r#"{"Network": "10.3.0.0/16", "EnableIPv6": true, "IPv6Network": "::/0"}"#, "IPv6Network"),
        (r#"{"Network": "10.3.0.0/16", "EnableIPv6": true, "IPv6Network": "fc00::/125"}"#, "IPv6Network"),
        (r#"{"Network": "10.3.0.0/16", "EnableIPv6": true, "IPv6Network": "fc00::/48", "IPv6SubnetLen": 127}"#, "IPv6SubnetLen"),
        (r#"{"Network": "10.3.0.0/16", "EnableIPv6": true, "IPv6Network": "fc00::/48", "IPv6SubnetLen": 49}"#, "IPv6SubnetLen"),
        (r#"{"Network": "10.3.0.0/16", "EnableIPv6": true, "IPv6Network": "fc00::/48", "IPv6SubnetMin": "fc01::"}"#, "IPv6SubnetMin"),
        (r#"{"Network": "10.3.0.0/16", "EnableIPv6": true, "IPv6Network": "fc00::/48", "IPv6SubnetMax": "fc00::1"}"#, "IPv6SubnetMax"),
        (r#"{"Network": "10.3.0.0/16", "EnableIPv6": true, "IPv6Network": "fc00::/48", "IPv6SubnetMax": "10.3.1.0"}"#, "IPv6SubnetMax"),
        (r#"[]"#, "(top level)"),
        (r#""10.3.0.0/16""#, "(top level)"),
    ];
    for (text, key) in cases {
        assert_eq!(faulty(text), key, "{text}");
    }
}

#[test]
fn a_family_that_is_off_is_not_checked_beyond_its_types() {
    parsed(r#"{"Network": "10.3.0.0/16", "IPv6Network": "10.3.0.0/16"}"#);
    assert_eq!(faulty(r#"{"Network": "10.3.0.0/16", "IPv6SubnetLen": "64"}"#), "IPv6SubnetLen");
}

#[test]
fn errors_say_what_was_found_and_what_would_do() {
    let error = NetworkConfig::parse(r#"{"Network": "10.3.0.0/16", "SubnetLen": 31}"#).expect_err("too long");
    assert_eq!(
        error.to_string(),
        r#"SubnetLen: found 31, expected 18 to 30, so that 10.3.0.0/16 holds at least four subnets, for example "SubnetLen": 24"#
    );
}

#[test]
fn bad_json_names_line_and_column() {
    let error = NetworkConfig::parse("{\n  \"Network\": \"10.3.0.0/16\"\n  \"SubnetLen\": 24\n}").expect_err("no comma");
    assert!(matches!(error, ConfigError::Syntax { line: 3, column: 3, .. }), "{error:?}");
    assert!(matches!(NetworkConfig::parse(""), Err(ConfigError::Syntax { line: 1, .. })));
    assert!(matches!(NetworkConfig::parse(r#"{"Network": "10.3.0.0/16"} x"#), Err(ConfigError::Syntax { .. })));
}

#[test]
fn unknown_keys_are_listed_and_ignored() {
    let text = r#"{"Network": "10.3.0.0/16", "SubnetLength": 24, "enablenftables": true}"#;
    assert_eq!(parsed(text), parsed(r#"{"Network": "10.3.0.0/16"}"#));
    assert_eq!(NetworkConfig::unknown_keys(text), ["SubnetLength"]);
    assert!(NetworkConfig::unknown_keys("[").is_empty());
}
