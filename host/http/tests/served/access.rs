//! Who is let in, on the wire: tokens, pages of other sites, client certificates, and bodies that make no sense.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::sample;
use crate::wire::Server;
use rcgen::{CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use twill_http::{Access, Tls, TlsFiles, Token, serve_tls};
use twill_model::status::Snapshot;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

async fn guarded() -> (Server, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("token");
    std::fs::write(&path, TOKEN).expect("written");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).expect("a mode");
    let access = Access { token: Some(Token::open(&path).expect("a token")), ..Access::default() };
    (Server::guarded(Snapshot::default(), Ok("done as asked".into()), access).await, folder)
}

fn post(path: &str, headers: &str, body: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\nConnection: close\r\n{headers}\r\n{body}", body.len())
}

#[tokio::test]
async fn changes_take_the_token_and_wrong_ones_are_told_how() {
    let (server, _folder) = guarded().await;
    let right = format!("Authorization: Bearer {TOKEN}\r\n");
    for change in ["/api/v1/release", "/api/v1/reconcile", "/api/v1/drain", "/api/v1/config/accept", "/api/v1/plugins/reload"] {
        for wrong in
            ["", "Authorization: Bearer x\r\n", "Authorization: Bearer\r\n", "Authorization: Basic !!\r\n", "Authorization: Digest a\r\n"]
        {
            let answer = server.send(&post(change, wrong, "")).await;
            assert_eq!((answer.status, answer.header("content-type")), (401, Some("application/problem+json")), "{change} {wrong}");
            assert!(answer.header("www-authenticate").is_some_and(|schemes| schemes.starts_with("Bearer")), "{change}");
            assert!(!answer.body.contains(TOKEN));
        }
        let answer = server.send(&post(change, &right, "")).await;
        assert_eq!(answer.status, 200, "{change}: {}", answer.body);
        assert!(answer.json()["done"].as_str().is_some_and(|done| done.starts_with("done as asked")), "{change}: {}", answer.body);
        assert_eq!(server.send_unix(&post(change, "", "")).await.status, 200, "the socket's owner needs no token: {change}");
    }
    assert_eq!(server.get("/api/v1/node").await.status, 200, "on loopback everybody may read");
}

#[tokio::test]
async fn a_page_on_the_internet_cannot_drive_the_daemon() {
    let (server, _folder) = guarded().await;
    let right = format!("Authorization: Bearer {TOKEN}\r\n");
    let pages = [
        "Origin: https://evil.example\r\n",
        "Origin: null\r\n",
        "Sec-Fetch-Site: cross-site\r\n",
        "Origin: http://localhost.evil.example\r\n",
    ];
    for page in pages {
        let answer = server.send(&post("/api/v1/release", &format!("{right}{page}"), "")).await;
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (403, None), "{page}");
        let read = format!("GET /api/v1/leases HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{page}\r\n");
        assert_eq!(server.send(&read).await.status, 403, "{page}");
        let asked_before = format!(
            "OPTIONS /api/v1/release HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{page}Access-Control-Request-Method: POST\r\n\r\n"
        );
        let answer = server.send(&asked_before).await;
        assert!(answer.status >= 400 && answer.header("access-control-allow-origin").is_none(), "{page}: {}", answer.status);
    }
    let rebound = "POST /api/v1/release HTTP/1.1\r\nHost: rebound.example\r\nOrigin: http://rebound.example\r\nContent-Length: 0\r\nConnection: close\r\n";
    assert_eq!(server.send(&format!("{rebound}{right}\r\n")).await.status, 421, "its own name in both headers");
    let own = format!("{right}Origin: http://localhost\r\nSec-Fetch-Site: same-origin\r\n");
    assert_eq!(server.send(&post("/api/v1/release", &own, "")).await.status, 200);
}

