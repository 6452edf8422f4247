//! What an operator can have done with plugins: `POST /api/v1/plugins/…`.

use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::post;

use crate::problem::Problem;
use crate::routes::{Served, change};

/// An order about plugins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PluginOrder {
    /// Look through the plugin folders again, and say how all plugins fare then, or the one of that name.
    Reload(Option<String>),
}

/// The routes, below `/plugins`.
pub(crate) fn routes() -> Router<Served> {
    Router::new().route("/reload", post(reload_all)).route("/{name}/reload", post(reload))
}

async fn reload_all(State(served): State<Served>) -> Result<Response, Problem> {
    order(&served, PluginOrder::Reload(None)).await
}

async fn reload(State(served): State<Served>, Path(name): Path<String>) -> Result<Response, Problem> {
    order(&served, PluginOrder::Reload(Some(name))).await
}

async fn order(served: &Served, order: PluginOrder) -> Result<Response, Problem> {
    change(served, served.control().plugins(order)).await
}
