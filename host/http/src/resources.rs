//! What can be read: most addresses are a few lines over one immutable snapshot; events, streams and the bundle have more behind them.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use twill_model::event::Event;
use twill_model::explain::Explained;
use twill_model::peers::{PeerStatus, peers};
use twill_model::status::{ItemStatus, LeaseStatus, NetworkStatus, NodeStatus, PathStatus, PluginStatus, Snapshot, TunnelStatus};
use utoipa::IntoParams;

use crate::ask::{Path, Query};
use crate::encoded::Part;
use crate::history::Page;
use crate::problem::{Problem, Problems};
use crate::routes::Served;
use crate::{Api, stream, tail};

/// The most events of one page.
const PAGE: usize = 1_000;

/// An answer that is JSON already.
pub fn json_text(text: impl Into<axum::body::Body>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], text.into()).into_response()
}

fn part(api: &Api, part: Part) -> Response {
    json_text(api.encoded().part(part).clone())
}

/// The daemon runs.
#[utoipa::path(get, path = "/healthz", tag = "health", responses((status = 200, description = "It runs", body = String), Problems))]
pub async fn healthz() -> &'static str {
    "twill is running\n"
}

/// Whether the node does its work, and what is wrong, a line each.
#[utoipa::path(get, path = "/readyz", tag = "health", responses(
    (status = 200, description = "It does its work", body = String),
    (status = 503, description = "It does not; the lines say why", body = String), Problems))]
pub async fn readyz(State(api): State<Api>) -> (StatusCode, String) {
    let node = &api.snapshot().node;
    let (status, word) = if node.ready { (StatusCode::OK, "ready") } else { (StatusCode::SERVICE_UNAVAILABLE, "not ready") };
    let lines: Vec<&str> = std::iter::once(word).chain(node.problems.iter().map(String::as_str)).collect();
    (status, lines.join("\n") + "\n")
}

/// Metrics in Prometheus' text format, version 0.0.4.
#[utoipa::path(get, path = "/metrics", tag = "health", responses((status = 200, description = "All metrics", body = String), Problems))]
pub async fn metrics(State(api): State<Api>) -> Response {
    let newest = *api.events.newest().borrow();
    let text = crate::metrics::text(&api.snapshot(), stream::now_ms(), newest);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

/// This node and how it is.
#[utoipa::path(get, path = "/node", tag = "node", responses((status = 200, description = "This node", body = NodeStatus), Problems))]
pub async fn node(State(api): State<Api>) -> Response {
    part(&api, Part::Node)
}

/// The network: its ranges, how much of them is taken, its backend.
#[utoipa::path(get, path = "/network", tag = "cluster", responses((status = 200, description = "The network", body = NetworkStatus), Problems))]
pub async fn network(State(api): State<Api>) -> Response {
    part(&api, Part::Network)
}

/// All leases of the cluster, by subnet.
#[utoipa::path(get, path = "/leases", tag = "cluster", responses((status = 200, description = "All leases", body = Vec<LeaseStatus>), Problems))]
pub async fn leases(State(api): State<Api>) -> Response {
    part(&api, Part::Leases)
}

/// One lease.
#[utoipa::path(get, path = "/leases/{subnet}", tag = "cluster",
    params(("subnet" = String, Path, description = "One of the lease's subnets, with - in the place of /", example = "10.244.7.0-24")),
    responses((status = 200, description = "The lease", body = LeaseStatus), Problems))]
pub async fn lease(State(api): State<Api>, Path(subnet): Path<String>) -> Result<axum::Json<LeaseStatus>, Problem> {
    let wanted = crate::ask::prefix(&subnet)?;
    let snapshot = api.snapshot();
    let lease = snapshot.leases.iter().find(|lease| lease.subnets.iter().any(|own| own == wanted));
    lease.cloned().map(axum::Json).ok_or_else(|| Problem::not_found(format!("nobody holds {wanted}; /api/v1/leases lists all leases")))
}

/// All peers: lease, way, endpoint and traffic of each.
#[utoipa::path(get, path = "/peers", tag = "cluster", responses((status = 200, description = "All peers, by subnet", body = Vec<PeerStatus>), Problems))]
pub async fn list_peers(State(api): State<Api>) -> axum::Json<Vec<PeerStatus>> {
    axum::Json(peers(&api.snapshot()))
}

/// How each peer is reached from here, and what was proved of its ways.
#[utoipa::path(get, path = "/paths", tag = "cluster", responses((status = 200, description = "All paths, by subnet", body = Vec<PathStatus>), Problems))]
pub async fn paths(State(api): State<Api>) -> Response {
    part(&api, Part::Paths)
}

/// How packets for one pod leave this node, leg by leg, with the first broken one marked.
#[utoipa::path(get, path = "/explain/{address}", tag = "cluster",
    params(("address" = String, Path, description = "A pod's address", example = "10.244.7.23")),
    responses((status = 200, description = "The legs", body = Explained), Problems))]
