//! What twill adds to a lease: the node's stable id, all its ways with their options, and a version of the format.
//!
//! It is written in one transaction with the lease and counts only while both have the same revision: whoever writes the lease alone (a real
//! flannel node, an operator) voids it. The JSON texts inside a way stay strings, byte for byte; unknown fields are passed over.

use serde::{Deserialize, Serialize};
use twill_guest::record::{Pair, WayRecord};
use twill_guest::store::{Lease, Lifetime, Prefixes, Subnets, Trouble, Way};

/// The only version of the format.
const VERSION: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
struct Record {
    version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    node: Option<String>,
    subnets: Pair,
    public: Pair,
    ways: Vec<WayRecord>,
}

/// The record of `lease`.
pub fn encode(lease: &Lease, subnets: &Subnets) -> Result<String, Trouble> {
    let record = Record {
        version: VERSION,
        node: lease.node.clone(),
        subnets: subnets.prefixes().into(),
        public: lease.public.clone().into(),
        ways: lease.ways.iter().cloned().map(WayRecord::from).collect(),
    };
    serde_json::to_string(&record).map_err(|error| Trouble::Invalid(format!("cannot write the lease: {error}")))
}

/// The whole lease by its record; the reason in words when it is none of just these subnets. `reserved`: the key has no term.
pub fn decode(value: &[u8], subnets: &Subnets, reserved: bool) -> Result<Lease, String> {
    let record: Record = serde_json::from_slice(value).map_err(|error| format!("not a record of twill: {error}"))?;
    if record.version != VERSION {
        return Err(format!("written in format {}, which this twill does not know", record.version));
    }
    let inside = Prefixes::from(record.subnets);
    if Subnets::parse(&inside).as_ref() != Ok(subnets) {
        return Err("the subnets inside are not those of the key".into());
    }
    Ok(Lease {
        subnets: inside,
        public: record.public.into(),
        ways: record.ways.into_iter().map(Way::from).collect(),
        node: record.node,
        life: if reserved { Lifetime::Reserved } else { Lifetime::Unknown },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use twill_guest::store::Addresses;

    fn subnets(v4: &str) -> Subnets {
        Subnets::parse(&Prefixes { v4: Some(v4.into()), v6: None }).expect("subnets")
    }

    #[test]
    fn records_go_round_and_tolerate_what_is_new() {
        let subnets = subnets("10.1.1.0/24");
        let way = Way { backend: "udp".into(), options: r#"{ "Port": 8285 }"#.into(), data_v4: None, data_v6: Some("1 ".into()) };
        let public = Addresses { v4: Some("192.0.2.1".into()), v6: None };
        let lease = Lease { subnets: subnets.prefixes(), public, ways: vec![way], node: Some("a".into()), life: Lifetime::Unknown };
        let text = encode(&lease, &subnets).expect("a record");
        assert_eq!(decode(text.as_bytes(), &subnets, false), Ok(lease));
        assert!(decode(text.replacen('{', r#"{"colour":1,"#, 1).as_bytes(), &subnets, true).is_ok());
    }

    #[test]
    fn records_of_other_subnets_and_formats_are_not_guessed_at() {
        let text = r#"{"version":1,"subnets":{"v4":"10.1.1.0/24"},"public":{"v4":"192.0.2.1"},"ways":[]}"#;
        assert!(decode(text.as_bytes(), &subnets("10.1.2.0/24"), false).expect_err("another's").contains("not those of the key"));
        let newer = text.replacen("1", "2", 1);
        assert!(decode(newer.as_bytes(), &subnets("10.1.1.0/24"), false).expect_err("newer").contains("format 2"));
    }
}
