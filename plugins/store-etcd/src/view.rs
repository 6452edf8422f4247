//! Reading: everything at one revision. And writing the config, if it still is what the change was made from.

use twill_guest::store::{Oddity, Snapshot, Trouble};

use crate::cursor::Cursor;
use crate::entry::{Entries, entries};
use crate::etcd::{Etcd, list, range, transact};
use crate::key::Layout;
use crate::wire::{Compare, Found, Range, Step, Transaction};

/// Everything, and the cursor to go on from. `by` is who marks the store, should it have no mark yet.
pub fn read(etcd: &impl Etcd, layout: &Layout, by: &str) -> Result<Snapshot, Trouble> {
    let marker = mark(etcd, layout, by)?;
    let found = list(etcd, layout.all())?;
    let identity = identity(&found, &marker);
    let Entries { entries, mut oddities } = entries(layout, &found.kvs);
    let config = found.kvs.iter().find(|kv| kv.key.0 == layout.config().into_bytes());
    let config = config.and_then(|kv| text(&kv.value.0).map_err(|reason| oddities.push(Oddity { place: layout.config(), reason })).ok());
    let leases = entries.into_iter().filter_map(|entry| entry.lease.ok()).collect();
    let cursor = Cursor { revision: found.header.revision, identity: identity.clone() };
    Ok(Snapshot { config, leases, oddities, cursor: cursor.encode(), identity })
}

/// The store's identity: etcd's id for the cluster, which a new one with the same members may have too, and our mark.
fn identity(answer: &Found, marker: &str) -> String {
    format!("{}/{marker}", answer.header.cluster_id)
}

/// The config's text.
pub fn text(value: &[u8]) -> Result<String, String> {
    String::from_utf8(value.to_vec()).map_err(|_| "not UTF-8 text".into())
}

/// Revision and identity of the store now.
pub fn head(etcd: &impl Etcd, layout: &Layout) -> Result<Cursor, Trouble> {
    let found = range(etcd, &Range::one(layout.marker()))?;
    let marker = found.kvs.first().map(|kv| kv.value.words()).unwrap_or_default();
    Ok(Cursor { revision: found.header.revision, identity: identity(&found, &marker) })
}

/// The store's mark, which the first to look makes. A user who may not make it goes without.
fn mark(etcd: &impl Etcd, layout: &Layout, by: &str) -> Result<String, Trouble> {
    let text = format!("{{\"made\":{},\"by\":{}}}", etcd.now() as u64, serde_json::Value::from(by));
    let found = range(etcd, &Range::one(layout.marker()))?;
    if let Some(marker) = found.kvs.first() {
        return Ok(marker.value.words());
    }
    let made = transact(
        etcd,
        &Transaction {
            compare: vec![Compare::absent(layout.marker())],
            success: vec![Step::Put { key: layout.marker().into(), value: text.clone().into(), lease: 0 }],
            failure: vec![Step::Read(Range::one(layout.marker()))],
        },
    );
    match made {
        Ok(outcome) if outcome.succeeded => Ok(text),
        Ok(outcome) => Ok(outcome.read().first().map(|kv| kv.value.words()).unwrap_or_default()),
        Err(Trouble::Denied(_)) => Ok(String::new()),
        Err(trouble) => Err(trouble),
    }
}

/// Replaces the config, if it still is what the change was made from.
pub fn write_config(etcd: &impl Etcd, layout: &Layout, config: &str, replacing: Option<&str>) -> Result<(), Trouble> {
    let key = layout.config();
    let condition = match replacing {
        None => Compare::absent(key.clone()),
        Some(text) => Compare::holds(key.clone(), text.to_owned()),
    };
    let write = Step::Put { key: key.into(), value: config.to_owned().into(), lease: 0 };
    let outcome = transact(etcd, &Transaction { compare: vec![condition], success: vec![write], failure: vec![] })?;
    if outcome.succeeded { Ok(()) } else { Err(Trouble::Conflict("somebody else changed the config meanwhile".into())) }
}
