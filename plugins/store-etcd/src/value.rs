//! The value of a lease in flannel's shape, byte for byte as flannel writes it, and read as flannel reads it. Pure.
//!
//! Fields in order: `PublicIP`, `PublicIPv6` (always there, perhaps `null`), `BackendType`, `BackendData`, `BackendV6Data` (left out when empty). The backends' data
//! pass through verbatim. Reading, names match whatever their case and unknown ones are passed over.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use serde_json::value::RawValue;
use twill_guest::store::{Addresses, Lease, Lifetime, Subnets, Trouble, Way};

/// The types that flannel leaves out.
const UNTYPED: [&str; 3] = ["udp", "alloc", "tencent-vpc"];

/// The value of `lease`. Refuses what flannel could not read.
pub fn encode(lease: &Lease) -> Result<String, Trouble> {
    let public: Option<Ipv4Addr> = lease.public.v4.as_deref().and_then(|text| text.parse().ok());
    let public = public
        .ok_or_else(|| Trouble::Invalid("a lease with an IPv4 subnet needs a public IPv4 address: flannel's nodes read no other".into()))?;
    let public_v6 = match lease.public.v6.as_deref().map(str::parse::<Ipv6Addr>) {
        None => "null".into(),
        Some(Ok(address)) => format!("\"{address}\""),
        Some(Err(_)) => return Err(Trouble::Invalid("the public IPv6 address is none".into())),
    };
    let mut value = format!("{{\"PublicIP\":\"{public}\",\"PublicIPv6\":{public_v6}");
    if let Some(way) = lease.ways.first() {
        if !way.backend.is_empty() && !UNTYPED.contains(&way.backend.as_str()) {
            value += &format!(",\"BackendType\":{}", serde_json::Value::from(way.backend.as_str()));
        }
        for (name, data) in [("BackendData", &way.data_v4), ("BackendV6Data", &way.data_v6)] {
            if let Some(data) = data.as_deref().filter(|data| !data.is_empty()) {
                value += &format!(",\"{name}\":{}", json(name, data)?);
            }
        }
    }
    Ok(value + "}")
}

fn json<'a>(name: &str, data: &'a str) -> Result<&'a str, Trouble> {
    let readable = serde_json::from_str::<&RawValue>(data).is_ok();
    readable.then_some(data).ok_or_else(|| Trouble::Invalid(format!("the {name} of the first way is not JSON")))
}

/// The lease that a value is; the reason in words when it is none. `reserved`: the key has no term.
pub fn decode(value: &[u8], subnets: &Subnets, reserved: bool) -> Result<Lease, String> {
    let fields: BTreeMap<String, &RawValue> = serde_json::from_slice(value).map_err(|error| format!("not a lease: {error}"))?;
    let v4 = match field(&fields, "PublicIP") {
        None => None,
        Some(raw) => Some(string(raw)?.parse::<Ipv4Addr>().map_err(|_| format!("its PublicIP is no IPv4 address: {}", raw.get()))?),
    };
    let v6 = match field(&fields, "PublicIPv6").filter(|raw| raw.get() != "null") {
        None => None,
        Some(raw) => Some(string(raw)?.parse::<Ipv6Addr>().map_err(|_| format!("its PublicIPv6 is no IPv6 address: {}", raw.get()))?),
    };
    let v4 = v4.filter(|address| !address.is_unspecified());
    if v4.is_none() && v6.is_none() {
        return Err("it names no public address".into());
    }
    let public = Addresses { v4: v4.map(|address| address.to_string()), v6: v6.map(|address| address.to_string()) };
    let way = way(&fields)?;
    let unused = reserved && way.backend.is_empty() && way.data_v4.is_none() && way.data_v6.is_none();
    let life = if reserved { Lifetime::Reserved } else { Lifetime::Unknown };
    Ok(Lease { subnets: subnets.prefixes(), public, ways: if unused { vec![] } else { vec![way] }, node: None, life })
}

fn way(fields: &BTreeMap<String, &RawValue>) -> Result<Way, String> {
    let given = |name: &str| field(fields, name).filter(|raw| raw.get() != "null");
    let data = |name: &str| given(name).map(|raw| raw.get().to_owned());
    let backend = given("BackendType").map(string).transpose()?.unwrap_or_default();
    Ok(Way { backend, options: "{}".into(), data_v4: data("BackendData"), data_v6: data("BackendV6Data") })
}

/// The field of that name: the exact spelling first, else whatever its case.
fn field<'a>(fields: &BTreeMap<String, &'a RawValue>, name: &str) -> Option<&'a RawValue> {
    let loose = || fields.iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, raw)| *raw);
    fields.get(name).copied().or_else(loose)
}

