//! The store "@name@": config and leases in one JSON file of a directory that all nodes share.
//!
//! Every change is made alike: load the document, decide on it ([`document`], pure), write it back on the condition that nobody wrote meanwhile, else begin
//! anew. So of several nodes that want one subnet the first writer has it, and the others see that when they look again.

mod document;

use std::cell::RefCell;

use document::Document;
use twill_guest::options::Options;
use twill_guest::store::directory::{self, Failure};
use twill_guest::store::*;

const OPTIONS_SCHEMA: &str =
    r#"{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","properties":{}}"#;

/// The one file.
const FILE: &str = "@name@.json";
/// Nodes that may be faster, one after the other, before the host is asked to try again later.
const ATTEMPTS: usize = 100;

thread_local! {
    static NODE_NAME: RefCell<String> = const { RefCell::new(String::new()) };
}

/// The store.
pub struct Plugin;

/// The document as it is now, the time by the directory's clock, and the version to write on.
struct Loaded {
    document: Document,
    now: u64,
    version: Option<String>,
}

fn load() -> Result<Loaded, Trouble> {
    match directory::read(FILE) {
        Ok((content, entry)) => {
            let document: Document = serde_json::from_slice(&content)
                .map_err(|error| Trouble::Retry(format!("{FILE} is not what this store wrote: {error}")))?;
            let now = document.clock + u64::from(entry.age_ms);
            Ok(Loaded { document, now, version: Some(entry.version) })
        }
        Err(Failure::Missing) => {
            // Only the mark of a store that is made anew; nothing is decided by a node's clock.
            let identity = NODE_NAME.with_borrow(|name| format!("{name}-{}", clock::now()));
            Ok(Loaded { document: Document::new(identity), now: 0, version: None })
        }
        Err(failure) => Err(trouble(failure)),
    }
}

/// Decides on the newest document, and writes what was decided.
fn change<T>(decide: impl Fn(&mut Document, u64) -> Result<T, Trouble>) -> Result<T, Trouble> {
    for _ in 0..ATTEMPTS {
        let Loaded { mut document, now, version } = load()?;
        let before = document.number;
        document.end_what_is_over(now);
        let decided = decide(&mut document, now);
        // A document that is not there yet is written by whoever looks first, so that all know its mark.
        if document.number == before && version.is_some() {
            return decided;
        }
        document.clock = now;
        let content = serde_json::to_vec(&document)
            .map_err(|error| Trouble::Invalid(format!("cannot write the document: {error}")))?;
        let written = match &version {
            Some(version) => directory::replace(FILE, &content, version),
            None => directory::create(FILE, &content),
        };
        match written {
            Ok(_) => return decided,
            Err(Failure::Exists | Failure::Changed | Failure::Missing) => {}
            Err(failure) => return Err(trouble(failure)),
        }
    }
    Err(Trouble::Retry("other nodes write faster than this one can look".into()))
}

fn trouble(failure: Failure) -> Trouble {
    match failure {
        Failure::NotGranted => Trouble::Denied("no directory is granted to this store".into()),
        Failure::Denied(why) => Trouble::Denied(why),
        Failure::Full(why) | Failure::Broken(why) => Trouble::Retry(why),
        Failure::Exists | Failure::Changed | Failure::Missing => Trouble::Conflict("somebody else was faster".into()),
    }
}

impl Store for Plugin {
    fn describe() -> Abilities {
        let about = twill_guest::about!("@name@", "config and leases in one JSON file of a directory", OPTIONS_SCHEMA);
        Abilities { about, assigns: false, reserves: true, upstreams: vec![], directory: true }
    }

    fn configure(options: String, node_name: String) -> Result<(), Trouble> {
        Options::parse("the store's options", &options)?;
        NODE_NAME.set(node_name);
        Ok(())
    }

    fn hints() -> Result<AddressHints, Trouble> {
        let nothing = || Addresses { v4: None, v6: None };
        Ok(AddressHints { choose: nothing(), overwrite: nothing() })
    }

    fn write_config(config: String, replacing: Option<String>) -> Result<(), Trouble> {
        change(|document, _| document.write_config(&config, replacing.as_deref()))
    }

    fn read() -> Result<Snapshot, Trouble> {
        change(|document, now| Ok(document.snapshot(now)))
    }

    fn watch(cursor: String, wait_ms: u32) -> Result<Changes, Trouble> {
        let end = clock::now() + f64::from(wait_ms);
        loop {
            let (changes, next_end) =
                change(|document, now| Ok((document.since(&cursor, now)?, document.next_end(now))))?;
            let left = end - clock::now();
            if !changes.changes.is_empty() || left <= 0.0 {
                return Ok(changes);
            }
            let wait = next_end.map_or(left, |next| left.min(next as f64));
            directory::wait(wait.clamp(1.0, f64::from(u32::MAX)) as u32);
        }
    }

    fn claim(candidates: Vec<Prefixes>, wish: Lease) -> Result<Held, Trouble> {
        change(|document, now| document.claim(&candidates, &wish, now))
    }

    fn adopt(mine: Lease) -> Result<Held, Trouble> {
        change(|document, now| document.adopt(&mine, now))
    }

    fn publish(mine: Held) -> Result<Held, Trouble> {
        change(|document, now| document.publish(&mine, now))
    }

    fn ready(_: Held) -> Result<(), Trouble> {
        Ok(())
    }

    fn release(mine: Held) -> Result<(), Trouble> {
        change(|document, _| document.release(&mine))
    }

    fn reserve(lease: Lease) -> Result<(), Trouble> {
        change(|document, now| document.reserve(&lease, now))
    }

    fn unreserve(subnets: Prefixes) -> Result<(), Trouble> {
        change(|document, now| document.unreserve(&subnets, now))
    }
}

twill_guest::export_store!(Plugin);

#[cfg(test)]
mod tests {
    use twill_guest::fake;

    use super::*;

    fn wish(node: &str) -> Lease {
        Lease {
            subnets: Prefixes { v4: None, v6: None },
            public: Addresses { v4: Some("192.0.2.1".into()), v6: None },
            ways: vec![],
            node: Some(node.into()),
            life: Lifetime::Seconds(60),
        }
    }

    fn subnet(number: u8) -> Prefixes {
        Prefixes { v4: Some(format!("10.1.{number}.0/24")), v6: None }
    }

    #[test]
    fn a_claim_during_a_watch_wakes_it() {
        fake::directory::grant();
        let cursor = Plugin::read().expect("read").cursor;
        fake::later(700, || drop(Plugin::claim(vec![subnet(1)], wish("a")).expect("claimed")));
        let began = clock::now();
        let told = Plugin::watch(cursor, 10_000).expect("changes");
        assert!(matches!(&told.changes[..], [Change::Put(lease)] if lease.subnets == subnet(1)));
        assert_eq!(clock::now() - began, 700.0);
    }

    #[test]
    fn a_term_ends_by_the_directorys_clock_and_is_told() {
        fake::directory::grant();
        Plugin::claim(vec![subnet(1)], wish("a")).expect("claimed");
        let cursor = Plugin::read().expect("read").cursor;
        let began = clock::now();
        let told = Plugin::watch(cursor, 90_000).expect("changes");
        assert!(matches!(&told.changes[..], [Change::Gone(subnets)] if *subnets == subnet(1)));
        assert!((59_000.0..=61_000.0).contains(&(clock::now() - began)));
        assert_eq!(Plugin::read().expect("read").leases, []);
    }

    #[test]
    fn without_a_grant_it_is_denied() {
        assert!(matches!(Plugin::read(), Err(Trouble::Denied(_))));
    }
}
