//! A snapshot as JSON, part by part. Each snapshot is encoded once, however many clients read or follow it; the stream compares parts by
//! their bytes and sends those that changed.

use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Bytes;
use serde::Serialize;
use twill_model::status::{ItemStatus, Snapshot};

/// The parts of a snapshot as JSON texts: the fields of [`Snapshot`], and one that is made of them.
pub struct Encoded {
    pub node: Bytes,
    pub leases: Bytes,
    pub paths: Bytes,
    pub state: Bytes,
    pub plugins: Bytes,
    pub tunnels: Bytes,
    events: Bytes,
    pub network: Bytes,
    work: Bytes,
    /// The items of kind "route".
    pub routes: Bytes,
}

impl Encoded {
    fn of(snapshot: &Snapshot) -> Encoded {
        let routes: Vec<&ItemStatus> = snapshot.state.iter().filter(|item| item.kind == "route").collect();
        Encoded {
            node: json(&snapshot.node),
            leases: json(&snapshot.leases),
            paths: json(&snapshot.paths),
            state: json(&snapshot.state),
            plugins: json(&snapshot.plugins),
            tunnels: json(&snapshot.tunnels),
            events: json(&snapshot.events),
            network: json(&snapshot.network),
            work: json(&snapshot.work),
            routes: json(&routes),
        }
    }

    /// Name and JSON of each field of [`Snapshot`], in its order.
    fn parts(&self) -> [(&'static str, &Bytes); 9] {
        [
            ("node", &self.node),
            ("leases", &self.leases),
            ("paths", &self.paths),
            ("state", &self.state),
            ("plugins", &self.plugins),
            ("tunnels", &self.tunnels),
            ("events", &self.events),
            ("network", &self.network),
            ("work", &self.work),
        ]
    }

    /// The whole snapshot as one object.
    pub fn whole(&self) -> Vec<u8> {
        let members = self.parts().into_iter().map(|(name, text)| member(name, text));
        object(members)
    }

    /// What differs from `before` (everything when there is none) as one object, together with the time that this node's clock shows, in
    /// milliseconds since the Unix epoch.
    pub fn changes(&self, before: Option<&Encoded>, at_ms: u64) -> Vec<u8> {
        let known = before.map(Encoded::parts);
        let changed = self.parts().into_iter().enumerate().filter(move |(i, (_, text))| known.is_none_or(|known| known[*i].1 != *text));
        let clock = member("at_ms", at_ms.to_string().as_bytes());
        object(std::iter::once(clock).chain(changed.map(|(_, (name, text))| member(name, text))))
    }

    /// True when every part is the same.
    pub fn same(&self, other: &Encoded) -> bool {
        self.parts() == other.parts()
    }
}

/// Encodes each snapshot once: it keeps the newest.
#[derive(Default)]
pub struct Encoder {
    newest: Mutex<Option<(Arc<Snapshot>, Arc<Encoded>)>>,
}

impl Encoder {
    /// The snapshot's JSON.
    pub fn encode(&self, snapshot: &Arc<Snapshot>) -> Arc<Encoded> {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        match &*newest {
            Some((known, encoded)) if Arc::ptr_eq(known, snapshot) => encoded.clone(),
            _ => newest.insert((snapshot.clone(), Arc::new(Encoded::of(snapshot)))).1.clone(),
        }
    }
}

fn json(value: &impl Serialize) -> Bytes {
    serde_json::to_vec(value).expect("a snapshot has text keys only").into()
}

fn member(name: &str, value: &[u8]) -> Vec<u8> {
    [b"\"", name.as_bytes(), b"\":", value].concat()
}

fn object(members: impl Iterator<Item = Vec<u8>>) -> Vec<u8> {
    let members: Vec<Vec<u8>> = members.collect();
    [b"{".as_slice(), &members.join(b",".as_slice()), b"}"].concat()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json, to_value};

    use super::*;

    fn parse(text: &[u8]) -> Value {
        serde_json::from_slice(text).expect("JSON")
    }

    #[test]
    fn the_parts_make_up_the_snapshot() {
        let snapshot = Snapshot::default();
        let whole = parse(&Encoded::of(&snapshot).whole());
        assert_eq!(whole, to_value(&snapshot).expect("JSON"));
    }

    #[test]
    fn changes_hold_the_clock_and_what_differs() {
        let old = Snapshot::default();
        let mut new = old.clone();
        new.node.hostname = "a".into();
        let (old, new) = (Encoded::of(&old), Encoded::of(&new));
        assert!(!new.same(&old));
        let changes = parse(&new.changes(Some(&old), 7));
        assert_eq!(changes["at_ms"], json!(7));
        assert_eq!(changes["node"]["hostname"], json!("a"));
        assert_eq!(changes.as_object().expect("an object").len(), 2);
        assert_eq!(parse(&new.changes(Some(&new), 7)), json!({ "at_ms": 7 }));
    }

    #[test]
    fn a_snapshot_is_encoded_once() {
        let encoder = Encoder::default();
        let snapshot = Arc::new(Snapshot::default());
        assert!(Arc::ptr_eq(&encoder.encode(&snapshot), &encoder.encode(&snapshot)));
        assert!(!Arc::ptr_eq(&encoder.encode(&snapshot), &encoder.encode(&Arc::new(Snapshot::default()))));
    }
}
