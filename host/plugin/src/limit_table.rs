//! The limits as an operator sets them: `KEY=VALUE` for all plugins, `PLUGIN:KEY=VALUE` for one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use twill_model::status::PluginLimits;

use crate::limits::Limits;

/// Limits for all plugins, and for some that have their own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LimitTable {
    common: Arc<Limits>,
    own: BTreeMap<String, Arc<Limits>>,
}

/// Why a setting of limits is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadLimit {
    /// It is not of the form.
    #[error("the limit \"{0}\" is not written like memory-mib=256 or backend-udp:memory-mib=256")]
    Form(String),
    /// There is no such limit.
    #[error("there is no limit \"{0}\"; there are: {names}", names = names())]
    Key(String),
    /// It is no number, or too small or too large.
    #[error("the limit {0} is a whole number from {1} to {2}, not \"{3}\"")]
    Value(&'static str, u64, u64, String),
}

/// A limit: its key, the least and the most it can be, and where it goes.
type Setting = (&'static str, u64, u64, fn(&mut Limits, u64));

const DAY_MS: u64 = 86_400_000;

/// All limits that can be set; the key says the unit where there is one.
const SETTINGS: &[Setting] = &[
    ("memory-mib", 1, 4_095, |limits, value| limits.memory = (value as usize) << 20),
    ("table-elements", 1, 100_000_000, |limits, value| limits.table_elements = value as usize),
    ("instances", 1, 10_000, |limits, value| limits.instances = value as usize),
    ("output-mib", 1, 4_095, |limits, value| limits.handed_over = (value as usize) << 20),
    ("stretch-ms", 10, DAY_MS, |limits, value| limits.stretch = Duration::from_millis(value)),
    ("computing-ms", 10, DAY_MS, |limits, value| limits.computing = Duration::from_millis(value)),
    ("host-calls", 1, u64::MAX >> 1, |limits, value| limits.host_calls = value),
    ("log-lines", 1, 1_000_000, |limits, value| limits.log_lines = value as u32),
    ("plan-ms", 10, DAY_MS, |limits, value| limits.plan_wall = Duration::from_millis(value)),
    ("store-ms", 10, DAY_MS, |limits, value| limits.store_wall = Duration::from_millis(value)),
    ("watch-slack-ms", 10, DAY_MS, |limits, value| limits.watch_slack = Duration::from_millis(value)),
    ("items", 1, 1_000_000, |limits, value| limits.items = value as usize),
];

fn names() -> String {
    SETTINGS.iter().map(|(key, ..)| *key).collect::<Vec<_>>().join(", ")
}

impl LimitTable {
    /// Reads settings; what is said for one plugin is on top of what is said for all, in whatever order.
    ///
    /// # Errors
    /// The first that is none.
    pub fn parse<'a>(settings: impl IntoIterator<Item = &'a str>) -> Result<LimitTable, BadLimit> {
        let mut common = Limits::default();
        let mut own: Vec<(&str, &Setting, u64)> = Vec::new();
        for text in settings {
            let form = || BadLimit::Form(text.into());
            let (place, value) = text.split_once('=').ok_or_else(form)?;
            let (plugin, key) = place.split_once(':').map_or((None, place), |(plugin, key)| (Some(plugin), key));
            let setting = SETTINGS.iter().find(|(name, ..)| *name == key.trim()).ok_or_else(|| BadLimit::Key(key.trim().into()))?;
            let (name, least, most, set) = setting;
            let value = value.trim().parse().ok().filter(|value| (least..=most).contains(&value));
            let value =
                value.ok_or_else(|| BadLimit::Value(name, *least, *most, text.split_once('=').unwrap_or_default().1.trim().into()))?;
            match plugin.map(str::trim) {
                None => set(&mut common, value),
                Some("") => return Err(form()),
                Some(plugin) => own.push((plugin, setting, value)),
            }
        }
        let mut table = LimitTable { common: Arc::new(common), own: BTreeMap::new() };
        for (plugin, (.., set), value) in own {
            let limits = table.own.entry(plugin.into()).or_insert_with(|| table.common.clone());
            set(Arc::make_mut(limits), value);
        }
        Ok(table)
    }

    /// What the plugin of that name ("backend-udp") may use.
    pub(crate) fn of(&self, plugin: &str) -> Arc<Limits> {
        self.own.get(plugin).unwrap_or(&self.common).clone()
    }
}

impl From<Limits> for LimitTable {
    fn from(limits: Limits) -> Self {
        LimitTable { common: Arc::new(limits), own: BTreeMap::new() }
    }
}

/// The limits as status shows them.
pub(crate) fn shown(limits: &Limits) -> PluginLimits {
    let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    PluginLimits {
        memory: limits.memory as u64,
        table_elements: limits.table_elements as u64,
        instances: limits.instances as u64,
        output: limits.handed_over as u64,
        stretch_ms: ms(limits.stretch),
        computing_ms: ms(limits.computing),
        host_calls: limits.host_calls,
        log_lines: limits.log_lines,
        plan_ms: ms(limits.plan_wall),
        store_ms: ms(limits.store_wall),
        watch_slack_ms: ms(limits.watch_slack),
        items: limits.items as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_for_one_is_on_top_of_what_is_said_for_all() {
        let table = LimitTable::parse(["backend-py:memory-mib=512", "memory-mib=64", "plan-ms=500"]).expect("limits");
        assert_eq!(table.of("backend-udp").memory, 64 << 20);
        let own = table.of("backend-py");
        assert_eq!((own.memory, own.plan_wall), (512 << 20, Duration::from_millis(500)));
        assert_eq!(LimitTable::parse([]), Ok(LimitTable::default()));
    }

    #[test]
    fn every_limit_can_be_set() {
        let least: Vec<String> = SETTINGS.iter().map(|(key, least, ..)| format!("{key}={least}")).collect();
        let limits = LimitTable::parse(least.iter().map(String::as_str)).expect("limits").of("backend-udp");
        let (set, default) = (shown(&limits), shown(&Limits::default()));
        let (set, default) = (serde_json::to_value(set).expect("JSON"), serde_json::to_value(default).expect("JSON"));
        for (key, value) in set.as_object().expect("a record") {
            assert_ne!(Some(value), default.get(key), "{key} is as before");
        }
        assert_eq!(set.as_object().expect("a record").len(), SETTINGS.len(), "a limit is shown that cannot be set, or the other way round");
    }

    #[test]
    fn what_is_no_limit_is_refused_with_what_there_is() {
        for (text, word) in [
            ("memory-mib", "is not written like"),
            (":memory-mib=1", "is not written like"),
            ("fuel=1", "there is no limit \"fuel\"; there are: memory-mib, "),
            ("items=0", "the limit items is a whole number from 1 to 1000000, not \"0\""),
            ("plan-ms=soon", "not \"soon\""),
        ] {
            let error = LimitTable::parse([text]).expect_err(text).to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
