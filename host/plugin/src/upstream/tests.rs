//! Against small real servers on loopback, with and without TLS.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper::body::Bytes;
use hyper::header::HeaderMap;
use hyper::{Method, Uri};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;

use super::client::{Client, Failure, Request};
use super::*;

/// What a server sends, in order.
enum Part {
    Bytes(Vec<u8>),
    /// Waits until the test says so.
    Pause(Arc<Notify>),
}

/// A request as it arrived.
struct Seen {
    path: String,
    head: String,
    body: String,
}

impl Seen {
    fn authorization(&self) -> &str {
        let line = self.head.lines().find(|line| line.to_ascii_lowercase().starts_with("authorization:"));
        line.map_or("", |line| line["authorization:".len()..].trim())
    }
}

struct Server {
    endpoint: Endpoint,
    requests: Arc<AtomicUsize>,
    connections: Arc<AtomicUsize>,
}

/// Serves `answer` on `listener`; each connection bears many requests.
fn serve(listener: TcpListener, tls: Option<Arc<ServerConfig>>, answer: impl Fn(Seen) -> Vec<Part> + Send + Sync + 'static) -> Server {
    let scheme = if tls.is_some() { "https" } else { "http" };
    let endpoint = format!("{scheme}://{}", listener.local_addr().expect("bound")).parse().expect("an endpoint");
    let server = Server { endpoint, requests: Arc::default(), connections: Arc::default() };
    let (requests, connections, answer) = (server.requests.clone(), server.connections.clone(), Arc::new(answer));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            connections.fetch_add(1, Ordering::SeqCst);
            let (answer, requests, tls) = (answer.clone(), requests.clone(), tls.clone());
            tokio::spawn(async move {
                match tls {
                    None => talk(stream, &*answer, &requests).await,
                    Some(tls) => {
                        if let Ok(stream) = TlsAcceptor::from(tls).accept(stream).await {
                            talk(stream, &*answer, &requests).await;
                        }
                    }
                }
            });
        }
    });
    server
}

async fn talk(stream: impl AsyncRead + AsyncWrite + Unpin, answer: &(impl Fn(Seen) -> Vec<Part> + ?Sized), requests: &AtomicUsize) {
    let mut stream = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if stream.read_line(&mut head).await.unwrap_or(0) == 0 {
                return;
            }
        }
        let length =
            head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:").map(|n| n.trim().parse::<usize>()));
        let mut body = vec![0; length.map_or(0, |n| n.expect("a number"))];
        stream.read_exact(&mut body).await.expect("the body");
        requests.fetch_add(1, Ordering::SeqCst);
        let path = head.split(' ').nth(1).expect("a path").to_owned();
        for part in answer(Seen { path, head, body: String::from_utf8(body).expect("text") }) {
            match part {
                Part::Bytes(bytes) => {
                    if stream.write_all(&bytes).await.and(stream.flush().await).is_err() {
                        return;
                    }
                }
                Part::Pause(until) => until.notified().await,
            }
        }
    }
}

async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.expect("loopback")
}

fn whole(status: u16, body: &str) -> Vec<Part> {
    vec![Part::Bytes(format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes())]
}

fn request(path: &'static str) -> Request {
    let timeout = Duration::from_secs(5);
    Request { method: Method::POST, path: Uri::from_static(path), headers: HeaderMap::new(), body: Bytes::from_static(b"{}"), timeout }
}

fn client(endpoints: &[&Endpoint]) -> Client {
    Client::new(Upstream { endpoints: endpoints.iter().map(|endpoint| (*endpoint).clone()).collect(), ..Upstream::default() })
}

#[tokio::test]
async fn the_next_endpoint_has_its_turn_and_is_remembered() {
    let first = listener().await;
    let address = first.local_addr().expect("bound");
    drop(first);
    let second = serve(listener().await, None, |_| whole(200, "second"));
    let dead: Endpoint = format!("http://{address}").parse().expect("an endpoint");
    let client = client(&[&dead, &second.endpoint]);
    assert_eq!(client.send(&request("/")).await.expect("an answer").body, "second");
    let first = serve(TcpListener::bind(address).await.expect("free again"), None, |_| whole(200, "first"));
    for _ in 0..3 {
        assert_eq!(client.send(&request("/")).await.expect("an answer").body, "second");
    }
    assert_eq!((first.connections.load(Ordering::SeqCst), second.connections.load(Ordering::SeqCst)), (0, 1), "one connection bears all");
}

