//! twill called as flanneld: flannel's command line, put into the words of `twill run`.

use std::ffi::OsString;
use std::path::Path;

use crate::compat::flanneld::translate::{Translation, Unfulfillable, translate};
use crate::compat::flanneld::{Asked, is_meant, read, usage};
use crate::exit::Exit;

/// A call of this program, as text.
pub struct Call {
    program: String,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
}

impl Call {
    /// The call, if it is one in flannel's manner: by the name `flanneld`, or without a subcommand and with a flag or variable of flannel's.
    pub fn of(arguments: &[OsString]) -> Option<Call> {
        let text = |word: &OsString| word.to_string_lossy().into_owned();
        let environment = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        let mut words = arguments.iter().map(text);
        let program = words.next().unwrap_or_default();
        let call = Call { program, arguments: words.collect(), environment: environment.collect() };
        let named = Path::new(&call.program).file_name().is_some_and(|name| name == "flanneld");
        (named || is_meant(&call.arguments, &call.environment)).then_some(call)
    }

    /// What `twill run` shall be called with; none when only a text was asked for, which was then printed.
    ///
    /// # Errors
    /// Flags that are none, do not fit, or ask for what twill cannot do.
    pub fn translation(&self) -> Result<Option<Translation>, Exit> {
        let program = Path::new(&self.program).file_name().map_or_else(|| "flanneld".into(), |name| name.to_string_lossy());
        let asked = read(&self.arguments, &self.environment);
        let asked = asked.map_err(|error| Exit::usage(format!("{error}; `{program} -help` lists flannel's flags")))?;
        if !matches!(asked, Asked::Run(_)) {
            super::end_with_the_reader();
        }
        match asked {
            Asked::Help => print!("{}", usage(&program)),
            Asked::Version => eprintln!("twill {}", env!("CARGO_PKG_VERSION")),
            Asked::Run(wishes) => return translate(&wishes).map(Some).map_err(refused),
        }
        Ok(None)
    }
}

/// flanneld ends with 1 where its flags do not fit.
fn refused(error: Unfulfillable) -> Exit {
    match error {
        Unfulfillable::Kubernetes => Exit::lacking(error),
        _ => Exit::failed(error),
    }
}

/// What the daemon's log begins with.
pub fn notes(translation: &Translation) -> Vec<String> {
    let first = format!("flannel's command line is taken for: twill run {}", translation.shown());
    std::iter::once(first).chain(translation.notes.iter().cloned()).collect()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::super::{Cli, Command, understood};
    use super::*;
    use crate::settings::{ForwardRules, Listen, RunSettings, with_defaults};

    fn call(line: &str, environment: &[(&str, &str)]) -> Call {
        Call {
            program: "/opt/bin/flanneld".into(),
            arguments: line.split_whitespace().map(str::to_owned).collect(),
            environment: environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        }
    }

    /// The settings that `twill run` gets, with an empty settings file.
    fn settings(line: &str, environment: &[(&str, &str)]) -> RunSettings {
        let translation = call(line, environment).translation().expect("flannel's flags").expect("a daemon");
        let file = tempfile::NamedTempFile::new().expect("a file");
        let command = with_defaults(Cli::command(), &translation.defaults);
        let arguments = ["twill", "run"].map(OsString::from).into_iter().chain(translation.arguments.iter().map(OsString::from));
        match understood(command, Some(file.path().into()), arguments.collect()) {
            Ok(Command::Run(run)) => run.settings,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn a_unit_file_of_flannels_sets_twill_up() {
        let line = "-iface=eth1 -iface=eth2 --iface-regex ^10 -public-ip=192.0.2.7 --ip-masq -ip-masq-fully-random-disable=1 \
                    --iptables-forward-rules=false -healthz-port=10256 -v=4 -subnet-file=/run/flannel/two.env";
        let settings = settings(line, &[("FLANNELD_IFACE_CAN_REACH", "192.0.2.1"), ("FLANNELD_PUBLIC_IP", "192.0.2.8")]);
        assert_eq!(settings.store.store.as_deref(), Some("etcd"));
        assert_eq!(settings.iface, ["eth1", "eth2"]);
        assert_eq!(settings.iface_regex, ["^10"]);
        assert_eq!(settings.iface_can_reach, "192.0.2.1".parse().ok());
        assert_eq!(settings.public_ip, "192.0.2.7".parse().ok());
        assert!(settings.ip_masq && settings.ip_masq_fully_random_disable);
        assert_eq!(settings.forward_rules, ForwardRules::Leave);
        assert_eq!(settings.healthz, Listen::At("0.0.0.0:10256".parse().expect("an address")));
        assert_eq!(settings.log, "info,twill=debug");
        assert_eq!(settings.instance.instance, "run-flannel-two.env");
        assert_eq!((settings.instance.subnet_file.to_str(), settings.listen), (Some("/run/flannel/two.env"), Listen::Off));
    }

    #[test]
    fn without_flags_flannels_defaults_hold() {
        let settings = settings("", &[]);
        assert_eq!(settings.store.store.as_deref(), Some("etcd"));
        assert_eq!(settings.instance.subnet_file.to_str(), Some("/run/flannel/subnet.env"));
        assert_eq!((settings.ip_masq, settings.forward_rules), (false, ForwardRules::Manage));
        assert_eq!((settings.healthz, settings.instance.instance.as_str()), (Listen::Off, "twill"));
    }
}