#[tokio::test]
async fn bodies_that_make_no_sense_are_answered_by_a_sentence() {
    let server = Server::start(sample::snapshot()).await;
    let json = "Content-Type: application/json\r\n";
    let long = format!("{{\"seconds\": {}5}}", " ".repeat(70_000));
    let cases = [
        (json, "{", 400, "cannot be understood"),
        (json, "[]x", 400, "cannot be understood"),
        (json, r#"{"seconds": "soon"}"#, 400, "u32"),
        (json, r#"{"seconds": -1}"#, 400, "u32"),
        (json, r#"{"seconds": 5, "hurry": true}"#, 400, "hurry"),
        (json, r#"{"seconds": 0}"#, 400, "from 1 to 3600"),
        (json, r#"{"seconds": 4000000}"#, 400, "from 1 to 3600"),
        (json, "\u{fffd}", 400, "cannot be understood"),
        (json, &long, 413, "longer than"),
        ("", r#"{"seconds": 5}"#, 415, "application/json"),
        ("Content-Type: text/plain\r\n", r#"{"seconds": 5}"#, 415, "application/json"),
    ];
    for (headers, body, status, words) in cases {
        let shown: String = body.chars().take(40).collect();
        let answer = server.send_unix(&post("/api/v1/drain", headers, body)).await;
        assert_eq!((answer.status, answer.header("content-type")), (status, Some("application/problem+json")), "{shown}: {}", answer.body);
        assert!(answer.body.contains(words), "{shown}: {}", answer.body);
    }
    for (headers, body) in [("", ""), (json, ""), (json, "{}"), ("Content-Type: application/json; charset=utf-8\r\n", r#"{"seconds": 5}"#)]
    {
        assert_eq!(server.send_unix(&post("/api/v1/drain", headers, body)).await.status, 200, "{body}");
    }
}

#[tokio::test]
async fn metrics_are_in_prometheus_text_format() {
    let server = Server::start(sample::snapshot()).await;
    let answer = server.get("/metrics").await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/plain; version=0.0.4; charset=utf-8")));
    for line in [
        "twill_build_info{version=\"0.1.0\",instance_name=\"twill\"} 1.0",
        "twill_store_reachable{store=\"store-file\"} 0.0",
        "twill_network_free_subnets{network=\"10.123.0.0/16\"} 250.0",
        "twill_tunnel_dropped_packets_total{link=\"twill0\",reason=\"unknown sender\"} 31.0",
        "twill_plugin_calls_total{plugin=\"store-file\"} 1204.0",
        "twill_plugin_guest_seconds_total{plugin=\"store-file\"} 0.184",
        "twill_reconcile_repairs_total 3.0",
        "# TYPE twill_tunnel_transmit_bytes_total counter",
    ] {
        assert!(answer.body.lines().any(|found| found == line), "{line} is not in:\n{}", answer.body);
    }
}

/// A certificate authority, a server's certificate and a client's, as files.
struct Papers {
    folder: tempfile::TempDir,
}

impl Papers {
    fn new() -> Papers {
        let folder = tempfile::tempdir().expect("a folder");
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority");
        let papers = Papers { folder };
        papers.write("ca", &authority.pem());
        for (name, purpose) in [("server", ExtendedKeyUsagePurpose::ServerAuth), ("client", ExtendedKeyUsagePurpose::ClientAuth)] {
            let mut params = CertificateParams::new(vec!["localhost".into()]).expect("parameters");
            params.extended_key_usages = vec![purpose];
            let key = KeyPair::generate().expect("a key");
            papers.write(name, &params.signed_by(&key, &authority).expect("a certificate").pem());
            papers.write(&format!("{name}.key"), &key.serialize_pem());
        }
        papers
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("written");
    }

    fn connector(&self, shows: Option<&str>) -> TlsConnector {
        let read = |path: &Path| CertificateDer::from_pem_file(path).expect("a certificate");
        let mut roots = RootCertStore::empty();
        roots.add(read(&self.path("ca"))).expect("a root");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots);
        let config = match shows {
            None => builder.with_no_client_auth(),
            Some(name) => {
                let key = PrivateKeyDer::from_pem_file(self.path(&format!("{name}.key"))).expect("a key");
                builder.with_client_auth_cert(vec![read(&self.path(name))], key).expect("a certificate")
            }
        };
        TlsConnector::from(Arc::new(config))
    }
}

/// The answer's first line; none when the handshake, or the connection, fails.
async fn by_tls(address: &str, connector: TlsConnector, request: &str) -> Option<String> {
    let stream = TcpStream::connect(address).await.expect("a connection");
    let mut stream = connector.connect(ServerName::try_from("localhost").expect("a name"), stream).await.ok()?;
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await.ok()?;
    text.lines().next().map(str::to_owned)
}

#[tokio::test]
async fn with_a_client_ca_nobody_comes_in_without_a_certificate_and_whoever_has_one_may_change_things() {
    let (papers, server) = (Papers::new(), Server::start(Snapshot::default()).await);
    let files = TlsFiles { certificate: papers.path("server"), key: papers.path("server.key"), client_ca: Some(papers.path("ca")) };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let access = Access { certified: true, ..Access::default() };
    tokio::spawn(serve_tls(listener, Tls::open(files).expect("TLS"), server.api.clone(), access, server.shutdown.clone()));

    // Somebody who never finishes a handshake keeps nobody waiting.
    let _silent = TcpStream::connect(&address).await.expect("a connection");
    let request = post("/api/v1/release", "", "");
    assert_eq!(by_tls(&address, papers.connector(Some("client")), &request).await.as_deref(), Some("HTTP/1.1 200 OK"));
    assert_eq!(by_tls(&address, papers.connector(None), &request).await, None, "without a certificate");
    assert_eq!(by_tls(&address, papers.connector(Some("server")), &request).await, None, "with one for another purpose");

    // A renewed certificate comes into use without a restart; one that cannot be read does not.
    let renewed = Papers::new();
    std::fs::copy(renewed.path("server"), papers.path("server")).expect("copied");
    std::fs::copy(renewed.path("server.key"), papers.path("server.key")).expect("copied");
    assert_eq!(by_tls(&address, papers.connector(Some("client")), &request).await, None, "it is another authority's now");
    papers.write("server.key", "no key");
    std::fs::copy(renewed.path("ca"), papers.path("other-ca")).expect("copied");
    assert_eq!(by_tls(&address, papers.connector(Some("client")), &request).await, None);
}