#[tokio::test]
async fn all_endpoints_that_failed_are_named() {
    let (a, b) = (listener().await, listener().await);
    let dead = [&a, &b].map(|gone| format!("http://{}", gone.local_addr().expect("bound")).parse::<Endpoint>().expect("an endpoint"));
    drop((a, b));
    let Err(Failure::Unreachable(why)) = client(&[&dead[0], &dead[1]]).send(&request("/")).await else { panic!("somebody answered") };
    assert!(dead.iter().all(|endpoint| why.contains(&endpoint.to_string())) && why.contains("refused"), "{why}");
}

#[tokio::test]
async fn a_silent_server_costs_its_time_and_its_place() {
    let silent = serve(listener().await, None, |_| vec![Part::Pause(Arc::default())]);
    let other = serve(listener().await, None, |_| whole(200, "other"));
    let client = client(&[&silent.endpoint, &other.endpoint]);
    let hasty = Request { timeout: Duration::from_millis(100), ..request("/") };
    assert_eq!(client.send(&hasty).await.map(|answer| answer.body), Err(Failure::TimedOut));
    assert_eq!(client.send(&hasty).await.expect("an answer").body, "other");
}

#[tokio::test]
async fn a_body_without_end_is_cut_off() {
    let server = serve(listener().await, None, |_| {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", 17 << 20);
        std::iter::once(head.into_bytes()).chain((0..17).map(|_| vec![b'x'; 1 << 20])).map(Part::Bytes).collect()
    });
    assert_eq!(client(&[&server.endpoint]).send(&request("/")).await.map(|_| ()), Err(Failure::TooLarge(16 << 20)));
}

#[tokio::test]
async fn a_stream_is_read_as_it_arrives() {
    let go_on = Arc::new(Notify::new());
    let waits = go_on.clone();
    let server = serve(listener().await, None, move |_| {
        let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n".to_vec();
        let long = [b"20000\r\n".as_slice(), &[b'x'; 0x20000], b"\r\n0\r\n\r\n"].concat();
        vec![Part::Bytes(head), Part::Pause(waits.clone()), Part::Bytes(long)]
    });
    let mut reply = client(&[&server.endpoint]).open(&request("/")).await.expect("opened");
    assert_eq!(reply.status(), 200);
    assert_eq!(reply.read(Duration::from_secs(5)).await, Ok(Some(Bytes::from_static(b"one"))));
    assert_eq!(reply.read(Duration::from_millis(20)).await, Ok(Some(Bytes::new())), "nothing yet");
    go_on.notify_one();
    let mut seen = 0;
    while let Some(piece) = reply.read(Duration::from_secs(5)).await.expect("unbroken") {
        assert!(piece.len() <= 64 << 10, "{} bytes at once", piece.len());
        seen += piece.len();
    }
    assert_eq!(seen, 0x20000);
}

