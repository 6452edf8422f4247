//! The network config: kept as text, changed on condition.

use twill_lease::store::{Store, StoreError};
use twill_plugin::StoreHandle;

use super::{CONFIG, During, is_conflict, refused};
use crate::report::{Miss, Verdict, broken, kept_unless};

/// A second config.
const OTHER: &str = r#"{"Network":"10.64.0.0/10","Backend":{"Type":"udp"},"Comment":"ä \u00e4"}"#;

pub(super) async fn conditional(a: &StoreHandle, b: &StoreHandle) -> Verdict {
    match a.write_config(CONFIG.into(), None).await {
        Err(StoreError::Unsupported(why)) => return Err(Miss::Skipped(format!("its config is written elsewhere: {why}"))),
        written => written.during("the first config could not be written")?,
    }
    let mut faults = Vec::new();
    let mut shows = |there: Option<String>, wanted: &str| {
        if there.as_deref() != Some(wanted) {
            faults.push(format!("{wanted} was written, {there:?} is read"));
        }
    };
    shows(b.read().await.during("read")?.config, CONFIG);
    let mut conflicts = Vec::new();
    let second = b.write_config(OTHER.into(), None).await;
    refused(second, "a config written as if there were none", is_conflict, "conflict", &mut conflicts);
    let third = b.write_config(OTHER.into(), Some(OTHER.into())).await;
    refused(third, "a config written in the place of one that is not there", is_conflict, "conflict", &mut conflicts);
    b.write_config(OTHER.into(), Some(CONFIG.into())).await.during("a config could not be replaced by who knew it")?;
    shows(a.read().await.during("read")?.config, OTHER);
    faults.extend(conflicts);
    if let Err(error) = a.write_config(CONFIG.into(), Some(OTHER.into())).await {
        return Err(broken(format!("the config could not be changed back: {error}")));
    }
    kept_unless(faults, "three conditional writes, two refused")
}
