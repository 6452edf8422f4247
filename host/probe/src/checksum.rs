//! Links whose checksums are mangled on the way. Some network cards leave the checksum of a packet inside a VXLAN packet unfinished, above all behind NAT: pings
//! pass, while every TCP segment and every large datagram is dropped by the receiver. Then the link computes them in software.
//!
//! Pure.

use std::collections::BTreeMap;

use twill_model::item::LinkName;

/// What the operator wants.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Offload {
    /// Left to the card, until datagrams are found to vanish.
    #[default]
    Auto,
    /// Left to the card.
    On,
    /// Always computed in software.
    Off,
}

/// What is to be done about a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Compute in software, and try datagrams again.
    SwitchOff,
    /// Leave it to the card again: it made no difference. And let the silence be.
    SwitchOn,
    /// Let the silence be.
    Accept,
}

/// What was done so far.
#[derive(Debug, Default)]
pub struct Doubts {
    links: BTreeMap<LinkName, State>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// In software; whether that helps is to be seen.
    Trial,
    /// In software for good.
    Off,
    /// Left to the card.
    Settled,
}

impl Doubts {
    /// What to do about a link by which echoes come back and datagrams do not. `arrives`: those to another peer do.
    pub fn judge(&mut self, link: &LinkName, wanted: Offload, arrives: bool) -> Act {
        let state = self.links.get(link).copied();
        match (state, wanted) {
            (Some(State::Trial), _) if !arrives => {
                self.links.insert(link.clone(), State::Settled);
                Act::SwitchOn
            }
            (None, Offload::Auto) if !arrives => {
                self.links.insert(link.clone(), State::Trial);
                Act::SwitchOff
            }
            _ => Act::Accept,
        }
    }

    /// True once, when datagrams arrive on a link since its checksums are computed in software.
    pub fn helped(&mut self, link: &LinkName) -> bool {
        let trial = self.links.get(link) == Some(&State::Trial);
        if trial {
            self.links.insert(link.clone(), State::Off);
        }
        trial
    }

    /// Notes a link that the operator wants computed in software. True when it was not yet.
    pub fn switch_off(&mut self, link: &LinkName) -> bool {
        self.links.insert(link.clone(), State::Off) != Some(State::Off)
    }

    /// Links in software. A link that is made anew begins with its card.
    pub fn off(&self) -> impl Iterator<Item = &LinkName> {
        self.links.iter().filter(|(_, state)| **state != State::Settled).map(|(link, _)| link)
    }

    /// Forgets links that are gone.
    pub fn keep_only(&mut self, wanted: impl Fn(&LinkName) -> bool) {
        self.links.retain(|link, _| wanted(link));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_link_is_tried_in_software_once_and_kept_so_only_if_that_helps() {
        let (link, mut doubts) = (LinkName("flannel.1".into()), Doubts::default());
        assert_eq!(doubts.judge(&link, Offload::Auto, false), Act::SwitchOff);
        assert!(doubts.helped(&link) && !doubts.helped(&link));
        assert_eq!(doubts.judge(&link, Offload::Auto, false), Act::Accept, "one peer more that refuses nothing");
        assert_eq!(doubts.off().count(), 1);

        let mut doubts = Doubts::default();
        assert_eq!(doubts.judge(&link, Offload::Auto, false), Act::SwitchOff);
        assert_eq!(doubts.judge(&link, Offload::Auto, false), Act::SwitchOn);
        assert_eq!(doubts.judge(&link, Offload::Auto, false), Act::Accept);
        assert_eq!(doubts.off().count(), 0);
    }

    #[test]
    fn a_peer_that_is_silent_alone_and_an_operators_word_touch_no_link() {
        let (link, mut doubts) = (LinkName("flannel.1".into()), Doubts::default());
        assert_eq!(doubts.judge(&link, Offload::Auto, true), Act::Accept);
        assert_eq!(doubts.judge(&link, Offload::On, false), Act::Accept);
        assert!(doubts.switch_off(&link) && !doubts.switch_off(&link));
        assert_eq!(doubts.judge(&link, Offload::Off, false), Act::Accept);
    }
}
