//! What a file is, by its name.
//!
//! A lease's file is named after its subnets as flannel names its keys in etcd: `10.10.26.0-24.lease`, `10.10.26.0-24&fd10:0:0:25::-64.lease`,
//! or `fd10:0:0:25::-64.lease`. One subnet has one name, so that creating the file is what decides who holds it.

use twill_guest::store::Subnets;

/// flannel's network config, verbatim.
pub const CONFIG: &str = "config.json";
/// Made once, by the first to write: a directory made anew gets another one.
pub const IDENTITY: &str = "identity.json";
/// What the names of leases end in.
const LEASE: &str = ".lease";
/// Endings of editors' drafts and back-ups.
const DRAFTS: [&str; 8] = ["~", ".swp", ".swx", ".bak", ".orig", ".tmp", ".new", ".rej"];

/// What a file is, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The network config.
    Config,
    /// The mark of this directory.
    Identity,
    /// The lease of these subnets.
    Lease(Subnets),
    /// Not ours, and nothing to speak of: hidden files, editors' drafts.
    Ignored,
    /// Something that does not belong here.
    Foreign,
}

impl Kind {
    /// What the file `name` is.
    pub fn of(name: &str) -> Kind {
        match name {
            CONFIG => Kind::Config,
            IDENTITY => Kind::Identity,
            _ if is_draft(name) => Kind::Ignored,
            _ => name.strip_suffix(LEASE).and_then(Subnets::from_name).map_or(Kind::Foreign, Kind::Lease),
        }
    }
}

/// The name of the lease file of `subnets`.
pub fn file_name(subnets: &Subnets) -> String {
    subnets.name() + LEASE
}

fn is_draft(name: &str) -> bool {
    name.starts_with('.') || name.starts_with('#') || name == "lost+found" || DRAFTS.iter().any(|ending| name.ends_with(ending))
}

#[cfg(test)]
mod tests {
    use super::*;
    use twill_guest::store::Prefixes;

    #[test]
    fn names_are_flannels() {
        let both = Prefixes { v4: Some("10.10.26.0/24".into()), v6: Some("fd10:0:0:25::/64".into()) };
        let subnets = Subnets::parse(&both).expect("subnets");
        assert_eq!(file_name(&subnets), "10.10.26.0-24&fd10:0:0:25::-64.lease");
        assert_eq!(Kind::of(&file_name(&subnets)), Kind::Lease(subnets));
    }

    #[test]
    fn everything_else_is_foreign_or_ignored() {
        for name in [
            "10.1.2.0.lease",
            "10.1.2.3-24.lease",
            "10.1.2.0-024.lease",
            "FD10::-64.lease",
            "10.1.2.0-33.lease",
            "notes.txt",
            ".lease",
            "a&b.lease",
        ] {
            let expected = if name.starts_with('.') { Kind::Ignored } else { Kind::Foreign };
            assert_eq!(Kind::of(name), expected, "{name}");
        }
        for name in [".config.json.swp", "config.json~", "10.1.2.0-24.lease.bak", "lost+found"] {
            assert_eq!(Kind::of(name), Kind::Ignored, "{name}");
        }
        assert_eq!((Kind::of(CONFIG), Kind::of(IDENTITY)), (Kind::Config, Kind::Identity));
    }
}
