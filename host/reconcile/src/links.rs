//! Which interface a handle means. Backends name links by handles and wish for a name; the host decides, and never hands out a foreign
//! interface. What was decided is remembered, so that a restarted daemon finds its own device again.
//!
//! Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use twill_model::item::{Device, Link, LinkKind, LinkName};
use twill_model::state::Observed;

/// Longest interface name: `IFNAMSIZ` (linux/if.h) less the closing zero.
const LONGEST: usize = 15;

/// Why a link gets no name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// Too long, empty, or with characters that the kernel refuses.
    #[error("\"{0}\" is no interface name (1 to {LONGEST} characters, no blank, no slash)")]
    Malformed(String),
    /// There is an interface of that name that is not ours.
    #[error("interface \"{0}\" is there already and is not ours (it is of kind \"{1}\")")]
    Foreign(String, String),
    /// All of "name0" … "name255" are taken.
    #[error("no free name for \"{0}\"")]
    NoneFree(String),
}

/// The names given so far: backend and handle, as "backend/handle", to interface. A link that was given up for one of another name stays ours, as
/// "backend/handle was name", until it is taken away.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Names(BTreeMap<String, LinkName>);

impl Names {
    /// The interface that `backend` means by `device`.
    pub fn resolve(&self, backend: &str, device: &Device, underlay: &str) -> Option<LinkName> {
        match device {
            Device::Underlay => Some(LinkName(underlay.to_owned())),
            Device::Link(handle) => self.0.get(&place(backend, handle)).cloned(),
        }
    }

    /// Gives the link a name, the one it had if that still fits.
    ///
    /// # Errors
    /// The wish is malformed, foreign, or has no free number left.
    pub fn assign(&mut self, backend: &str, handle: &str, link: &Link<Device>, observed: &Observed) -> Result<LinkName, NameError> {
        let place = place(backend, handle);
        self.forget_vanished(&place, observed);
        if let Some(known) = self.0.get(&place)
            && fits_wish(&link.name, &known.0)
            && free_or_alike(known, &link.kind, observed)
        {
            return Ok(known.clone());
        }
        let name = self.choose(link, observed)?;
        let before = self.0.insert(place.clone(), name.clone());
        let left = before.filter(|left| *left != name && !fits_wish(&link.name, &left.0));
        if let Some(left) = left.filter(|left| observed.link(left).is_some_and(|there| alike(&there.word, &link.kind))) {
            self.0.insert(former(&place, &left), left);
        }
        Ok(name)
    }

    /// A name that was given up and whose link is gone may become anybody's.
    fn forget_vanished(&mut self, place: &str, observed: &Observed) {
        self.0.retain(|key, name| *key != former(place, name) || observed.link(name).is_some());
    }

    /// Every interface that is ours.
    pub fn ours(&self) -> impl Iterator<Item = &LinkName> {
        self.0.values()
    }

    /// Forgets an interface that was taken away.
    pub fn forget(&mut self, name: &LinkName) {
        self.0.retain(|_, known| known != name);
    }

    fn choose(&self, link: &Link<Device>, observed: &Observed) -> Result<LinkName, NameError> {
        match link.name.split_once("%d") {
            None => {
                let name = well_formed(&link.name)?;
                match observed.link(&name) {
                    Some(there) if !alike(&there.word, &link.kind) || is_tunnel(&link.kind) => {
                        Err(NameError::Foreign(name.0, there.word.clone()))
                    }
                    _ => Ok(name),
                }
            }
            Some((head, tail)) => (0..256)
                .map(|number| LinkName(format!("{head}{number}{tail}")))
                .find(|name| observed.link(name).is_none() && !self.0.values().any(|known| known == name))
                .ok_or_else(|| NameError::NoneFree(link.name.clone()))
                .and_then(|name| well_formed(&name.0)),
        }
    }
}

fn place(backend: &str, handle: &str) -> String {
    format!("{backend}/{handle}")
}

fn former(place: &str, name: &LinkName) -> String {
    format!("{place} was {name}")
}

fn fits_wish(wish: &str, name: &str) -> bool {
    match wish.split_once("%d") {
        None => wish == name,
        Some((head, tail)) => {
            name.strip_prefix(head).and_then(|rest| rest.strip_suffix(tail)).is_some_and(|number| number.parse::<u8>().is_ok())
        }
    }
}

fn free_or_alike(name: &LinkName, kind: &LinkKind, observed: &Observed) -> bool {
    observed.link(name).is_none_or(|there| alike(&there.word, kind))
}

