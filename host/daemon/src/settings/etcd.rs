//! Where etcd is and how this node signs in there. The store plugin is told the prefix alone; all else stays with the host.

use std::convert::Infallible;
use std::path::PathBuf;

use clap::Args;
use serde_json::{Map, Value};
use twill_plugin::{Credentials, Identity, Roots, Secret, Tls, Upstream};

/// The variable that may hold the password. The flag for it is hidden: every user of a machine can read flags.
const PASSWORD: &str = "TWILL_ETCD_PASSWORD";

/// Settings of the store "etcd".
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Store etcd")]
pub struct EtcdSettings {
    /// Addresses of the etcd servers, such as http://192.0.2.1:2379; may be given several times or with commas between. The first that answers is used, the
    /// next when it fails.
    #[arg(long, env = "TWILL_ETCD_ENDPOINTS", value_name = "URL", value_delimiter = ',')]
    pub etcd_endpoints: Vec<String>,
    /// What all keys in etcd begin with; flannel's own unless set.
    #[arg(long, env = "TWILL_ETCD_PREFIX", value_name = "PATH", default_value = "/coreos.com/network")]
    pub etcd_prefix: String,
    /// File with the certificates (PEM) of those who may have signed the servers'; else the system's.
    #[arg(long, env = "TWILL_ETCD_CAFILE", value_name = "FILE")]
    pub etcd_cafile: Option<PathBuf>,
    /// File with the client certificate (PEM) to show to the servers.
    #[arg(long, env = "TWILL_ETCD_CERTFILE", value_name = "FILE", requires = "etcd_keyfile")]
    pub etcd_certfile: Option<PathBuf>,
    /// File with its key (PEM).
    #[arg(long, env = "TWILL_ETCD_KEYFILE", value_name = "FILE", requires = "etcd_certfile")]
    pub etcd_keyfile: Option<PathBuf>,
    /// User of etcd, where it wants one; the password is in --etcd-password-file, or in the variable TWILL_ETCD_PASSWORD.
    #[arg(long, env = "TWILL_ETCD_USERNAME", value_name = "NAME")]
    pub etcd_username: Option<String>,
    /// File with the user's password, read anew for each login.
    #[arg(long, env = "TWILL_ETCD_PASSWORD_FILE", value_name = "FILE", requires = "etcd_username")]
    pub etcd_password_file: Option<PathBuf>,
    /// The password itself: flannel's command line has it so.
    #[arg(long, value_name = "TEXT", hide = true, value_parser = secret)]
    pub etcd_password: Option<Secret>,
}

fn secret(text: &str) -> Result<Secret, Infallible> {
    Ok(Secret::Text(text.to_owned()))
}

impl EtcdSettings {
    /// The servers as a grant; none when no address is given.
    ///
    /// # Errors
    /// An address that is none, or a user without a password; in words, without any secret.
    pub fn upstream(&self) -> Result<Option<Upstream>, String> {
        if self.etcd_endpoints.is_empty() {
            return Ok(None);
        }
        let endpoints = self.etcd_endpoints.iter().map(|text| text.trim().parse()).collect::<Result<_, _>>();
        let endpoints = endpoints.map_err(|error| format!("--etcd-endpoints: {error}"))?;
        let roots = self.etcd_cafile.clone().map_or(Roots::System, Roots::File);
        let pair = self.etcd_certfile.clone().zip(self.etcd_keyfile.clone());
        let identity = pair.map(|(certificate, key)| Identity { certificate, key });
        Ok(Some(Upstream { endpoints, tls: Tls { roots, identity, insecure: false }, credentials: self.credentials()? }))
    }

    fn credentials(&self) -> Result<Credentials, String> {
        let Some(user) = self.etcd_username.clone() else { return Ok(Credentials::None) };
        let from_environment = || std::env::var(PASSWORD).ok().filter(|text| !text.is_empty()).map(Secret::Text);
        let given = self.etcd_password.clone().or_else(|| self.etcd_password_file.clone().map(Secret::File));
        let password = given.or_else(from_environment);
        let missing = || format!("--etcd-username needs a password: name its file with --etcd-password-file, or set {PASSWORD}");
        Ok(Credentials::EtcdLogin { user, password: password.ok_or_else(missing)? })
    }

    /// The plugin's options: those given, and the prefix where they do not name one. Text that is no JSON object is for the plugin to refuse.
    pub fn options(&self, given: &str) -> String {
        let Ok(mut options) = serde_json::from_str::<Map<String, Value>>(given) else { return given.into() };
        options.entry("prefix").or_insert_with(|| self.etcd_prefix.as_str().into());
        Value::Object(options).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> EtcdSettings {
        EtcdSettings {
            etcd_endpoints: vec!["http://192.0.2.1:2379".into(), " https://etcd.example:2379".into()],
            etcd_prefix: "/coreos.com/network".into(),
            etcd_cafile: Some("/ca".into()),
            etcd_certfile: Some("/cert".into()),
            etcd_keyfile: Some("/key".into()),
            etcd_username: Some("root".into()),
            etcd_password_file: Some("/password".into()),
            etcd_password: None,
        }
    }

    #[test]
    fn settings_become_a_grant() {
        let upstream = settings().upstream().expect("right").expect("addresses");
        assert_eq!(
            upstream.endpoints.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["http://192.0.2.1:2379", "https://etcd.example:2379"]
        );
        assert_eq!(upstream.tls.roots, Roots::File("/ca".into()));
        assert_eq!(upstream.credentials, Credentials::EtcdLogin { user: "root".into(), password: Secret::File("/password".into()) });
        assert_eq!(EtcdSettings { etcd_endpoints: vec![], ..settings() }.upstream(), Ok(None));
    }

    #[test]
    fn an_address_that_is_none_is_not_repeated() {
        let wrong = EtcdSettings { etcd_endpoints: vec!["http://root:hunter2@a:1".into()], ..settings() };
        assert!(wrong.upstream().is_err_and(|why| why.contains("--etcd-endpoints") && !why.contains("hunter2")));
    }

    #[test]
    fn the_prefix_is_the_plugins_unless_its_options_name_one() {
        assert_eq!(settings().options("{}"), r#"{"prefix":"/coreos.com/network"}"#);
        assert_eq!(settings().options(r#"{"prefix":"/x"}"#), r#"{"prefix":"/x"}"#);
        assert_eq!(settings().options("["), "[");
    }
}
