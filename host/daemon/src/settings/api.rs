//! Where the API listens, and what it asks of those who come over the network.

use std::path::PathBuf;

use clap::Args;
use twill_http::{Access, Tls, TlsFiles, Token};

use super::Listen;

/// Settings of the API.
#[derive(Debug, Clone, Default, Args)]
pub struct ApiSettings {
    /// File with the token that lets its bearer change things over TCP, and beyond loopback read them: one line, such as the output of `openssl rand -hex 32`, with mode
    /// 600. It is read again when it changes.
    #[arg(long, env = "TWILL_API_TOKEN_FILE", value_name = "FILE", help_heading = "API and logs")]
    pub api_token_file: Option<PathBuf>,
    /// Name by which the API may be asked for beside localhost and the address it listens on; may be given several times.
    #[arg(long, env = "TWILL_API_NAME", value_name = "NAME", value_delimiter = ',', help_heading = "API and logs")]
    pub api_name: Vec<String>,
    /// Certificate of the API (PEM, with those that lead to its root): it is then served by https.
    #[arg(long, env = "TWILL_API_CERT", value_name = "FILE", requires = "api_key", help_heading = "API and logs")]
    pub api_cert: Option<PathBuf>,
    /// Key of --api-cert (PEM).
    #[arg(long, env = "TWILL_API_KEY", value_name = "FILE", requires = "api_cert", help_heading = "API and logs")]
    pub api_key: Option<PathBuf>,
    /// Who signs client certificates (PEM): whoever shows one may do everything, and nobody comes in without one.
    #[arg(long, env = "TWILL_API_CLIENT_CA", value_name = "FILE", requires = "api_cert", help_heading = "API and logs")]
    pub api_client_ca: Option<PathBuf>,
}

impl ApiSettings {
    /// What the TCP door asks for, and its TLS.
    ///
    /// # Errors
    /// A file cannot be used; or the door is open to the network and asks for nothing.
    pub fn door(&self, listen: Listen) -> Result<(Access, Option<Tls>), String> {
        let beyond = matches!(listen, Listen::At(address) if !address.ip().is_loopback());
        if let (Listen::At(address), true, None, None) = (listen, beyond, &self.api_token_file, &self.api_client_ca) {
            return Err(format!(
                "--listen {address} opens the API to the network, where it asks for a token or a client certificate: add --api-token-file FILE (openssl rand -hex 32 > FILE; \
                 chmod 600 FILE) or --api-cert, --api-key and --api-client-ca; or listen on 127.0.0.1"
            ));
        }
        let token = self.api_token_file.as_deref().map(Token::open).transpose().map_err(|error| error.to_string())?;
        let files = self.api_cert.clone().zip(self.api_key.clone());
        let files = files.map(|(certificate, key)| TlsFiles { certificate, key, client_ca: self.api_client_ca.clone() });
        let tls = files.map(Tls::open).transpose().map_err(|error| error.to_string())?;
        Ok((Access { token, names: self.api_name.clone(), certified: self.api_client_ca.is_some() }, tls))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listen(address: &str) -> Listen {
        address.parse().expect("an address")
    }

    #[test]
    fn the_network_is_not_let_in_without_a_token() {
        let bare = ApiSettings::default();
        for address in ["0.0.0.0:4646", "[::]:4646", "192.0.2.1:4646"] {
            let refusal = bare.door(listen(address)).expect_err(address);
            assert!(refusal.contains("--api-token-file") && refusal.contains(address), "{refusal}");
        }
        for address in ["127.0.0.1:4646", "[::1]:4646", "127.3.2.1:1", "off"] {
            assert!(bare.door(listen(address)).is_ok(), "{address}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_used_is_named() {
        let token = ApiSettings { api_token_file: Some("/no/token".into()), ..ApiSettings::default() };
        assert!(token.door(listen("0.0.0.0:1")).expect_err("no file").contains("/no/token"));
        let tls = ApiSettings { api_cert: Some("/no/cert".into()), api_key: Some("/no/key".into()), ..ApiSettings::default() };
        assert!(tls.door(listen("127.0.0.1:1")).expect_err("no file").contains("/no/key"));
    }
}