fn alike(word: &str, kind: &LinkKind) -> bool {
    match kind {
        LinkKind::Tunnel { .. } => word == "tun",
        other => word == other.word(),
    }
}

fn is_tunnel(kind: &LinkKind) -> bool {
    matches!(kind, LinkKind::Tunnel { .. })
}

fn well_formed(name: &str) -> Result<LinkName, NameError> {
    let fits = !name.is_empty() && name.len() <= LONGEST && name != "." && name != "..";
    let plain = name.chars().all(|c| c.is_ascii_graphic() && c != '/' && c != ':' && c != '%');
    if fits && plain { Ok(LinkName(name.to_owned())) } else { Err(NameError::Malformed(name.to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use twill_model::Addresses;
    use twill_model::state::ObservedLink;

    fn tunnel(name: &str) -> Link<Device> {
        Link {
            on: Device::Link("tun".into()),
            name: name.into(),
            kind: LinkKind::Tunnel { port: 8285, local: Addresses::default() },
            mtu: 1472,
            mac: None,
        }
    }

    fn with_links(links: &[(&str, &str)]) -> Observed {
        let link = |(name, word): &(&str, &str)| ObservedLink {
            name: LinkName((*name).into()),
            index: 1,
            mtu: 1500,
            up: true,
            mac: None,
            kind: None,
            word: (*word).into(),
        };
        Observed { links: links.iter().map(link).collect(), ..Observed::default() }
    }

    fn assign(names: &mut Names, wish: &str, observed: &Observed) -> Result<String, NameError> {
        names.assign("udp", "tun", &tunnel(wish), observed).map(|name| name.0)
    }

    #[test]
    fn the_first_free_number_is_taken_and_kept() {
        let mut names = Names::default();
        assert_eq!(assign(&mut names, "flannel%d", &with_links(&[("flannel0", "tun")])), Ok("flannel1".into()));
        let now = with_links(&[("flannel0", "tun"), ("flannel1", "tun")]);
        assert_eq!(assign(&mut names, "flannel%d", &now), Ok("flannel1".into()));
    }

    #[test]
    fn a_name_that_became_somebody_elses_is_given_up() {
        let mut names = Names::default();
        assert_eq!(assign(&mut names, "flannel%d", &with_links(&[])), Ok("flannel0".into()));
        assert_eq!(assign(&mut names, "flannel%d", &with_links(&[("flannel0", "veth")])), Ok("flannel1".into()));
    }

    #[test]
    fn a_link_given_up_for_another_name_is_ours_until_it_is_gone() {
        let kind = LinkKind::Vxlan { vni: 1, port: 8472, local: [192, 0, 2, 1].into(), learning: false, gbp: false };
        let vxlan = |name: &str| Link { on: Device::Link("v4".into()), name: name.into(), kind: kind.clone(), mtu: 1450, mac: None };
        let mut names = Names::default();
        let mut assign = |name: &str, observed: &Observed| {
            names.assign("vxlan", "v4", &vxlan(name), observed).expect("a name");
            names.ours().map(|name| name.0.clone()).collect::<Vec<_>>()
        };
        assert_eq!(assign("flannel.1", &with_links(&[])), ["flannel.1"]);
        let one = with_links(&[("flannel.1", "vxlan")]);
        assert_eq!(assign("flannel.7", &one), ["flannel.7", "flannel.1"]);
        assert_eq!(assign("flannel.7", &one), ["flannel.7", "flannel.1"]);
        assert_eq!(assign("flannel.7", &with_links(&[("flannel.7", "vxlan")])), ["flannel.7"]);
        assert_eq!(assign("flannel.9", &with_links(&[("flannel.7", "veth")])), ["flannel.9"]);
    }

    #[test]
    fn foreign_and_malformed_names_are_refused() {
        let mut names = Names::default();
        let there = with_links(&[("eth0", "veth"), ("tun9", "tun")]);
        assert_eq!(assign(&mut names, "eth0", &there), Err(NameError::Foreign("eth0".into(), "veth".into())));
        assert_eq!(assign(&mut names, "tun9", &there), Err(NameError::Foreign("tun9".into(), "tun".into())));
        for bad in ["", "a name", "a/b", "sixteen-letters-x", ".."] {
            assert_eq!(assign(&mut names, bad, &there), Err(NameError::Malformed(bad.into())), "{bad}");
        }
    }
}
