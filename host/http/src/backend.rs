//! What an operator can have done with the cluster's backend: `POST /api/v1/backend/…`. Each can be previewed first.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::ask::Query;
use crate::changes::{Done, change};
use crate::problem::{Problem, Problems};
use crate::routes::Served;

/// An order about the cluster's backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendOrder {
    /// The backend to use; none: the one of before.
    pub backend: Option<String>,
    /// Options to set, as a JSON object.
    pub options: String,
    /// Only say what would happen.
    pub preview: bool,
    /// Also where links have to be made anew, which loses what is under way.
    pub allow_disruption: bool,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Use {
    /// The backend's type, such as vxlan.
    #[serde(rename = "type")]
    #[param(rename = "type", example = "vxlan")]
    backend: String,
    /// Options to set, as a JSON object. Of another backend than the present one the rest have their defaults.
    #[serde(default)]
    options: Option<String>,
    /// Only say what would happen.
    #[serde(default)]
    preview: bool,
    /// Also where links have to be made anew.
    #[serde(default)]
    allow_disruption: bool,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Abort {
    /// Only say what would happen.
    #[serde(default)]
    preview: bool,
    /// Also where links have to be made anew.
    #[serde(default)]
    allow_disruption: bool,
}

/// The routes, below `/backend`.
pub(crate) fn routes() -> OpenApiRouter<Served> {
    OpenApiRouter::new().routes(routes!(use_backend)).routes(routes!(abort))
}

/// Writes a config with this backend, for the whole cluster.
#[utoipa::path(post, path = "/use", tag = "changes", params(Use),
    responses((status = 200, description = "What each node does, line by line", body = Done), Problems))]
async fn use_backend(State(served): State<Served>, Query(wanted): Query<Use>) -> Result<Json<Done>, Problem> {
    let Use { backend, options, preview, allow_disruption } = wanted;
    let options = options.unwrap_or_else(|| "{}".into());
    let order = BackendOrder { backend: Some(backend), options, preview, allow_disruption };
    change(served.control().backend(order)).await
}

/// Goes back to the backend and options of before the last change.
#[utoipa::path(post, path = "/abort", tag = "changes", params(Abort),
    responses((status = 200, description = "What each node does, line by line", body = Done), Problems))]
async fn abort(State(served): State<Served>, Query(wanted): Query<Abort>) -> Result<Json<Done>, Problem> {
    let Abort { preview, allow_disruption } = wanted;
    change(served.control().backend(BackendOrder { backend: None, options: "{}".into(), preview, allow_disruption })).await
}
