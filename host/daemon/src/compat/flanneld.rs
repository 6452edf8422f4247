//! flanneld's command line: what was asked for by flags and `FLANNELD_…` variables, by flannel's rules. Pure.
//!
//! A flag given as an argument wins over its variable; an empty variable is none; a variable with a bad value is told and passed over. What the wishes
//! mean for twill is [`translate`]'s business.

mod table;
pub mod translate;

use super::go_flags::{self, FlagError, Value};
pub use table::usage;
use table::{FLAGS, Flag, PREFIX, find};

/// What is said of a password among the arguments.
const SEEN_BY_ALL: &str =
    "every user of this host can read --etcd-password in the list of processes; set the variable FLANNELD_ETCD_PASSWORD instead";

/// What a command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Asked {
    /// The text of `--help`.
    Help,
    /// The version.
    Version,
    /// The daemon.
    Run(Wishes),
}

/// Flags with their values, and what is to be told about them.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    given: Vec<(&'static Flag, Value)>,
    /// Sentences for the log: what was passed over, and why.
    pub notes: Vec<String>,
}

/// Reads arguments (without the program's name) and the environment.
///
/// # Errors
/// An argument that is no flag of flannel's, or lacks a fitting value.
pub fn read(arguments: &[String], environment: &[(String, String)]) -> Result<Asked, FlagError> {
    let flags = match go_flags::read(arguments.iter().map(String::as_str), |name| find(name).map(|flag| flag.kind)) {
        Err(FlagError::Help) => return Ok(Asked::Help),
        flags => flags?,
    };
    let given = flags.given.into_iter().filter_map(|(name, value)| Some((find(&name)?, value)));
    let mut wishes = Wishes { given: given.collect(), notes: Vec::new() };
    if wishes.truth("version") {
        return Ok(Asked::Version);
    }
    if wishes.given.iter().any(|(flag, _)| flag.becomes == table::Becomes::Secret) {
        wishes.notes.push(SEEN_BY_ALL.into());
    }
    if let Some(first) = flags.rest.first() {
        wishes.notes.push(format!("\"{first}\" is no flag, so it and all that follows it were passed over, as flanneld does"));
    }
    wishes.add(environment);
    Ok(Asked::Run(wishes))
}

/// True when arguments without a subcommand are meant for flanneld: they have a flag of its, or its variables are set.
pub fn is_meant(arguments: &[String], environment: &[(String, String)]) -> bool {
    match arguments.first().map(String::as_str) {
        None => has_variables(environment),
        Some("--help" | "-h" | "--version" | "-V") => false,
        Some(first) if !first.starts_with('-') => false,
        Some(_) => has_variables(environment) || arguments.iter().filter_map(|word| go_flags::name(word)).any(|name| find(name).is_some()),
    }
}

fn has_variables(environment: &[(String, String)]) -> bool {
    environment.iter().any(|(name, value)| name.starts_with(PREFIX) && !value.is_empty())
}

impl Wishes {
    fn add(&mut self, environment: &[(String, String)]) {
        let as_arguments: Vec<&str> = self.given.iter().map(|(flag, _)| flag.name).collect();
        for (name, text) in environment.iter().filter(|(name, text)| name.starts_with(PREFIX) && !text.is_empty()) {
            match FLAGS.iter().find(|flag| flag.variable() == *name) {
                None => self.notes.push(format!("the variable {name} is none of flannel's and was passed over")),
                // flanneld looks at its version flag before it looks at the environment.
                Some(flag) if as_arguments.contains(&flag.name) || flag.name == "version" => {}
                Some(flag) => match flag.kind.value(text) {
                    Ok(value) => self.given.push((flag, value)),
                    Err(error) => self.notes.push(format!("the variable {name} was passed over: {error}")),
                },
            }
        }
    }

    /// The last value given for a flag; none when there is none, or an empty text.
    fn last(&self, name: &str) -> Option<&Value> {
        self.given
            .iter()
            .rev()
            .find(|(flag, _)| flag.name == name)
            .map(|(_, value)| value)
            .filter(|value| **value != Value::Text(String::new()))
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.last(name).and_then(|value| if let Value::Text(text) = value { Some(text.as_str()) } else { None })
    }

    fn number(&self, name: &str) -> Option<i64> {
        self.last(name).and_then(|value| if let Value::Number(number) = value { Some(*number) } else { None })
    }

