//! A certificate authority: what a server and its clients show each other, as PEM files that every node of the lab can read.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair};

use crate::world::ROOT;

/// An authority with a folder of its own.
pub struct Authority {
    dir: PathBuf,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its key, as files.
#[derive(Debug, Clone)]
pub struct Pair {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl Authority {
    /// A new one; its name tells its folder from others'.
    pub fn new(name: &str) -> Result<Authority> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let dir = Path::new(ROOT).join("pki").join(name);
        std::fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        std::fs::write(dir.join("ca.pem"), issuer.pem())?;
        Ok(Authority { dir, issuer })
    }

    /// The file with its own certificate.
    pub fn roots(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }

    /// For a server at this address. etcd shows it to itself too, as a client of its own gateway.
    pub fn server(&self, address: IpAddr) -> Result<Pair> {
        self.sign(&address.to_string(), vec![address.to_string()], "")
    }

    /// For a client. An empty name leaves the common name out.
    pub fn client(&self, file: &str, common_name: &str) -> Result<Pair> {
        self.sign(file, Vec::new(), common_name)
    }

    fn sign(&self, file: &str, names: Vec<String>, common_name: &str) -> Result<Pair> {
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name = DistinguishedName::new();
        if !common_name.is_empty() {
            params.distinguished_name.push(DnType::CommonName, common_name);
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate()?;
        let signed = params.signed_by(&key, &self.issuer)?;
        let pair = Pair { certificate: self.dir.join(format!("{file}.pem")), key: self.dir.join(format!("{file}.key")) };
        std::fs::write(&pair.certificate, signed.pem())?;
        std::fs::write(&pair.key, key.serialize_pem())?;
        Ok(pair)
    }
}
