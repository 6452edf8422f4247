//! The store, and what the daemon says of itself and of its paths.

use twill_model::status::PathState;

use super::{Finding, Level};
use crate::doctor::Facts;

pub(super) fn store(facts: &Facts) -> Vec<Finding> {
    match &facts.store {
        None => vec![Finding::new(
            "store",
            Level::Note,
            "no store is named, so none was asked",
            "name it as for `twill run`: --store, TWILL_STORE or /etc/twill/twill.toml",
        )],
        Some(Err(error)) => vec![Finding::new(
            "store",
            Level::Fail,
            format!("the store does not answer: {error}"),
            "put that right; a running daemon goes on with what it knows meanwhile",
        )],
        Some(Ok(store)) if store.config.is_none() => {
            vec![Finding::new(
                "store",
                Level::Fail,
                "the store answers and holds no network config",
                "write one: twill config set … '{\"Network\": \"10.244.0.0/16\"}'",
            )]
        }
        Some(Ok(_)) if facts.config().is_none() => {
            vec![Finding::new(
                "store",
                Level::Fail,
                "the network config in the store is wrong",
                "`twill config check` says which key, and why",
            )]
        }
        Some(Ok(store)) => vec![Finding::ok("store", format!("the store answers: {} leases", store.leases))],
    }
}

pub(super) fn daemon(facts: &Facts) -> Vec<Finding> {
    let Some(snapshot) = &facts.daemon else {
        return vec![Finding {
            check: "daemon",
            level: Level::Note,
            found: "no daemon runs on this host, so it could not be asked".into(),
            advice: None,
        }];
    };
    let problem = |problem: &String| {
        Finding::new("daemon", Level::Fail, problem.clone(), "`twill status`, `twill state` and `twill events` say more")
    };
    let mut findings: Vec<Finding> = snapshot.node.problems.iter().map(problem).collect();
    for path in snapshot.paths.iter().filter(|path| path.state == PathState::Down) {
        let reason = path.leg.as_ref().or(path.reason.as_ref()).cloned().unwrap_or_else(|| "no way answers".into());
        findings.push(Finding::new(
            "paths",
            Level::Fail,
            format!("{} at {} is not reached: {reason}", path.subnets, path.public),
            "`twill why` says since when, and what happened before",
        ));
    }
    for path in snapshot.paths.iter().filter(|path| path.state == PathState::Held) {
        let reason = path.reason.clone().unwrap_or_default();
        let way = path.way.clone().unwrap_or_else(|| "no way".into());
        findings.push(Finding::new(
            "paths",
            Level::Warn,
            format!(
                "{} at {} is reached by {way}, not by {}: {reason}",
                path.subnets,
                path.public,
                path.wanted.clone().unwrap_or_default()
            ),
            "`twill peers` shows all paths",
        ));
    }
    for (path, narrow) in snapshot.paths.iter().filter_map(|path| Some((path, path.narrow.as_ref()?))) {
        findings.push(Finding::new(
            "paths",
            Level::Note,
            format!("the MTU on the road is smaller than the link's to {} at {}: {narrow}", path.subnets, path.public),
            "raise it on the switches and routers between the two hosts, or leave it: pods are told by the route",
        ));
    }
    if findings.is_empty() {
        findings.push(Finding::ok(
            "daemon",
            format!("the daemon is {}, and has no problem to tell", if snapshot.node.ready { "ready" } else { "not ready yet" }),
        ));
    }
    findings
}