    fn truth(&self, name: &str) -> bool {
        self.last(name) == Some(&Value::Truth(true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    fn variables(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn wishes(line: &str, environment: &[(&str, &str)]) -> Wishes {
        match read(&words(line), &variables(environment)) {
            Ok(Asked::Run(wishes)) => wishes,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn an_argument_wins_over_its_variable() {
        let wishes = wishes("-iface=eth0", &[("FLANNELD_IFACE", "eth1"), ("FLANNELD_IP_MASQ", "true"), ("FLANNELD_V", "4")]);
        let ifaces: Vec<_> = wishes.given.iter().filter(|(flag, _)| flag.name == "iface").map(|(_, value)| value.clone()).collect();
        assert_eq!(ifaces, [Value::Text("eth0".into())]);
        assert!(wishes.truth("ip-masq"));
        assert_eq!(wishes.number("v"), Some(4));
        assert_eq!(wishes.notes, [""; 0]);
    }

    #[test]
    fn an_empty_variable_is_none_and_a_bad_one_is_told() {
        let wishes = wishes("", &[("FLANNELD_SUBNET_FILE", ""), ("FLANNELD_IP_MASQ", "yes"), ("FLANNELD_IPMASQ", "true"), ("HOME", "/")]);
        assert_eq!(wishes.given, []);
        assert_eq!(
            wishes.notes,
            [
                "the variable FLANNELD_IP_MASQ was passed over: \"yes\" is neither true nor false (nor 1, 0, t, f)",
                "the variable FLANNELD_IPMASQ is none of flannel's and was passed over",
            ]
        );
    }

    #[test]
    fn a_password_among_the_arguments_is_warned_of_and_not_repeated() {
        assert_eq!(wishes("-etcd-password=hunter2", &[]).notes, [SEEN_BY_ALL]);
        assert_eq!(wishes("", &[("FLANNELD_ETCD_PASSWORD", "hunter2")]).notes, [""; 0]);
    }

    #[test]
    fn the_last_of_equal_flags_counts_and_words_behind_the_flags_are_told() {
        let wishes = wishes("-v=1 --v 3 -ip-masq false -iface=eth0", &[]);
        assert_eq!(wishes.number("v"), Some(3));
        assert!(wishes.truth("ip-masq"));
        assert_eq!(wishes.text("iface"), None);
        assert_eq!(wishes.notes, ["\"false\" is no flag, so it and all that follows it were passed over, as flanneld does"]);
    }

    #[test]
    fn help_and_version_are_asked_for_by_argument() {
        assert_eq!(read(&words("-v=4 -h"), &[]), Ok(Asked::Help));
        assert_eq!(read(&words("--version"), &[]), Ok(Asked::Version));
        assert_eq!(read(&words("-version=true"), &[]), Ok(Asked::Version));
        assert_eq!(wishes("--version=false", &[("FLANNELD_VERSION", "true")]).notes, [""; 0]);
    }

    #[test]
    fn every_flag_of_flannels_is_there_with_its_default() {
        assert_eq!(FLAGS.len(), 31);
        for flag in FLAGS.iter().filter(|flag| !flag.default.is_empty()) {
            assert!(flag.kind.value(flag.default).is_ok(), "{}", flag.name);
            assert!(usage("flanneld").contains(flag.default), "{}", flag.name);
        }
        assert_eq!(find("log_backtrace_at").map(Flag::variable).as_deref(), Some("FLANNELD_LOG_BACKTRACE_AT"));
        assert_eq!(find("kube-subnet-mgr").map(Flag::variable).as_deref(), Some("FLANNELD_KUBE_SUBNET_MGR"));
    }

    #[test]
    fn what_is_meant_for_flanneld_is_told_from_twills_own() {
        let set: &[(&str, &str)] = &[("FLANNELD_ETCD_PREFIX", "/x")];
        /// Call, variables, whether flannel is meant.
        type Row = (&'static str, &'static [(&'static str, &'static str)], bool);
        let table: [Row; 15] = [
            ("", &[], false),
            ("", set, true),
            ("", &[("FLANNELD_ETCD_PREFIX", "")], false),
            ("run", set, false),
            ("run --iface eth0", &[], false),
            ("status", set, false),
            ("--ip-masq", &[], true),
            ("-v=4", &[], true),
            ("-etcd-endpoints=http://192.0.2.1:2379 -iface eth0", &[], true),
            ("--etcd-endpoint=x --iface=eth0", &[], true),
            ("--etcd-endpoint=x", &[], false),
            ("-version", &[], true),
            ("--version", set, false),
            ("--help", set, false),
            ("-V", &[], false),
        ];
        for (line, environment, wanted) in table {
            assert_eq!(is_meant(&words(line), &variables(environment)), wanted, "{line} {environment:?}");
        }
    }
}
