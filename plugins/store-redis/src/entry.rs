//! A lease as it is stored: its subnets are its name, everything else a JSON object that tolerates what is new; version and time left are Redis's.

use serde::{Deserialize, Serialize};
use twill_guest::record::{Pair, WayRecord};
use twill_guest::store::{Addresses, Held, Lease, Lifetime, Subnets, Trouble};

use crate::redis::{ONE, Redis};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Stored {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    node: Option<String>,
    public: Pair,
    ways: Vec<WayRecord>,
    /// The term that it was written for, in seconds; none: a reservation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    term: Option<u32>,
}

/// A lease with what Redis knows of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Its subnets.
    pub subnets: Subnets,
    /// The lease; why it is none, when another hand wrote something else there.
    pub lease: Result<Lease, String>,
    /// The term that it was written for, in seconds.
    pub term: Option<u32>,
    /// The number of its last write.
    pub version: String,
}

/// The value of a lease that is written for a term in seconds.
///
/// # Errors
/// It cannot be written as JSON, which no lease of the host's is.
pub fn value(lease: &Lease, term: Option<u32>) -> Result<String, Trouble> {
    let Lease { node, public, ways, .. } = lease.clone();
    let stored = Stored { node, public: public.into(), ways: ways.into_iter().map(WayRecord::from).collect(), term };
    serde_json::to_string(&stored).map_err(|error| Trouble::Invalid(format!("cannot write the lease: {error}")))
}

impl Entry {
    /// From the fields that a script answers with; none where there is no lease. The error is the name of something that is no lease's.
    pub fn of(name: &str, fields: &[String]) -> Result<Option<Entry>, String> {
        let [value, left, version] = fields else { return Err(format!("{name}: the script's answer is short")) };
        if version.is_empty() && value.is_empty() {
            return Ok(None);
        }
        let subnets = Subnets::from_name(name).ok_or_else(|| format!("{name} is not the name of a lease"))?;
        let stored: Result<Stored, String> = serde_json::from_str(value).map_err(|error| format!("not a lease: {error}"));
        let life = match left.parse::<u64>() {
            Ok(left) => Lifetime::Seconds(u32::try_from(left / 1_000).unwrap_or(u32::MAX)),
            Err(_) => Lifetime::Reserved,
        };
        let term = stored.as_ref().ok().and_then(|stored| stored.term);
        let lease = stored.map(|Stored { node, public, ways, .. }| {
            let public: Addresses = public.into();
            Lease { subnets: subnets.prefixes(), public, ways: ways.into_iter().map(Into::into).collect(), node, life }
        });
        Ok(Some(Entry { subnets, lease, term, version: version.clone() }))
    }

    /// True for a reservation.
    pub fn is_reserved(&self) -> bool {
        self.lease.as_ref().is_ok_and(|lease| lease.life == Lifetime::Reserved)
    }

    /// True when the node of `other` owns it: by id, or where there is none by public address.
    pub fn belongs_to(&self, other: &Lease) -> bool {
        self.lease.as_ref().is_ok_and(|lease| match &lease.node {
            Some(node) => other.node.as_ref() == Some(node),
            None => lease.public == other.public || (lease.public.v4.is_some() && lease.public.v4 == other.public.v4),
        })
    }

    /// Who holds it, in words.
    pub fn owner(&self) -> String {
        match &self.lease {
            Err(reason) => format!("something that is {reason}"),
            Ok(lease) => {
                let address = lease.public.v4.as_ref().or(lease.public.v6.as_ref()).map_or("no address", String::as_str);
                lease.node.as_ref().map_or_else(|| format!("the node at {address}"), |node| format!("node {node} at {address}"))
            }
        }
    }
}

/// The lease of just these subnets.
///
/// # Errors
/// Redis cannot be asked.
pub fn look(redis: &Redis, subnets: &Subnets) -> Result<Option<Entry>, Trouble> {
    let name = subnets.name();
    Entry::of(&name, &redis.run(ONE, &[&name])?).map_err(Trouble::Retry)
}

/// A lease that this node has just written.
pub fn held(lease: Lease, version: &str, reserved: bool, term: Option<u32>) -> Held {
    let life = if reserved { Lifetime::Reserved } else { term.map_or(Lifetime::Unknown, Lifetime::Seconds) };
    Held { lease: Lease { life, ..lease }, token: version.to_owned() }
}

#[cfg(test)]
mod tests {
    use twill_guest::store::{Prefixes, Way};

    use super::*;

    fn lease() -> Lease {
        let way = Way { backend: "vxlan".into(), options: r#"{"VNI": 1}"#.into(), data_v4: Some(r#"{ "x":"ä"}"#.into()), data_v6: None };
        Lease {
            subnets: Prefixes { v4: Some("10.1.2.0/24".into()), v6: None },
            public: Addresses { v4: Some("192.0.2.1".into()), v6: None },
            ways: vec![way],
            node: Some("a".into()),
            life: Lifetime::Seconds(60),
        }
    }

    fn entry(value: &str, left: &str) -> Entry {
        Entry::of("10.1.2.0-24", &[value.into(), left.into(), "7".into()]).expect("a lease's name").expect("an entry")
    }

    #[test]
    fn a_lease_goes_round_byte_for_byte() {
        let text = value(&lease(), Some(60)).expect("a value");
        let found = entry(&text, "60999");
        assert_eq!((found.lease, found.term, found.version.as_str()), (Ok(lease()), Some(60), "7"));
        assert!(entry(&text, "").is_reserved());
    }

    #[test]
    fn what_is_no_lease_is_told() {
        assert!(entry("x", "1").lease.is_err_and(|why| why.starts_with("not a lease")));
        assert_eq!(Entry::of("10.1.2.0-24", &["".into(), "".into(), "".into()]), Ok(None));
        assert!(Entry::of("10.1.2.3-24", &["{}".into(), "".into(), "1".into()]).is_err());
    }

    #[test]
    fn owners_are_known_by_id_and_else_by_address() {
        let found = entry(&value(&lease(), None).expect("a value"), "");
        assert!(found.belongs_to(&lease()));
        assert!(!found.belongs_to(&Lease { node: Some("b".into()), ..lease() }));
        let nameless = entry(&value(&Lease { node: None, ..lease() }, None).expect("a value"), "");
        assert!(nameless.belongs_to(&Lease { node: Some("b".into()), ..lease() }));
    }
}
