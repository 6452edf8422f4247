//! From keys to leases: joins a lease with our record of it where both were written at once, and names what is odd. Pure.
//!
//! And back: the steps that write both.

use std::collections::BTreeMap;

use twill_guest::store::{Lease, Oddity, Subnets, Trouble};

use crate::key::{Kind, Layout};
use crate::wire::{KeyValue, Step};
use crate::{record, value};

/// Who has some subnets.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The key.
    pub place: String,
    /// The subnets.
    pub subnets: Subnets,
    /// The lease, or why it is none; its life is `reserved` or `unknown`.
    pub lease: Result<Lease, String>,
    /// The revision of the key.
    pub revision: i64,
    /// The etcd lease that it ends with; 0: none.
    pub etcd_lease: i64,
}

/// What some keys are together.
#[derive(Debug, Default)]
pub struct Entries {
    /// All that stands for subnets, also what cannot be read.
    pub entries: Vec<Entry>,
    /// All that should be a lease or a record and is not.
    pub oddities: Vec<Oddity>,
}

/// Sorts keys. Of one key at most one state may be among them.
pub fn entries(layout: &Layout, found: &[KeyValue]) -> Entries {
    let mut all = Entries::default();
    let kinds: Vec<(Kind, &KeyValue)> = found.iter().map(|kv| (layout.kind(&kv.key.0), kv)).collect();
    let records: BTreeMap<Subnets, &KeyValue> =
        kinds.iter().filter_map(|(kind, kv)| if let Kind::Record(subnets) = kind { Some((*subnets, *kv)) } else { None }).collect();
    for (kind, kv) in kinds {
        match kind {
            Kind::Lease(subnets) => {
                let beside = records.get(&subnets).filter(|record| record.mod_revision == kv.mod_revision);
                let lease = value::decode(&kv.value.0, &subnets, kv.lease == 0);
                let lease = lease.map(|plain| beside.and_then(|record| all.recorded(record, &subnets)).unwrap_or(plain));
                all.add(kv, subnets, lease);
            }
            Kind::Record(subnets) if !subnets.has_v4() => all.add(kv, subnets, record::decode(&kv.value.0, &subnets, kv.lease == 0)),
            Kind::Odd(odd) => match odd.blocks {
                Some(subnets) => all.add(kv, subnets, Err(odd.reason)),
                None => all.oddities.push(Oddity { place: kv.key.words(), reason: odd.reason }),
            },
            _ => {}
        }
    }
    all
}

impl Entries {
    fn add(&mut self, kv: &KeyValue, subnets: Subnets, lease: Result<Lease, String>) {
        if let Err(reason) = &lease {
            self.oddities.push(Oddity { place: kv.key.words(), reason: reason.clone() });
        }
        self.entries.push(Entry { place: kv.key.words(), subnets, lease, revision: kv.mod_revision, etcd_lease: kv.lease });
    }

    fn recorded(&mut self, record: &KeyValue, subnets: &Subnets) -> Option<Lease> {
        record::decode(&record.value.0, subnets, record.lease == 0)
            .map_err(|reason| self.oddities.push(Oddity { place: record.key.words(), reason }))
            .ok()
    }

    /// The entry of just these subnets.
    pub fn at(&self, subnets: &Subnets) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.subnets == *subnets)
    }
}

impl Entry {
    /// True when it is the lease of `other`'s node: by id, or by public address where it has no id.
    pub fn belongs_to(&self, other: &Lease) -> bool {
        match self.lease.as_ref().map(|lease| &lease.node) {
            Ok(Some(owner)) => Some(owner) == other.node.as_ref(),
            Ok(None) => self.same_public(other),
            Err(_) => false,
        }
    }

    /// True when both have the same public address (IPv4 where there is one, as flannel compares).
    pub fn same_public(&self, other: &Lease) -> bool {
        let Ok(lease) = &self.lease else { return false };
        match (&lease.public.v4, &other.public.v4) {
            (None, None) => lease.public.v6.is_some() && lease.public.v6 == other.public.v6,
            (ours, theirs) => ours == theirs,
        }
    }

    /// Who has it, in words.
    pub fn owner(&self) -> String {
        let lease = match &self.lease {
            Ok(lease) => lease,
            Err(reason) => return format!("the key {}, which nobody can read: {reason}", self.place),
        };
        let public = lease.public.v4.as_deref().or(lease.public.v6.as_deref()).unwrap_or("an unknown address");
        lease.node.as_ref().map_or_else(|| format!("the node at {public}"), |node| format!("node {node} at {public}"))
    }

    /// True when it has no term.
    pub fn is_reserved(&self) -> bool {
        self.etcd_lease == 0
    }
}

/// The steps that write `lease` for `subnets`, both keys of it, ending with that etcd lease.
pub fn writes(layout: &Layout, subnets: &Subnets, lease: &Lease, etcd_lease: i64) -> Result<Vec<Step>, Trouble> {
    let put = |key: String, value: String| Step::Put { key: key.into(), value: value.into(), lease: etcd_lease };
    let mut steps = Vec::new();
    if subnets.has_v4() {
        steps.push(put(layout.place(subnets), value::encode(lease)?));
    }
    // Without an id it is as a flannel node has it, and needs no record.
    if lease.node.is_some() || !subnets.has_v4() {
        steps.push(put(layout.record(subnets), record::encode(lease, subnets)?));
    } else {
        steps.push(Step::Delete { key: layout.record(subnets).into() });
    }
    Ok(steps)
}

