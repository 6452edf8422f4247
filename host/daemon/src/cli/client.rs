//! Talking to the daemon's API over its Unix socket.

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::net::UnixStream;

use crate::exit::Exit;
use crate::settings::InstanceSettings;

/// Reads one of the API's documents.
///
/// # Errors
/// Nobody answers on the socket, or the answer is not what the API promises.
pub async fn get<T: DeserializeOwned>(instance: &InstanceSettings, path: &str) -> Result<T, Exit> {
    let (status, body) = ask(instance, Method::GET, path, None).await?;
    if status != StatusCode::OK {
        return Err(Exit::failed(format!("the daemon answered {status} to {path}: {}", String::from_utf8_lossy(&body))));
    }
    serde_json::from_slice(&body).map_err(|error| Exit::failed(format!("cannot understand the daemon's answer to {path}: {error}")))
}

/// Asks the daemon to do something; answers with what it says.
///
/// # Errors
/// Nobody answers on the socket, or the daemon refused.
pub async fn post(instance: &InstanceSettings, path: &str) -> Result<String, Exit> {
    said(ask(instance, Method::POST, path, None).await?)
}

/// The same with a JSON body.
///
/// # Errors
/// As [`post`].
pub async fn post_with(instance: &InstanceSettings, path: &str, body: &Value) -> Result<String, Exit> {
    said(ask(instance, Method::POST, path, Some(body)).await?)
}

fn said((status, body): (StatusCode, Bytes)) -> Result<String, Exit> {
    // What was done, or a problem document (RFC 9457).
    let document: Value = serde_json::from_slice(&body).unwrap_or_default();
    let sentence = ["done", "detail", "title"].iter().find_map(|key| document.get(key)?.as_str().map(str::to_owned));
    let sentence = sentence.unwrap_or_else(|| String::from_utf8_lossy(&body).into_owned());
    if status.is_success() { Ok(sentence) } else { Err(Exit::failed(sentence)) }
}

async fn ask(instance: &InstanceSettings, method: Method, path: &str, body: Option<&Value>) -> Result<(StatusCode, Bytes), Exit> {
    let response = open(instance, method, path, body).await?;
    let status = response.status();
    let body = response.into_body().collect().await.map_err(lost)?.to_bytes();
    Ok((status, body))
}

fn lost(error: hyper::Error) -> Exit {
    Exit::failed(format!("the daemon broke off: {error}"))
}

/// Asks, and gives the answer with a body that is still to be read.
///
/// # Errors
/// Nobody answers on the socket.
pub async fn open(instance: &InstanceSettings, method: Method, path: &str, body: Option<&Value>) -> Result<Response<Incoming>, Exit> {
    let socket = instance.socket();
    let stream = UnixStream::connect(&socket).await.map_err(|error| {
        let hint = "is `twill run` running on this host, with the same --instance and --run-dir?";
        Exit::failed(format!("cannot reach the daemon at {}: {error}; {hint}", socket.display()))
    })?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(lost)?;
    tokio::spawn(connection);
    let request = Request::builder().method(method).uri(path).header("host", "twill").header("content-type", "application/json");
    let body = Full::new(body.map_or_else(Bytes::new, |body| body.to_string().into()));
    let request = request.body(body).map_err(Exit::failed)?;
    sender.send_request(request).await.map_err(lost)
}
