//! What an operator can have done with plugins: `POST /api/v1/plugins/…`.

use axum::Json;
use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::ask::Path;
use crate::changes::{Done, change};
use crate::problem::{Problem, Problems};
use crate::routes::Served;

/// An order about plugins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PluginOrder {
    /// Look through the plugin folders again, and say how all plugins fare then, or the one of that name.
    Reload(Option<String>),
    /// The same for one plugin, which may break traffic off.
    ReloadDisrupting(String),
    /// Have the version before take over again.
    Rollback(String),
    /// End that: the best file takes over.
    ClearRollback(String),
}

/// The routes, below `/plugins`.
pub(crate) fn routes() -> OpenApiRouter<Served> {
    OpenApiRouter::new()
        .routes(routes!(reload_all))
        .routes(routes!(reload))
        .routes(routes!(reload_disrupting))
        .routes(routes!(rollback))
        .routes(routes!(clear_rollback))
}

/// Looks through the plugin folders again.
#[utoipa::path(post, path = "/reload", tag = "changes", responses((status = 200, description = "How each plugin fares then", body = Done), Problems))]
async fn reload_all(State(served): State<Served>) -> Result<Json<Done>, Problem> {
    order(&served, PluginOrder::Reload(None)).await
}

/// Looks through the plugin folders again, and tells of one plugin.
#[utoipa::path(post, path = "/{name}/reload", tag = "changes",
    params(("name" = String, Path, description = "Its name, such as backend-udp")),
    responses((status = 200, description = "How it fares then", body = Done), Problems))]
async fn reload(State(served): State<Served>, Path(name): Path<String>) -> Result<Json<Done>, Problem> {
    order(&served, PluginOrder::Reload(Some(name))).await
}

/// Looks through the plugin folders again; the plugin may take over even if traffic breaks off.
#[utoipa::path(post, path = "/{name}/reload/disrupting", tag = "changes",
    params(("name" = String, Path, description = "Its name, such as backend-udp")),
    responses((status = 200, description = "How it fares then", body = Done), Problems))]
async fn reload_disrupting(State(served): State<Served>, Path(name): Path<String>) -> Result<Json<Done>, Problem> {
    order(&served, PluginOrder::ReloadDisrupting(name)).await
}

/// Has the version before of a plugin take over again.
#[utoipa::path(post, path = "/{name}/rollback", tag = "changes",
    params(("name" = String, Path, description = "Its name, such as backend-udp")),
    responses((status = 200, description = "How it fares then", body = Done), Problems))]
async fn rollback(State(served): State<Served>, Path(name): Path<String>) -> Result<Json<Done>, Problem> {
    order(&served, PluginOrder::Rollback(name)).await
}

/// Ends a going back: the best file takes over.
#[utoipa::path(post, path = "/{name}/rollback/clear", tag = "changes",
    params(("name" = String, Path, description = "Its name, such as backend-udp")),
    responses((status = 200, description = "How it fares then", body = Done), Problems))]
async fn clear_rollback(State(served): State<Served>, Path(name): Path<String>) -> Result<Json<Done>, Problem> {
    order(&served, PluginOrder::ClearRollback(name)).await
}

async fn order(served: &Served, order: PluginOrder) -> Result<Json<Done>, Problem> {
    change(served.control().plugins(order)).await
}
