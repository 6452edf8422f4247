//! What is wrong with a host, and what to do about it. Pure: facts in, findings out, one function a subject.

mod cluster;
mod machine;
mod network;
mod rules;

use serde::Serialize;

use super::Facts;
use cluster::{daemon, store};
use machine::{clock, flanneld, kernel, managers, ports, root, state, tun};
use network::{forwarding, mtu, neighbours, rp_filter, underlay};
use rules::{bridge_netfilter, firewall, legacy_rules};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// Worth knowing.
    Note,
    /// It works, but not as well or not for long.
    Warn,
    /// twill, or pods' traffic, does not work so.
    Fail,
}

/// What was found of one subject.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The subject, for programs.
    pub check: &'static str,
    /// How bad it is.
    pub level: Level,
    /// What was found.
    pub found: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

impl Finding {
    fn new(check: &'static str, level: Level, found: impl Into<String>, advice: impl Into<String>) -> Finding {
        Finding { check, level, found: found.into(), advice: Some(advice.into()) }
    }

    fn ok(check: &'static str, found: impl Into<String>) -> Finding {
        Finding { check, level: Level::Ok, found: found.into(), advice: None }
    }
}

/// Findings of every subject that can be judged by these facts, in the order in which a packet would meet them.
pub fn judge(facts: &Facts) -> Vec<Finding> {
    let subjects: [fn(&Facts) -> Vec<Finding>; 16] = [
        root,
        kernel,
        tun,
        state,
        clock,
        store,
        underlay,
        mtu,
        forwarding,
        rp_filter,
        firewall,
        legacy_rules,
        bridge_netfilter,
        neighbours,
        managers,
        ports,
    ];
    subjects.iter().flat_map(|subject| subject(facts)).chain(flanneld(facts)).chain(daemon(facts)).collect()
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
