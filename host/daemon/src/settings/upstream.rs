//! HTTP servers that an operator grants to a store plugin by name, for stores that twill knows nothing else of. etcd has settings of its own.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use twill_plugin::{Credentials, Endpoint, Roots, Secret, Tls, Upstream};

/// Servers by name, and how this node signs in there.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Servers for other stores")]
pub struct UpstreamSettings {
    /// A server that the store may speak to, under the name by which it asks for it: redis=http://192.0.2.1:7379. Several addresses with commas: the first that answers is
    /// used. May be given several times.
    #[arg(long, env = "TWILL_UPSTREAM", value_name = "NAME=URL[,URL]", value_delimiter = ';')]
    pub upstream: Vec<String>,
    /// File with the certificates (PEM) of those who may have signed these servers'; else the system's.
    #[arg(long, env = "TWILL_UPSTREAM_CAFILE", value_name = "FILE")]
    pub upstream_cafile: Option<PathBuf>,
    /// User for a server that wants one with every request (HTTP Basic); the password is in --upstream-password-file.
    #[arg(long, env = "TWILL_UPSTREAM_USER", value_name = "NAME=USER", value_delimiter = ';')]
    pub upstream_user: Vec<String>,
    /// File with that user's password, read anew when it is needed.
    #[arg(long, env = "TWILL_UPSTREAM_PASSWORD_FILE", value_name = "NAME=FILE", value_delimiter = ';')]
    pub upstream_password_file: Vec<String>,
    /// File with a token for a server that wants one with every request (HTTP Bearer), read anew when it is needed.
    #[arg(long, env = "TWILL_UPSTREAM_TOKEN_FILE", value_name = "NAME=FILE", value_delimiter = ';')]
    pub upstream_token_file: Vec<String>,
}

impl UpstreamSettings {
    /// The servers as grants.
    ///
    /// # Errors
    /// Something that is not NAME=VALUE, an address that is none, credentials for a server that is not named, a user without a password; without any secret.
    pub fn grants(&self) -> Result<BTreeMap<String, Upstream>, String> {
        let roots = self.upstream_cafile.clone().map_or(Roots::System, Roots::File);
        let tls = Tls { roots, identity: None, insecure: false };
        let mut grants = BTreeMap::new();
        for (name, addresses) in pairs("--upstream", &self.upstream)? {
            let endpoints: Result<Vec<Endpoint>, _> = addresses.split(',').map(|address| address.trim().parse()).collect();
            let endpoints = endpoints.map_err(|error| format!("--upstream {name}: {error}"))?;
            grants.insert(name, Upstream { endpoints, tls: tls.clone(), credentials: Credentials::None });
        }
        let passwords: BTreeMap<String, String> = pairs("--upstream-password-file", &self.upstream_password_file)?.into_iter().collect();
        for (name, user) in pairs("--upstream-user", &self.upstream_user)? {
            let password =
                passwords.get(&name).ok_or_else(|| format!("--upstream-user {name} needs --upstream-password-file {name}=FILE"))?;
            let basic = Credentials::Basic { user, password: Secret::File(password.into()) };
            named(&mut grants, "--upstream-user", &name)?.credentials = basic;
        }
        for (name, file) in pairs("--upstream-token-file", &self.upstream_token_file)? {
            named(&mut grants, "--upstream-token-file", &name)?.credentials = Credentials::Bearer(Secret::File(file.into()));
        }
        Ok(grants)
    }
}

fn named<'a>(grants: &'a mut BTreeMap<String, Upstream>, flag: &str, name: &str) -> Result<&'a mut Upstream, String> {
    grants.get_mut(name).ok_or_else(|| format!("{flag} speaks of \"{name}\", and no --upstream {name}=URL does"))
}

/// Name and value of each.
fn pairs(flag: &str, texts: &[String]) -> Result<Vec<(String, String)>, String> {
    let pair = |text: &String| {
        let (name, value) = text.split_once('=').filter(|(name, value)| !name.trim().is_empty() && !value.is_empty())?;
        Some((name.trim().to_owned(), value.to_owned()))
    };
    texts
        .iter()
        .map(|text| pair(text).ok_or_else(|| format!("{flag} is written NAME=VALUE, such as redis=http://192.0.2.1:7379")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(all: &[&str]) -> Vec<String> {
        all.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn servers_are_granted_by_name_with_their_credentials() {
        let settings = UpstreamSettings {
            upstream: texts(&["redis=http://192.0.2.1:7379,http://192.0.2.2:7379", "other=https://other.example"]),
            upstream_user: texts(&["redis=twill"]),
            upstream_password_file: texts(&["redis=/password"]),
            upstream_token_file: texts(&["other=/token"]),
            ..UpstreamSettings::default()
        };
        let grants = settings.grants().expect("right");
        assert_eq!(grants["redis"].endpoints.len(), 2);
        assert_eq!(grants["redis"].credentials, Credentials::Basic { user: "twill".into(), password: Secret::File("/password".into()) });
        assert_eq!(grants["other"].credentials, Credentials::Bearer(Secret::File("/token".into())));
    }

    #[test]
    fn what_is_wrong_is_said_without_a_secret() {
        let wrong = |upstream: &[&str], user: &[&str]| {
            let settings = UpstreamSettings { upstream: texts(upstream), upstream_user: texts(user), ..UpstreamSettings::default() };
            settings.grants().expect_err("wrong")
        };
        assert!(wrong(&["http://192.0.2.1"], &[]).contains("NAME=VALUE"));
        assert!(!wrong(&["redis=http://root:hunter2@a:1"], &[]).contains("hunter2"));
        assert!(wrong(&["redis=http://a:1"], &["redis=x"]).contains("--upstream-password-file redis=FILE"));
        assert!(wrong(&[], &["redis=x"]).contains("--upstream-password-file"));
    }
}
