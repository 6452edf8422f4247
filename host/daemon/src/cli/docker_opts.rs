//! `twill docker-opts`: options for Docker's daemon, made of subnet.env. Takes the place of flannel's script mk-docker-opts.sh, flags and outputs alike.

use std::io;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::compat::docker_opts::{Variables, Wanted, elsewhere, is_name, text, variables};
use crate::exit::Exit;

/// Write a file with the options that make Docker use this node's subnet, as flannel's mk-docker-opts.sh does.
#[derive(Debug, Args)]
#[command(after_help = "\
Without -i and -c both kinds of variable are written.

Example, for a service that starts Docker with $DOCKER_NETWORK_OPTIONS:
  twill docker-opts -k DOCKER_NETWORK_OPTIONS -d /run/flannel/docker
writes
  DOCKER_OPT_BIP=\"--bip=10.244.26.1/24\"
  DOCKER_OPT_IPMASQ=\"--ip-masq=true\"
  DOCKER_OPT_MTU=\"--mtu=1472\"
  DOCKER_NETWORK_OPTIONS=\" --bip=10.244.26.1/24 --ip-masq=true --mtu=1472\"")]
pub struct DockerOpts {
    /// The file that the daemon writes.
    #[arg(short = 'f', value_name = "FILE", default_value = "/run/flannel/subnet.env")]
    from: PathBuf,
    /// The file to write.
    #[arg(short = 'd', value_name = "FILE", default_value = "/run/docker_opts.env")]
    docker: PathBuf,
    /// Write a variable for each option, such as DOCKER_OPT_MTU.
    #[arg(short = 'i')]
    single: bool,
    /// Write all options in one variable.
    #[arg(short = 'c')]
    combined: bool,
    /// Name of the variable with all options.
    #[arg(short = 'k', value_name = "NAME", default_value = "DOCKER_OPTS", value_parser = variable_name)]
    key: String,
    /// Say nothing about masquerading.
    #[arg(short = 'm')]
    without_masquerade: bool,
}

impl DockerOpts {
    /// Writes the file, then looks whether Docker could use it.
    pub fn main(self) -> Result<(), Exit> {
        let variables = self.variables()?;
        let text =
            text(&variables, &self.wanted()).map_err(|error| Exit::failed(format!("cannot tell Docker who masquerades: {error}")))?;
        // In place, as the script does: the file may be a link or /dev/stdout.
        std::fs::write(&self.docker, text).map_err(|error| Exit::failed(format!("cannot write {}: {error}", self.docker.display())))?;
        let routes = std::fs::read_to_string("/proc/net/route").unwrap_or_default();
        match elsewhere(&routes, &variables) {
            None => Ok(()),
            Some((subnet, gateway)) => Err(Exit::failed(format!(
                "{} was written, but a route sends {subnet}, this node's own subnet, to {gateway}: remove that route before Docker starts (ip route del {subnet} via {gateway})",
                self.docker.display()
            ))),
        }
    }

    fn wanted(&self) -> Wanted {
        let both = !self.single && !self.combined;
        Wanted {
            single: self.single || both,
            combined: (self.combined || both).then(|| self.key.clone()),
            masquerade: !self.without_masquerade,
        }
    }

    /// The environment, and over it the file.
    fn variables(&self) -> Result<Variables, Exit> {
        let environment = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        let mut all: Variables = environment.collect();
        all.extend(variables(&read(&self.from)?));
        Ok(all)
    }
}

/// The file's text. A missing one is empty, as for the script, and told.
fn read(path: &Path) -> Result<String, Exit> {
    match std::fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            eprintln!("twill: there is no {}, so no options are made of it; is the daemon ready?", path.display());
            Ok(String::new())
        }
        read => read.map_err(|error| Exit::failed(format!("cannot read {}: {error}", path.display()))),
    }
}

fn variable_name(text: &str) -> Result<String, String> {
    if is_name(text) { Ok(text.to_owned()) } else { Err("say a name of letters, digits and _ that starts with no digit".into()) }
}