/// The steps that remove the lease of `subnets` at `place`.
pub fn removals(layout: &Layout, place: &str, subnets: &Subnets) -> Vec<Step> {
    let mut keys = vec![place.to_owned(), layout.record(subnets)];
    keys.dedup();
    keys.into_iter().map(|key| Step::Delete { key: key.into() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Bytes;
    use twill_guest::store::{Addresses, Lifetime, Prefixes, Way};

    fn layout() -> Layout {
        Layout::new("/n").expect("a prefix")
    }

    fn lease() -> Lease {
        let way = Way { backend: "udp".into(), options: r#"{"Port":7}"#.into(), data_v4: None, data_v6: None };
        Lease {
            subnets: Prefixes { v4: Some("10.1.1.0/24".into()), v6: None },
            public: Addresses { v4: Some("192.0.2.1".into()), v6: None },
            ways: vec![way],
            node: Some("a".into()),
            life: Lifetime::Unknown,
        }
    }

    /// What a store holds after these steps at `revision`.
    fn kvs(steps: Vec<Step>, revision: i64) -> Vec<KeyValue> {
        let put = |step| match step {
            Step::Put { key, value, lease } => Some(KeyValue { key, value, mod_revision: revision, lease }),
            _ => None,
        };
        steps.into_iter().filter_map(put).collect()
    }

    fn written() -> Vec<KeyValue> {
        let subnets = Subnets::parse(&lease().subnets).expect("subnets");
        kvs(writes(&layout(), &subnets, &lease(), 9).expect("steps"), 5)
    }

    #[test]
    fn a_lease_and_its_record_are_one() {
        let all = entries(&layout(), &written());
        assert_eq!(all.entries.len(), 1);
        assert_eq!(all.entries[0].lease, Ok(lease()));
        assert_eq!((all.entries[0].revision, all.entries[0].etcd_lease), (5, 9));
        assert!(all.oddities.is_empty());
    }

    #[test]
    fn a_record_counts_only_while_the_lease_was_written_with_it() {
        let mut kvs = written();
        kvs[0].mod_revision = 6;
        let all = entries(&layout(), &kvs);
        let seen = all.entries[0].lease.as_ref().expect("flannel's");
        assert_eq!((&seen.node, seen.ways[0].backend.as_str(), seen.ways[0].options.as_str()), (&None, "", "{}"));
        kvs.remove(0);
        assert!(entries(&layout(), &kvs).entries.is_empty(), "a record alone is no lease");
    }

    #[test]
    fn a_broken_record_costs_nothing_but_itself() {
        let mut kvs = written();
        kvs[1].value = Bytes(b"{".to_vec());
        let all = entries(&layout(), &kvs);
        assert!(all.entries[0].lease.as_ref().is_ok_and(|lease| lease.node.is_none()));
        assert_eq!(all.oddities[0].place, "/n/twill/nodes/10.1.1.0-24");
    }

    #[test]
    fn what_nobody_can_read_is_named_and_keeps_its_subnet() {
        let odd =
            |key: &str, value: &str| KeyValue { key: key.to_owned().into(), value: value.to_owned().into(), mod_revision: 2, lease: 0 };
        let mut kvs = written();
        kvs.push(odd("/n/subnets/10.1.2.0-24", r#"{"PublicIP":""}"#));
        kvs.push(odd("/n/subnets/garbage", "x"));
        kvs.push(odd("/n/elsewhere", "x"));
        let all = entries(&layout(), &kvs);
        let places: Vec<&str> = all.oddities.iter().map(|odd| odd.place.as_str()).collect();
        assert_eq!(places, ["/n/subnets/10.1.2.0-24", "/n/subnets/garbage"]);
        assert_eq!(all.entries.iter().filter(|entry| entry.lease.is_err()).count(), 1);
        assert!(all.entries.iter().any(|entry| entry.lease == Ok(lease())));
    }

    #[test]
    fn without_ipv4_the_record_is_the_lease_and_flannel_sees_nothing() {
        let subnets = Prefixes { v4: None, v6: Some("fd10::/64".into()) };
        let lease = Lease { subnets: subnets.clone(), public: Addresses { v4: None, v6: Some("fd98::1".into()) }, ..lease() };
        let steps = writes(&layout(), &Subnets::parse(&subnets).expect("subnets"), &lease, 0).expect("steps");
        let kvs = kvs(steps, 5);
        assert_eq!(kvs.iter().map(|kv| kv.key.words()).collect::<Vec<_>>(), ["/n/twill/nodes/fd10::-64"]);
        assert_eq!(entries(&layout(), &kvs).entries[0].lease, Ok(Lease { life: Lifetime::Reserved, ..lease }));
    }
}
