//! What is published: flannel's bytes, a MAC that lasts, and options whose mistakes are named.

use twill_backend_vxlan::plan;
use twill_backend_vxlan::vtep::own_mac;
use twill_guest::backend::*;
use twill_guest::family::Family;

use crate::support::*;

fn advertise(options: &str, previous: Option<&Way>, existing: &[(&str, &str)]) -> Result<Way, Refusal> {
    let existing: Vec<(String, String)> = existing.iter().map(|(name, mac)| (name.to_string(), mac.to_string())).collect();
    plan::advertise(&network(), &node(), options, previous, &existing)
}

fn v4_only() -> Network {
    Network { ranges: vec!["10.10.0.0/16".into()], ..network() }
}

#[test]
fn data_have_flannels_bytes() {
    let links = [("flannel.7", "aa:42:99:be:6f:04"), ("flannel-v6.7", "1a:f5:8e:f3:09:40")];
    let way = advertise(r#"{"Type":"vxlan","VNI":7}"#, None, &links).expect("published");
    assert_eq!(way.backend, "vxlan");
    assert_eq!(way.data_v4.as_deref(), Some(r#"{"VNI":7,"VtepMAC":"aa:42:99:be:6f:04"}"#));
    assert_eq!(way.data_v6.as_deref(), Some(r#"{"VNI":7,"VtepMAC":"1a:f5:8e:f3:09:40"}"#));
    let v4 = plan::advertise(&v4_only(), &node(), "{}", None, &[]).expect("published");
    assert!(v4.data_v4.is_some() && v4.data_v6.is_none());
}

#[test]
fn options_say_what_the_node_runs_with() {
    let options =
        |json: &str| -> serde_json::Value { serde_json::from_str(&advertise(json, None, &[]).expect("published").options).expect("JSON") };
    let defaults = serde_json::json!({"VNI": 1, "Port": 8472, "GBP": false, "Learning": false, "DirectRouting": false});
    assert_eq!(options("{}"), defaults);
    assert_eq!(options(r#"{"Port":0}"#), defaults);
    let all = serde_json::json!({"VNI": 9, "Port": 4789, "GBP": true, "Learning": true, "DirectRouting": true, "MTU": 1400});
    assert_eq!(options(&all.to_string()), all);
}

#[test]
fn the_mac_is_the_published_one_else_the_links_else_the_seeds() {
    let published = way("{}", Some(OWN_V4), Some(OWN_V6));
    let links = [("flannel.1".to_string(), "0a:00:00:00:00:01".to_string()), ("eth0".to_string(), "0a:00:00:00:00:02".to_string())];
    let mac = |family, previous, links: &[_]| own_mac(family, family.pick("flannel.1", "flannel-v6.1"), previous, links, "seed");
    assert_eq!(mac(Family::V4, Some(&published), &links), "aa:f6:b2:bc:81:b1");
    assert_eq!(mac(Family::V4, None, &links), "0a:00:00:00:00:01");
    let (v4, v6) = (mac(Family::V4, None, &[]), mac(Family::V6, None, &links));
    assert_ne!(v4, v6);
    assert_eq!(v4, mac(Family::V4, None, &[]), "the same after a restart");
    assert_ne!(v4, own_mac(Family::V4, "flannel.1", None, &[], "another seed"));
    for mac in [v4, v6] {
        let first = u8::from_str_radix(&mac[..2], 16).expect("hex");
        assert_eq!((first & 3, mac.len()), (2, 17), "{mac} is locally administered and unicast");
    }
}

#[test]
fn a_spoilt_previous_way_or_link_is_passed_over() {
    let broken = way("{}", Some(r#"{"VtepMAC":"zz"}"#), None);
    let link = ("flannel.1".to_string(), "0a:00:00:00:00:01".to_string());
    assert_eq!(own_mac(Family::V4, "flannel.1", Some(&broken), std::slice::from_ref(&link), "seed"), link.1);
    let zero = ("flannel.1".to_string(), "00:00:00:00:00:00".to_string());
    assert_eq!(own_mac(Family::V4, "flannel.1", None, &[zero], "seed"), own_mac(Family::V4, "flannel.1", None, &[], "seed"));
}

#[test]
fn wrong_options_are_named_by_their_key() {
    let wrong = |options: &str| invalid(advertise(options, None, &[]));
    assert_eq!(wrong(r#"{"VNI":0}"#), "Backend.VNI must be a whole number from 1 to 16777215, not 0");
    assert_eq!(wrong(r#"{"VNI":"1"}"#), r#"Backend.VNI must be a whole number from 1 to 16777215, not "1""#);
    assert_eq!(wrong(r#"{"Port":65536}"#), "Backend.Port must be a whole number from 0 to 65535, not 65536");
    assert_eq!(wrong(r#"{"MTU":0}"#), "Backend.MTU must be a whole number from 626 to 65535, not 0");
    assert_eq!(wrong(r#"{"DirectRouting":"yes"}"#), r#"Backend.DirectRouting must be true or false, not "yes""#);
    assert_eq!(wrong(r#"{"Learning":1}"#), "Backend.Learning must be true or false, not 1");
    assert_eq!(wrong(r#"{"GBP":[]}"#), "Backend.GBP must be true or false, not a list");
}

#[test]
fn a_links_name_must_fit_into_the_kernels_field() {
    let told = invalid(advertise(r#"{"VNI":10000}"#, None, &[]));
    let golden = "Backend.VNI must be at most 9999 with IPv6, not 10000: the link's name flannel-v6.10000 is longer than 15 bytes";
    assert_eq!(told, golden);
    assert!(advertise(r#"{"VNI":9999}"#, None, &[]).is_ok());
    let v4 = |vni: u32| plan::advertise(&v4_only(), &node(), &format!(r#"{{"VNI":{vni}}}"#), None, &[]);
    assert!(v4(9_999_999).is_ok());
    assert!(invalid(v4(10_000_000)).starts_with("Backend.VNI must be at most 9999999 with IPv4"));
}

#[test]
fn a_node_without_an_address_of_the_networks_family_is_refused() {
    let bare = Node { public: Addresses { v6: None, ..node().public }, ..node() };
    assert_eq!(unsuitable(plan::advertise(&network(), &bare, "{}", None, &[])), "this node has no public IPv6 address");
    assert!(plan::advertise(&v4_only(), &bare, "{}", None, &[]).is_ok());
}

#[test]
fn the_schema_is_json_and_names_every_option() {
    let schema: serde_json::Value = serde_json::from_str(twill_backend_vxlan::options::SCHEMA).expect("JSON");
    for key in ["VNI", "Port", "MTU", "GBP", "Learning", "DirectRouting"] {
        assert!(schema["properties"][key]["type"].is_string(), "{key}");
    }
}
