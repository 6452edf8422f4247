//! Which of several files of one name is to be in charge, and why another is not. Pure.
//!
//! The higher version is tried first, then the later folder and file. What runs ends the list, so that nothing older disturbs it; and what the operator
//! went back from, what his lock file does not name, and what a trial plan spoke against is not tried at all.

use std::collections::BTreeMap;

use semver::Version;

use crate::lock::Lock;

/// A file of the name, as far as the choice depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    pub(crate) version: &'a Version,
    pub(crate) digest: &'a str,
}

/// The operator went back to the version before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WentBack {
    /// The digest that he went back to.
    pub(crate) to: String,
    /// What he went back from.
    pub(crate) from: (Version, String),
}

impl WentBack {
    /// True for what is newer than what the operator went back from: it may be the mended one.
    pub(crate) fn is_over(&self, entry: Entry) -> bool {
        let (version, digest) = &self.from;
        entry.version > version || (entry.version == version && entry.digest != digest)
    }
}

/// What keeps files out.
#[derive(Default)]
pub(crate) struct Rules<'a> {
    pub(crate) lock: Option<&'a Lock>,
    pub(crate) went_back: Option<&'a WentBack>,
    /// Digests that were tried and did not do, with the reason.
    pub(crate) unfit: Option<&'a BTreeMap<String, String>>,
}

impl Rules<'_> {
    /// Why the file may not come into use, in words.
    pub(crate) fn bar(&self, plugin: &str, entry: Entry) -> Option<String> {
        if let Some(why) = self.lock.and_then(|lock| lock.bar(plugin, entry.version, entry.digest)) {
            return Some(why);
        }
        if let Some(back) = self.went_back.filter(|back| back.to != entry.digest && !back.is_over(entry)) {
            let advice = format!("`twill plugin rollback --clear {plugin}` ends that");
            return Some(format!("an operator went back from {}; {advice}", back.from.0));
        }
        self.unfit.and_then(|unfit| unfit.get(entry.digest).cloned())
    }
}

/// The files worth trying, best first, as places in `files`, which are in the order of folders. Nothing that is older than what runs is among them, unless the
/// operator asks to go back.
pub(crate) fn order(files: &[(usize, Entry)], running: Option<Entry>, may_go_back: bool) -> Vec<usize> {
    let mut sorted: Vec<(usize, Entry)> = files.to_vec();
    sorted.sort_by(|(a, one), (b, other)| other.version.cmp(one.version).then(b.cmp(a)));
    let Some(running) = running else { return sorted.into_iter().map(|(place, _)| place).collect() };
    let there = sorted.iter().position(|(_, entry)| entry.digest == running.digest);
    // The running file itself stands at the end: whoever comes to it is done.
    sorted.truncate(there.map_or(sorted.len(), |place| place + 1));
    sorted.into_iter().filter(|(_, entry)| may_go_back || entry.version >= running.version).map(|(place, _)| place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        Version::parse(text).expect("a version")
    }

    /// Digests of what is tried, in order; files as (version, digest).
    fn tried<'a>(files: &[(&str, &'a str)], running: Option<(&str, &str)>, may_go_back: bool) -> Vec<&'a str> {
        let versions: Vec<Version> = files.iter().map(|(text, _)| version(text)).collect();
        let entries: Vec<(usize, Entry)> =
            versions.iter().zip(files).map(|(version, (_, digest))| Entry { version, digest }).enumerate().collect();
        let running = running.map(|(text, digest)| (version(text), digest));
        let running = running.as_ref().map(|(version, digest)| Entry { version, digest });
        order(&entries, running, may_go_back).into_iter().map(|place| files[place].1).collect()
    }

    #[test]
    fn the_higher_version_is_tried_first_then_the_later_folder() {
        assert_eq!(tried(&[("1.9.0", "a"), ("1.10.0", "b"), ("1.10.0", "c")], None, false), ["c", "b", "a"]);
    }

    #[test]
    fn what_runs_ends_the_list() {
        let files = [("1.0.0", "a"), ("1.2.0", "b"), ("1.1.0", "c")];
        assert_eq!(tried(&files, Some(("1.1.0", "c")), false), ["b", "c"]);
        assert_eq!(tried(&files, Some(("1.2.0", "b")), false), ["b"]);
    }

    #[test]
    fn an_older_file_never_takes_over_by_itself() {
        let gone = Some(("2.0.0", "gone"));
        assert!(tried(&[("1.0.0", "a")], gone, false).is_empty());
        assert_eq!(tried(&[("1.0.0", "a")], gone, true), ["a"]);
        assert_eq!(tried(&[("2.0.0", "other build")], gone, false), ["other build"]);
    }

    #[test]
    fn an_earlier_folder_does_not_take_over_from_an_equal_version() {
        assert_eq!(tried(&[("1.0.0", "early"), ("1.0.0", "late")], Some(("1.0.0", "late")), false), ["late"]);
        assert_eq!(tried(&[("1.0.0", "early"), ("1.0.0", "late")], Some(("1.0.0", "early")), false), ["late", "early"]);
    }

    #[test]
    fn after_going_back_only_what_is_newer_comes_into_use() {
        let back = WentBack { to: "good".into(), from: (version("2.0.0"), "bad".into()) };
        let rules = Rules { went_back: Some(&back), ..Rules::default() };
        let barred = |text: &str, digest: &str| rules.bar("backend-x", Entry { version: &version(text), digest });
        assert_eq!(barred("1.0.0", "good"), None);
        assert_eq!(barred("2.0.0", "mended"), None);
        assert_eq!(barred("2.0.1", "newer"), None);
        assert!(barred("2.0.0", "bad").expect("barred").contains("rollback --clear backend-x"));
        assert!(barred("1.5.0", "between").is_some());
    }

    #[test]
    fn what_did_not_do_is_not_tried_again() {
        let unfit = BTreeMap::from([("x".to_owned(), "its trial plan failed".to_owned())]);
        let rules = Rules { unfit: Some(&unfit), ..Rules::default() };
        assert_eq!(rules.bar("backend-x", Entry { version: &version("1.0.0"), digest: "x" }).as_deref(), Some("its trial plan failed"));
    }
}
