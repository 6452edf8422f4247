//! Readiness by what was measured: a node that reaches none of several peers whose hosts are alive is not ready, however well its own state stands. Pure.

use std::net::IpAddr;

use twill_model::status::{PathState, PathStatus};

use super::legs::HostsAlive;

/// So many hosts must be alive behind silent paths before the fault is taken for this node's: one may be frozen, or without its daemon.
const WITNESSES: usize = 2;

/// Why this node counts as cut off from the overlay; none while one path works or is being tried, or while too few hosts are known to be alive.
pub fn cut_off(paths: &[PathStatus], hosts: &HostsAlive) -> Option<String> {
    if paths.iter().any(|path| path.state != PathState::Down) {
        return None;
    }
    let answers = |address: IpAddr| hosts.get(&address).copied().unwrap_or(false);
    let alive = paths.iter().filter(|path| path.public.iter().any(answers)).count();
    (alive >= WITNESSES)
        .then(|| format!("no peer is reached, though the hosts of {alive} answer: the fault is most likely on this node or its firewall"))
}

#[cfg(test)]
mod tests {
    use twill_model::Addresses;

    use super::*;

    fn path(last: u8, state: PathState) -> PathStatus {
        PathStatus { public: Addresses { v4: Some([192, 0, 2, last].into()), v6: None }, state, ..PathStatus::default() }
    }

    fn hosts(answers: &[(u8, bool)]) -> HostsAlive {
        answers.iter().map(|(last, came)| (IpAddr::from([192, 0, 2, *last]), *came)).collect()
    }

    #[test]
    fn only_several_living_hosts_behind_silent_paths_speak_against_this_node() {
        use PathState::{Down, Held, Moved, Proving};
        let cut = |states: &[PathState], answers: &[(u8, bool)]| {
            let paths: Vec<PathStatus> = states.iter().zip(1..).map(|(state, last)| path(last, *state)).collect();
            cut_off(&paths, &hosts(answers)).is_some()
        };
        assert!(!cut(&[], &[]), "a node that is alone is well");
        assert!(!cut(&[Down], &[(1, true)]), "a lone peer may be without its daemon");
        assert!(!cut(&[Down, Down], &[(1, false), (2, false)]), "both hosts are away");
        assert!(!cut(&[Down, Down], &[(1, true), (2, false)]), "one of them is");
        assert!(!cut(&[Down, Down], &[]), "nobody was asked yet");
        for good in [Moved, Held, Proving] {
            assert!(!cut(&[Down, Down, good], &[(1, true), (2, true)]), "{good:?}");
        }
        assert!(cut(&[Down, Down], &[(1, true), (2, true)]));
        assert!(cut(&[Down, Down, Down], &[(1, true), (2, true), (3, false)]));
    }
}
