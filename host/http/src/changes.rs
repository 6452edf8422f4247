//! What can be changed: each address asks [`Control`](crate::Control), and answers with a sentence of what was done.

use axum::extract::State;
use axum::http::StatusCode;
use futures_util::future::BoxFuture;
use serde::Serialize;
use utoipa::ToSchema;

use crate::guard::Door;
use crate::problem::{Problem, Problems};
use crate::routes::Served;

/// What was done.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Done {
    /// One sentence for people.
    done: String,
}

/// Gives this node's lease back and ends the daemon.
#[utoipa::path(post, path = "/release", tag = "changes", responses((status = 200, description = "It was given back", body = Done), Problems))]
pub async fn release(State(served): State<Served>) -> Result<axum::Json<Done>, Problem> {
    change(&served, served.control().release()).await
}

/// Puts a network config in force that waits because it would tear the running network down.
#[utoipa::path(post, path = "/config/accept", tag = "changes", responses((status = 200, description = "It is in force", body = Done), Problems))]
pub async fn accept_config(State(served): State<Served>) -> Result<axum::Json<Done>, Problem> {
    change(&served, served.control().accept_config()).await
}

/// Does what an operator asks. Only through the Unix socket: a browser cannot reach that, whatever page it shows.
pub(crate) async fn change(served: &Served, act: BoxFuture<'_, Result<String, String>>) -> Result<axum::Json<Done>, Problem> {
    if served.door != Door::Unix {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "changes are made through the Unix socket only; use the twill command on this machine",
        ));
    }
    let done = act.await.map_err(|reason| Problem::new(StatusCode::CONFLICT, reason))?;
    Ok(axum::Json(Done { done }))
}
