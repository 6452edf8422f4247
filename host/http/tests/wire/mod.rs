//! A server on loopback and an HTTP/1.1 client of a few lines, so that tests see the bytes on the wire.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use twill_http::{Access, Api, BackendOrder, Control, EventLog, PluginOrder, bind_unix, serve_health, serve_tcp, serve_unix};
use twill_model::status::Snapshot;
use twill_model::{Addresses, Prefixes};

/// A daemon that answers every request for a change alike.
struct Answers {
    answer: Result<String, String>,
}

impl Control for Answers {
    fn release(&self) -> BoxFuture<'_, Result<String, String>> {
        Box::pin(async { self.answer.clone() })
    }

    fn reconcile(&self) -> BoxFuture<'_, Result<String, String>> {
        Box::pin(async { self.answer.clone() })
    }

    fn drain(&self, _: u32) -> BoxFuture<'_, Result<String, String>> {
        Box::pin(async { self.answer.clone() })
    }

    fn reserve(&self, wanted: Option<(Prefixes, Addresses)>) -> BoxFuture<'_, Result<String, String>> {
        Box::pin(async move { self.answer.clone().map(|done| format!("{done}: {wanted:?}")) })
    }

    fn unreserve(&self, subnets: Prefixes) -> BoxFuture<'_, Result<String, String>> {
        Box::pin(async move { self.answer.clone().map(|done| format!("{done}: {subnets:?}")) })
    }

    fn bundle(&self) -> BoxFuture<'_, Result<String, String>> {
        Box::pin(async { Ok("{}".to_owned()) })
    }

    fn accept_config(&self) -> BoxFuture<'_, Result<String, String>> {
        Box::pin(async { self.answer.clone() })
    }

    fn plugins(&self, order: PluginOrder) -> BoxFuture<'_, Result<String, String>> {
        Box::pin(async move { self.answer.clone().map(|done| format!("{done}: {order:?}")) })
    }

    fn backend(&self, order: BackendOrder) -> BoxFuture<'_, Result<String, String>> {
        Box::pin(async move { self.answer.clone().map(|done| format!("{done}: {order:?}")) })
    }
}

/// A running API, over TCP and over a Unix socket, and flannel's health checks.
pub struct Server {
    pub address: String,
    pub health: String,
    pub socket: PathBuf,
    pub snapshots: watch::Sender<Arc<Snapshot>>,
    pub events: Arc<EventLog>,
    pub api: Api,
    pub shutdown: CancellationToken,
    pub serving: Vec<JoinHandle<std::io::Result<()>>>,
    _folder: tempfile::TempDir,
}

impl Server {
    pub async fn start(snapshot: Snapshot) -> Server {
        Server::with(snapshot, Ok("10.123.7.0/24 is free again".into())).await
    }

    /// A server whose release ends with `answer`.
    pub async fn with(snapshot: Snapshot, answer: Result<String, String>) -> Server {
        Server::guarded(snapshot, answer, Access::default()).await
    }

    /// The same with a TCP door that asks for something.
    pub async fn guarded(snapshot: Snapshot, answer: Result<String, String>, access: Access) -> Server {
        let events = Arc::new(EventLog::new(snapshot.events.clone(), 1_000));
        let (snapshots, receiver) = watch::channel(Arc::new(snapshot));
        let api = Api::new(receiver.clone(), Arc::new(Answers { answer }), events.clone());
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("api.sock");
        let shutdown = CancellationToken::new();
        let tcp = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = tcp.local_addr().expect("an address").to_string();
        let unix = bind_unix(&socket).expect("a socket");
        let checks = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let health = checks.local_addr().expect("an address").to_string();
        let serving = vec![
            tokio::spawn(serve_tcp(tcp, api.clone(), access, shutdown.clone())),
            tokio::spawn(serve_unix(unix, api.clone(), shutdown.clone())),
            tokio::spawn(serve_health(checks, receiver, shutdown.clone())),
        ];
        Server { address, health, socket, snapshots, events, api, shutdown, serving, _folder: folder }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.address)).await
    }

    /// Asks where flannel's health checks are, as a probe does: by an address or a name that may be any.
    pub async fn probe(&self, path: &str) -> Answer {
        let request = format!("GET {path} HTTP/1.1\r\nHost: node-7.example\r\nConnection: close\r\n\r\n");
        ask(TcpStream::connect(&self.health).await.expect("a connection"), &request).await
    }

    /// Sends a whole request as it stands, over TCP.
    pub async fn send(&self, request: &str) -> Answer {
        ask(TcpStream::connect(&self.address).await.expect("a connection"), request).await
    }

    /// Sends a request over the Unix socket.
    pub async fn send_unix(&self, request: &str) -> Answer {
        ask(UnixStream::connect(&self.socket).await.expect("a connection"), request).await
    }

    pub async fn follow(&self) -> Events {
        self.follow_at("/api/v1/stream", "").await
    }

    /// Reads the stream at `path`, asked for with further header lines.
    pub async fn follow_at(&self, path: &str, headers: &str) -> Events {
        let mut stream = TcpStream::connect(&self.address).await.expect("a connection");
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n{headers}\r\n", self.address);
        stream.write_all(request.as_bytes()).await.expect("sent");
        // With the head of the answer it is settled where the events begin.
        let (mut lines, mut line) = (BufReader::new(stream), String::new());
        while !line.ends_with("\r\n\r\n") {
            assert_ne!(lines.read_line(&mut line).await.expect("a head"), 0, "the server hung up: {line}");
        }
        Events { lines }
    }
}

/// An answer, parsed.
pub struct Answer {
    pub status: u16,
    head: String,
    pub body: String,
}

impl Answer {
    /// The value of a header, by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("not JSON ({error}): {}", self.body))
    }
}

async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &str) -> Answer {
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut text = String::new();
    stream.read_to_string(&mut text).await.expect("an answer");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    Answer { status, head: head.into(), body: body.into() }
}

/// An event stream that is being read.
pub struct Events {
    lines: BufReader<TcpStream>,
}

impl Events {
    /// The next event's name and data; none when the stream has ended.
    pub async fn next(&mut self) -> Option<(String, Value)> {
        let mut name = String::new();
        loop {
            let mut line = String::new();
            let read = tokio::time::timeout(Duration::from_secs(10), self.lines.read_line(&mut line));
            if read.await.expect("the stream is silent").ok()? == 0 {
                return None;
            }
            if let Some(value) = line.strip_prefix("event: ") {
                name = value.trim().into();
            } else if let Some(data) = line.strip_prefix("data: ") {
                return Some((name, serde_json::from_str(data.trim()).expect("JSON")));
            }
        }
    }
}