/// An etcd as far as its logins go: the token of the day is `t<n>`.
fn etcd(day: Arc<AtomicUsize>, logins: Arc<Mutex<Vec<String>>>) -> impl Fn(Seen) -> Vec<Part> {
    move |seen| {
        let token = format!("t{}", day.load(Ordering::SeqCst));
        if seen.path == "/v3/auth/authenticate" {
            logins.lock().expect("whole").push(seen.body.clone());
            return match seen.body == r#"{"name":"root","password":"right"}"# {
                true => whole(200, &format!(r#"{{"token":"{token}"}}"#)),
                false => whole(400, r#"{"error":"etcdserver: authentication failed, invalid user ID or password","code":3}"#),
            };
        }
        match seen.authorization() == token {
            true => whole(200, "welcome"),
            false => whole(401, r#"{"error":"etcdserver: invalid auth token","code":16}"#),
        }
    }
}

fn with_login(endpoint: &Endpoint, password: &str) -> Client {
    let credentials = Credentials::EtcdLogin { user: "root".into(), password: Secret::Text(password.into()) };
    Client::new(Upstream { endpoints: vec![endpoint.clone()], credentials, ..Upstream::default() })
}

#[tokio::test]
async fn a_token_that_has_ended_costs_one_more_login() {
    let (day, logins) = (Arc::new(AtomicUsize::new(1)), Arc::default());
    let server = serve(listener().await, None, etcd(day.clone(), Arc::clone(&logins)));
    let client = with_login(&server.endpoint, "right");
    for _ in 0..2 {
        assert_eq!(client.send(&request("/v3/kv/range")).await.expect("signed in").body, "welcome");
    }
    assert_eq!(logins.lock().expect("whole").len(), 1);
    day.store(2, Ordering::SeqCst);
    assert_eq!(client.send(&request("/v3/kv/range")).await.expect("signed in again").body, "welcome");
    day.store(3, Ordering::SeqCst);
    assert_eq!(client.open(&request("/v3/watch")).await.expect("signed in again").status(), 200);
    assert_eq!(logins.lock().expect("whole").len(), 3);
}

#[tokio::test]
async fn a_wrong_password_is_said_and_not_shown() {
    let server = serve(listener().await, None, etcd(Arc::default(), Arc::default()));
    let client = with_login(&server.endpoint, "hunter2");
    let Err(Failure::Login(why)) = client.send(&request("/v3/kv/range")).await else { panic!("let in") };
    assert_eq!(why, "etcd does not accept user \"root\" with the configured password");
    assert!(!format!("{client:?}").contains("hunter2"), "{client:?}");
}

/// A CA, and files of certificates that it signed.
struct Authority {
    dir: tempfile::TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).expect("names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("signed");
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::write(dir.path().join("ca.pem"), issuer.pem()).expect("written");
        Authority { dir, issuer }
    }

    fn roots(&self) -> Roots {
        Roots::File(self.dir.path().join("ca.pem"))
    }

    fn identity(&self, name: &str) -> Identity {
        let key = KeyPair::generate().expect("a key");
        let signed = CertificateParams::new(vec![name.to_owned()]).expect("a name").signed_by(&key, &self.issuer).expect("signed");
        let identity =
            Identity { certificate: self.dir.path().join(format!("{name}.pem")), key: self.dir.path().join(format!("{name}.key")) };
        std::fs::write(&identity.certificate, signed.pem()).expect("written");
        std::fs::write(&identity.key, key.serialize_pem()).expect("written");
        identity
    }

    /// A server for 127.0.0.1 that wants a client certificate of this CA.
    fn server(&self) -> Arc<ServerConfig> {
        let identity = self.identity("127.0.0.1");
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).expect("a root");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().expect("a verifier");
        let chain = vec![CertificateDer::from_pem_file(&identity.certificate).expect("a certificate")];
        let key = PrivateKeyDer::from_pem_file(&identity.key).expect("a key");
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
        Arc::new(builder.with_client_cert_verifier(clients).with_single_cert(chain, key).expect("a pair"))
    }
}

#[tokio::test]
async fn tls_works_with_the_right_certificates_and_says_which_is_wrong() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let server = serve(listener().await, Some(ours.server()), |_| whole(200, "private"));
    let ask = async |tls: Tls| {
        let client = Client::new(Upstream { endpoints: vec![server.endpoint.clone()], tls, ..Upstream::default() });
        match client.send(&request("/")).await {
            Ok(answer) => String::from_utf8_lossy(&answer.body).into_owned(),
            Err(Failure::Unreachable(why) | Failure::BrokenOff(why)) => why,
            Err(other) => panic!("{other:?}"),
        }
    };
    let node = Some(ours.identity("node"));
    assert_eq!(ask(Tls { roots: ours.roots(), identity: node.clone(), insecure: false }).await, "private");
    assert_eq!(ask(Tls { roots: theirs.roots(), identity: node.clone(), insecure: true }).await, "private");
    let says = async |tls, words: &str| {
        let said = ask(tls).await;
        assert!(said.contains(words), "{said}");
    };
    says(Tls { roots: theirs.roots(), identity: node.clone(), insecure: false }, "not signed by a trusted CA").await;
    says(Tls { roots: ours.roots(), identity: None, insecure: false }, "wants a client certificate").await;
    let stranger = Some(theirs.identity("node"));
    says(Tls { roots: ours.roots(), identity: stranger, insecure: false }, "does not accept our client certificate").await;
    says(Tls { roots: Roots::File("/nowhere/ca.pem".into()), identity: None, insecure: false }, "/nowhere/ca.pem").await;
}
