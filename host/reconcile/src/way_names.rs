//! The names of the own ways. Pure.

use std::collections::BTreeSet;

use twill_model::Way;

/// The own ways with their names. A way is named after its backend; a second one of the same backend, with other options, gets "~2" after that. A way keeps
/// its name as long as it is there, since links are known by it.
#[derive(Debug, Clone, Default)]
pub struct WayNames(Vec<(String, Way)>);

/// What stands between the backend and the number of a way's name.
const MARK: char = '~';

/// The backend of a way by its name.
pub fn backend_of(name: &str) -> &str {
    name.split(MARK).next().unwrap_or(name)
}

impl WayNames {
    /// Names these ways, in their order, and forgets all others. One whose options changed in place keeps the name.
    pub fn name(&mut self, ways: &[Way]) -> Vec<(String, Way)> {
        let same = |a: &Way, b: &Way| a.backend == b.backend && a.options == b.options;
        let mut free = std::mem::take(&mut self.0);
        let mut named: Vec<(Option<String>, &Way)> = ways
            .iter()
            .map(|way| (free.iter().position(|(_, known)| same(known, way)).map(|place| free.swap_remove(place).0), way))
            .collect();
        for (name, way) in named.iter_mut().filter(|(name, _)| name.is_none()) {
            *name = free.iter().position(|(_, known)| known.backend == way.backend).map(|place| free.swap_remove(place).0);
        }
        let mut taken: BTreeSet<String> = named.iter().filter_map(|(name, _)| name.clone()).collect();
        for (name, way) in named {
            let name = name.unwrap_or_else(|| fresh(&way.backend, &taken));
            taken.insert(name.clone());
            self.0.push((name, way.clone()));
        }
        self.0.clone()
    }
}

/// The first name of that backend that is not taken.
fn fresh(backend: &str, taken: &BTreeSet<String>) -> String {
    let numbered = (2..).map(|number: usize| format!("{backend}{MARK}{number}"));
    std::iter::once(backend.to_owned()).chain(numbered).find(|name| !taken.contains(name)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(backend: &str, options: &str) -> Way {
        Way { backend: backend.into(), options: options.into(), data_v4: None, data_v6: None }
    }

    fn names(names: &mut WayNames, ways: &[(&str, &str)]) -> Vec<String> {
        let ways: Vec<Way> = ways.iter().map(|(backend, options)| way(backend, options)).collect();
        names.name(&ways).into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn a_way_keeps_its_name_while_others_come_and_go() {
        let mut known = WayNames::default();
        assert_eq!(names(&mut known, &[("vxlan", "1")]), ["vxlan"]);
        assert_eq!(names(&mut known, &[("vxlan", "8"), ("vxlan", "1"), ("udp", "")]), ["vxlan~2", "vxlan", "udp"]);
        assert_eq!(names(&mut known, &[("vxlan", "8"), ("udp", "")]), ["vxlan~2", "udp"]);
        assert_eq!(names(&mut known, &[("vxlan", "9"), ("vxlan", "8")]), ["vxlan", "vxlan~2"]);
        assert_eq!(names(&mut known, &[("vxlan", "8")]), ["vxlan~2"]);
        assert_eq!(names(&mut known, &[("vxlan", "10")]), ["vxlan~2"], "options changed in place");
        assert_eq!(backend_of("vxlan~2"), "vxlan");
    }
}