fn string(raw: &RawValue) -> Result<String, String> {
    serde_json::from_str(raw.get()).map_err(|_| format!("it has {} where a text should be", raw.get()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use twill_guest::store::Prefixes;

    fn subnets() -> Subnets {
        Subnets::parse(&Prefixes { v4: Some("10.10.66.0/24".into()), v6: None }).expect("subnets")
    }

    fn lease(public: (&str, Option<&str>), backend: &str, data: (Option<&str>, Option<&str>)) -> Lease {
        let way = Way { backend: backend.into(), options: "{}".into(), data_v4: data.0.map(Into::into), data_v6: data.1.map(Into::into) };
        let public = Addresses { v4: Some(public.0.into()), v6: public.1.map(Into::into) };
        Lease { subnets: subnets().prefixes(), public, ways: vec![way], node: None, life: Lifetime::Unknown }
    }

    /// Values as flannel was seen to write them.
    fn goldens() -> [(Lease, &'static str); 6] {
        let vxlan = r#"{"VNI":1,"VtepMAC":"aa:f6:b2:bc:81:b1"}"#;
        let dual = (Some(r#"{"VNI":7,"VtepMAC":"aa:42:99:be:6f:04"}"#), Some(r#"{"VNI":7,"VtepMAC":"1a:f5:8e:f3:09:40"}"#));
        let keys = (Some(r#"{"PublicKey":"AAAA","Port":51820}"#), Some(r#"{"PublicKey":"AAAA","Port":51821}"#));
        [
            (
                lease(("10.98.0.1", None), "vxlan", (Some(vxlan), None)),
                r#"{"PublicIP":"10.98.0.1","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"aa:f6:b2:bc:81:b1"}}"#,
            ),
            (
                lease(("10.98.0.1", Some("fd98::1")), "vxlan", dual),
                r#"{"PublicIP":"10.98.0.1","PublicIPv6":"fd98::1","BackendType":"vxlan","BackendData":{"VNI":7,"VtepMAC":"aa:42:99:be:6f:04"},"BackendV6Data":{"VNI":7,"VtepMAC":"1a:f5:8e:f3:09:40"}}"#,
            ),
            (lease(("10.98.0.2", None), "host-gw", (None, None)), r#"{"PublicIP":"10.98.0.2","PublicIPv6":null,"BackendType":"host-gw"}"#),
            (
                lease(("10.98.0.2", None), "extension", (Some(r#""key""#), None)),
                r#"{"PublicIP":"10.98.0.2","PublicIPv6":null,"BackendType":"extension","BackendData":"key"}"#,
            ),
            (
                lease(("1.2.3.4", Some("fd00::1")), "wireguard", keys),
                r#"{"PublicIP":"1.2.3.4","PublicIPv6":"fd00::1","BackendType":"wireguard","BackendData":{"PublicKey":"AAAA","Port":51820},"BackendV6Data":{"PublicKey":"AAAA","Port":51821}}"#,
            ),
            (lease(("1.2.3.4", None), "", (None, None)), r#"{"PublicIP":"1.2.3.4","PublicIPv6":null}"#),
        ]
    }

    #[test]
    fn values_are_flannels_byte_for_byte_and_back() {
        for (lease, golden) in goldens() {
            assert_eq!(encode(&lease).expect("a value"), golden);
            assert_eq!(decode(golden.as_bytes(), &subnets(), false), Ok(lease));
        }
    }

    #[test]
    fn some_types_are_left_out() {
        for backend in ["udp", "alloc"] {
            let untyped = lease(("1.2.3.4", None), backend, (None, None));
            assert_eq!(encode(&untyped).expect("a value"), r#"{"PublicIP":"1.2.3.4","PublicIPv6":null}"#);
        }
    }

    #[test]
    fn names_match_whatever_their_case_and_unknown_ones_are_passed_over() {
        let value = br#" {"publicip":"1.2.3.4","colour":{"a":[1]},"BACKENDTYPE":"vxlan","BackendData":{"VNI": 1} } "#;
        assert_eq!(decode(value, &subnets(), false), Ok(lease(("1.2.3.4", None), "vxlan", (Some(r#"{"VNI": 1}"#), None))));
    }

    #[test]
    fn what_flannel_cannot_read_is_no_lease() {
        for value in [
            r#"{"PublicIP":""}"#,
            r#"{"PublicIP":null}"#,
            r#"{"PublicIP":"fd00::1"}"#,
            r#"{"PublicIP":1}"#,
            "",
            "[]",
            "{}",
            "\u{0}",
            r#"{"PublicIP":"1.2.3.4","PublicIPv6":"x"}"#,
            r#"{"PublicIP":"1.2.3.4","BackendType":7}"#,
            r#"{"PublicIP":"1.2.3.4""#,
            r#"{"PublicIP":"1.2.3.4/24"}"#,
        ] {
            assert!(decode(value.as_bytes(), &subnets(), false).is_err(), "{value}");
        }
    }

    #[test]
    fn what_flannel_cannot_read_is_never_written() {
        let no_v4 = Lease { public: Addresses { v4: None, v6: Some("fd00::1".into()) }, ..lease(("1.2.3.4", None), "udp", (None, None)) };
        assert!(matches!(encode(&no_v4), Err(Trouble::Invalid(_))));
        assert!(matches!(encode(&lease(("1.2.3.4", None), "vxlan", (Some("{"), None))), Err(Trouble::Invalid(_))));
    }

    #[test]
    fn a_plain_value_without_a_term_is_a_reservation_that_nobody_uses() {
        let reserved = decode(br#"{"PublicIP":"1.2.3.4"}"#, &subnets(), true).expect("a lease");
        assert_eq!((reserved.ways, reserved.life), (vec![], Lifetime::Reserved));
        let used = decode(br#"{"PublicIP":"1.2.3.4","BackendType":"host-gw"}"#, &subnets(), true).expect("a lease");
        assert_eq!((used.ways.len(), used.life), (1, Lifetime::Reserved));
    }
}