pub async fn explain(State(api): State<Api>, Path(address): Path<String>) -> Result<axum::Json<Explained>, Problem> {
    let wanted = address.parse().map_err(|_| Problem::bad_request(format!("\"{address}\" is no address such as 10.244.7.23")))?;
    Ok(axum::Json(twill_model::explain::explain(&api.snapshot(), wanted)))
}

/// The routes that twill keeps: desired against observed.
#[utoipa::path(get, path = "/routes", tag = "node", responses((status = 200, description = "Items of kind route", body = Vec<ItemStatus>), Problems))]
pub async fn routes(State(api): State<Api>) -> Response {
    json_text(api.encoded().routes().clone())
}

/// Every piece of network state that twill keeps: desired against observed.
#[utoipa::path(get, path = "/state", tag = "node", responses((status = 200, description = "All items", body = Vec<ItemStatus>), Problems))]
pub async fn state(State(api): State<Api>) -> Response {
    part(&api, Part::State)
}

/// All plugin files that were found.
#[utoipa::path(get, path = "/plugins", tag = "plugins", responses((status = 200, description = "All plugins", body = Vec<PluginStatus>), Problems))]
pub async fn plugins(State(api): State<Api>) -> Response {
    part(&api, Part::Plugins)
}

/// One plugin.
#[utoipa::path(get, path = "/plugins/{name}", tag = "plugins",
    params(("name" = String, Path, description = "Its name, such as backend-udp")),
    responses((status = 200, description = "The plugin", body = PluginStatus), Problems))]
pub async fn plugin(State(api): State<Api>, Path(name): Path<String>) -> Result<axum::Json<PluginStatus>, Problem> {
    let snapshot = api.snapshot();
    let plugin = snapshot.plugins.iter().find(|plugin| plugin.name == name);
    plugin
        .cloned()
        .map(axum::Json)
        .ok_or_else(|| Problem::not_found(format!("there is no plugin \"{name}\"; /api/v1/plugins lists all of them")))
}

/// The data path's counters, a tunnel each.
#[utoipa::path(get, path = "/tunnels", tag = "node", responses((status = 200, description = "All tunnels; counters are some seconds old at most while packets flow, and a minute when next to none do", body = Vec<TunnelStatus>), Problems))]
pub async fn tunnels(State(api): State<Api>) -> Response {
    part(&api, Part::Tunnels)
}

/// Everything at once, taken at one moment.
#[utoipa::path(get, path = "/snapshot", tag = "node", responses((status = 200, description = "The snapshot", body = Snapshot), Problems))]
pub async fn snapshot(State(api): State<Api>) -> Response {
    json_text(api.encoded().whole())
}

/// All that is known of this node, and what its plan was made from, without secrets: what `twill bundle` writes for a bug report.
#[utoipa::path(get, path = "/bundle", tag = "node", responses((status = 200, description = "The bundle", body = Object), Problems))]
pub async fn bundle(State(api): State<Api>) -> Result<Response, Problem> {
    api.control.bundle().await.map(json_text).map_err(|reason| Problem::new(StatusCode::CONFLICT, reason))
}

/// Which events.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Which {
    /// Only events with a higher id, the oldest of these first.
    #[param(format = "uint64")]
    after: Option<u64>,
    /// Only events with a lower id.
    #[param(format = "uint64")]
    before: Option<u64>,
    /// At most so many: 1 to 1000, 200 unless said otherwise. Without `after` they are the newest.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

/// What happened, oldest first, from before the daemon's start too. The next page is asked for with the last id as `after`.
#[utoipa::path(get, path = "/events", tag = "events", params(Which), responses((status = 200, description = "Events", body = Vec<Event>), Problems))]
pub async fn events(State(api): State<Api>, Query(which): Query<Which>) -> Result<axum::Json<Vec<Event>>, Problem> {
    let limit = which.limit.unwrap_or(Snapshot::EVENTS);
    if !(1..=PAGE).contains(&limit) {
        return Err(Problem::bad_request(format!("limit is {limit}, and must be from 1 to {PAGE}")));
    }
    Ok(axum::Json(api.events.page(Page { after: which.after, before: which.before, limit })))
}

/// From which event on.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Since {
    /// The id of the last event that is known; without it only what happens from now on is sent. The header Last-Event-ID, which browsers send when they connect
    /// again, goes before it.
    #[param(format = "uint64")]
    after: Option<u64>,
}

/// Events as they happen (server-sent events): the data of each is an event, its id the event's.
#[utoipa::path(get, path = "/events/stream", tag = "events", params(Since),
    responses((status = 200, description = "An endless stream of events", body = String, content_type = "text/event-stream"), Problems))]
pub async fn follow_events(State(served): State<Served>, Query(since): Query<Since>, headers: HeaderMap) -> Result<Response, Problem> {
    let after = tail::last_event_id(&headers)?.or(since.after);
    Ok(tail::events(served.api.events, after, served.shutdown).into_response())
}

/// The snapshot at once, and then each change of it (server-sent events).
#[utoipa::path(get, path = "/stream", tag = "node",
    responses((status = 200, description = "An endless stream of changes", body = String, content_type = "text/event-stream"), Problems))]
pub async fn follow(State(served): State<Served>) -> Response {
    stream::snapshots(served.api, served.shutdown).into_response()
}
