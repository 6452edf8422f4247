//! The routes: every address that is answered, and the OpenAPI document that is made of the same list.

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRef};
use axum::http::{StatusCode, Uri};
use axum::middleware::{from_fn_with_state, map_response};
use axum::response::Response;
use axum::routing::{any, get};
use tokio_util::sync::CancellationToken;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::ask::BODY_LIMIT;
use crate::guard::{Door, add_headers, check};
use crate::problem::Problem;
use crate::{Api, Control, assets, backend, changes, plugins, resources};

/// What the handlers share.
#[derive(Clone)]
pub(crate) struct Served {
    pub api: Api,
    pub shutdown: CancellationToken,
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

/// What stands at the head of the OpenAPI document.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "twill",
        description = "What one node of a twill network knows and does. Times are milliseconds since the Unix epoch, sizes are bytes. All errors are problem details (RFC 9457)."
    ),
    components(schemas(Problem)),
    tags(
        (name = "health", description = "For probes"),
        (name = "node", description = "This node: how it is, what it keeps in the kernel, what it counts"),
        (name = "cluster", description = "The network, its leases, and the peers as seen from here"),
        (name = "plugins", description = "Plugin files and how they fare"),
        (name = "events", description = "What happened, and why"),
        (name = "changes", description = "What an operator can have done"),
    )
)]
struct Head;

fn described() -> OpenApiRouter<Served> {
    let v1 = OpenApiRouter::new()
        .routes(routes!(resources::node))
        .routes(routes!(resources::network))
        .routes(routes!(resources::leases))
        .routes(routes!(resources::lease))
        .routes(routes!(resources::list_peers))
        .routes(routes!(resources::paths))
        .routes(routes!(resources::explain))
        .routes(routes!(resources::routes))
        .routes(routes!(resources::state))
        .routes(routes!(resources::plugins))
        .routes(routes!(resources::plugin))
        .routes(routes!(resources::tunnels))
        .routes(routes!(resources::events))
        .routes(routes!(resources::follow_events))
        .routes(routes!(resources::snapshot))
        .routes(routes!(resources::bundle))
        .routes(routes!(resources::follow))
        .routes(routes!(changes::release))
        .routes(routes!(changes::accept_config))
        .routes(routes!(changes::reconcile))
        .routes(routes!(changes::drain))
        .routes(routes!(changes::reserve))
        .routes(routes!(changes::unreserve))
        .nest("/plugins", plugins::routes())
        .nest("/backend", backend::routes());
    OpenApiRouter::with_openapi(Head::openapi())
        .routes(routes!(resources::healthz))
        .routes(routes!(resources::readyz))
        .routes(routes!(resources::metrics))
        .nest("/api/v1", v1)
}

/// The OpenAPI document of all that is served, as pretty JSON.
pub fn openapi() -> String {
    described().into_openapi().to_pretty_json().expect("a document has text keys only")
}

/// All routes, as they are open through `door`; streams end when `shutdown` is cancelled.
pub fn router(api: Api, door: Door, shutdown: CancellationToken) -> Router {
    let (described, document) = described().split_for_parts();
    let document = Bytes::from(document.to_json().expect("a document has text keys only"));
    described
        .route("/api/v1/openapi.json", get(async move || resources::json_text(document.clone())))
        .fallback_service(get(page).fallback(wrong_method))
        .route("/api", any(no_such_address))
        .route("/api/{*rest}", any(no_such_address))
        .method_not_allowed_fallback(wrong_method)
        .with_state(Served { api, shutdown })
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(from_fn_with_state(door, check))
        .layer(map_response(add_headers))
}

async fn page(headers: axum::http::HeaderMap, uri: Uri) -> Response {
    assets::answer(uri.path(), &headers)
}

async fn no_such_address(uri: Uri) -> Problem {
    Problem::not_found(format!("there is nothing at {}; /api/v1/openapi.json lists what there is", uri.path()))
}

async fn wrong_method(method: axum::http::Method, uri: Uri) -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, format!("{method} is not possible at {}", uri.path()))
}
