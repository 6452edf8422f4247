//! Reading everything, and writing the config.

use twill_guest::store::{Oddity, Snapshot, Trouble};

use crate::entry::Entry;
use crate::redis::{CONFIG, READ, Redis};

/// All that is in the store at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Whole {
    /// The store's mark.
    pub identity: String,
    /// The number of the last change.
    pub number: String,
    /// The number of the last change of owners.
    pub owners: String,
    /// The config.
    pub config: Option<String>,
    /// All leases.
    pub entries: Vec<Entry>,
    /// Names that are no lease's.
    pub strange: Vec<String>,
}

/// Reads everything.
///
/// # Errors
/// Redis cannot be asked.
pub fn whole(redis: &Redis) -> Result<Whole, Trouble> {
    let fields = redis.run(READ, &[])?;
    let [identity, number, owners, config, leases @ ..] = &fields[..] else {
        return Err(Trouble::Retry("Redis answered with too little".into()));
    };
    let (mut entries, mut strange) = (Vec::new(), Vec::new());
    for chunk in leases.chunks(4) {
        let [name, fields @ ..] = chunk else { continue };
        match Entry::of(name, fields) {
            Ok(entry) => entries.extend(entry),
            Err(why) => strange.push(why),
        }
    }
    let config = config_of(config);
    Ok(Whole { identity: identity.clone(), number: number.clone(), owners: owners.clone(), config, entries, strange })
}

/// A config as scripts tell it: "1" before it when there is one.
pub fn config_of(field: &str) -> Option<String> {
    field.strip_prefix('1').map(str::to_owned)
}

/// The snapshot that the host wants.
///
/// # Errors
/// Redis cannot be asked.
pub fn read(redis: &Redis) -> Result<Snapshot, Trouble> {
    let Whole { identity, number, config, entries, strange, .. } = whole(redis)?;
    let mut oddities: Vec<Oddity> = strange.into_iter().map(|reason| Oddity { place: "leases".into(), reason }).collect();
    let mut leases = Vec::new();
    for entry in entries {
        match entry.lease {
            Ok(lease) => leases.push(lease),
            Err(reason) => oddities.push(Oddity { place: entry.subnets.name(), reason }),
        }
    }
    Ok(Snapshot { config, leases, oddities, cursor: format!("{identity}:{number}"), identity })
}

/// Writes the config in the place of `replacing`.
///
/// # Errors
/// It is another by now, or Redis cannot be asked.
pub fn write_config(redis: &Redis, config: &str, replacing: Option<&str>) -> Result<(), Trouble> {
    let before = replacing.map(|text| format!("1{text}")).unwrap_or_default();
    match redis.run(CONFIG, &[config, &before])?.first().map(String::as_str) {
        Some("1") => Ok(()),
        _ => Err(Trouble::Conflict("the config was changed meanwhile".into())),
    }
}
