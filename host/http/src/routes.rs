//! The routes: every address that is answered, each by a few lines over one immutable snapshot.

use axum::Router;
use axum::extract::{FromRef, State};
use axum::http::{StatusCode, Uri, header};
use axum::middleware::{from_fn_with_state, map_response};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use futures_util::future::BoxFuture;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::assets;
use crate::guard::{Door, add_headers, check_host};
use crate::plugins;
use crate::problem::Problem;
use crate::stream;
use crate::{Api, Control};

/// What the handlers share.
#[derive(Clone)]
pub(crate) struct Served {
    api: Api,
    door: Door,
    shutdown: CancellationToken,
}

impl Served {
    pub(crate) fn control(&self) -> &dyn Control {
        &*self.api.control
    }
}

impl FromRef<Served> for Api {
    fn from_ref(served: &Served) -> Api {
        served.api.clone()
    }
}

/// All routes, as they are open through `door`; streams end when `shutdown` is cancelled.
pub fn router(api: Api, door: Door, shutdown: CancellationToken) -> Router {
    let v1 = Router::new()
        .route("/node", get(|api| part(api, "node")))
        .route("/leases", get(|api| part(api, "leases")))
        .route("/paths", get(|api| part(api, "paths")))
        .route("/routes", get(|api| part(api, "routes")))
        .route("/state", get(|api| part(api, "state")))
        .route("/plugins", get(|api| part(api, "plugins")))
        .route("/tunnels", get(|api| part(api, "tunnels")))
        .route("/events", get(|api| part(api, "events")))
        .route("/snapshot", get(snapshot))
        .route("/stream", get(follow))
        .route("/release", post(release))
        .route("/config/accept", post(accept_config))
        .nest("/plugins", plugins::routes());
    Router::new()
        .route("/healthz", get("twill is running\n"))
        .route("/readyz", get(ready))
        .nest("/api/v1", v1)
        .fallback_service(get(page).fallback(wrong_method))
        .route("/api", any(no_such_address))
        .route("/api/{*rest}", any(no_such_address))
        .method_not_allowed_fallback(wrong_method)
        .with_state(Served { api, door, shutdown })
        .layer(from_fn_with_state(door, check_host))
        .layer(map_response(add_headers))
}

/// 200 while the node does its work, else 503; what is wrong as text, a line each.
async fn ready(State(api): State<Api>) -> (StatusCode, String) {
    let node = &api.snapshot().node;
    let (status, word) = if node.ready { (StatusCode::OK, "ready") } else { (StatusCode::SERVICE_UNAVAILABLE, "not ready") };
    let lines: Vec<&str> = std::iter::once(word).chain(node.problems.iter().map(String::as_str)).collect();
    (status, lines.join("\n") + "\n")
}

async fn part(State(api): State<Api>, name: &str) -> Response {
    match api.encoded().part(name) {
        Some(text) => json_text(text),
        None => Problem::new(StatusCode::NOT_FOUND, format!("a snapshot has no part named \"{name}\"")).into_response(),
    }
}

async fn snapshot(State(api): State<Api>) -> Response {
    json_text(api.encoded().whole())
}

async fn follow(State(served): State<Served>) -> Response {
    stream::changes(served.api, served.shutdown).into_response()
}

async fn release(State(served): State<Served>) -> Result<Response, Problem> {
    change(&served, served.api.control.release()).await
}

async fn accept_config(State(served): State<Served>) -> Result<Response, Problem> {
    change(&served, served.api.control.accept_config()).await
}

/// Does what an operator asks. Only through the Unix socket: a browser cannot reach that, whatever page it shows.
pub(crate) async fn change(served: &Served, act: BoxFuture<'_, Result<String, String>>) -> Result<Response, Problem> {
    if served.door != Door::Unix {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "changes are made through the Unix socket only; use the twill command on this machine",
        ));
    }
    let done = act.await.map_err(|reason| Problem::new(StatusCode::CONFLICT, reason))?;
    Ok(json_text(json!({ "done": done }).to_string()))
}

async fn page(headers: axum::http::HeaderMap, uri: Uri) -> Response {
    assets::answer(uri.path(), &headers)
}

async fn no_such_address(uri: Uri) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, format!("there is nothing at {}; the API lies below /api/v1", uri.path()))
}

async fn wrong_method(method: axum::http::Method, uri: Uri) -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, format!("{method} is not possible at {}", uri.path()))
}

fn json_text(text: impl Into<axum::body::Body>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], text.into()).into_response()
}
