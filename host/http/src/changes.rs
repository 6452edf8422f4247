//! What can be changed: each address asks [`Control`](crate::Control), and answers with a sentence of what was done.

use std::net::IpAddr;

use axum::extract::State;
use axum::http::StatusCode;
use futures_util::future::BoxFuture;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ask::Body;
use crate::families;
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
    change(served.control().release()).await
}

/// Puts a network config in force that waits because it would tear the running network down.
#[utoipa::path(post, path = "/config/accept", tag = "changes", responses((status = 200, description = "It is in force", body = Done), Problems))]
pub async fn accept_config(State(served): State<Served>) -> Result<axum::Json<Done>, Problem> {
    change(served.control().accept_config()).await
}

/// Compares the plan with the kernel now, and mends what differs.
#[utoipa::path(post, path = "/reconcile", tag = "changes", responses((status = 200, description = "What came of it", body = Done), Problems))]
pub async fn reconcile(State(served): State<Served>) -> Result<axum::Json<Done>, Problem> {
    change(served.control().reconcile()).await
}

/// What is to be pinned to which node. Nothing at all stands for what this node holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Reservation {
    /// Subnets, at most one of each family.
    #[schema(value_type = Vec<String>, max_items = 2, example = json!(["10.244.7.0/24"]))]
    pub subnets: Vec<IpNet>,
    /// The node's public addresses, at most one of each family.
    #[schema(value_type = Vec<String>, max_items = 2, example = json!(["192.0.2.7"]))]
    pub public: Vec<IpAddr>,
}

/// Pins a subnet to a node: nobody else gets it, and it does not expire. The node need not exist yet.
#[utoipa::path(post, path = "/reserve", tag = "changes", request_body(content = Option<Reservation>),
    responses((status = 200, description = "It is reserved", body = Done), Problems))]
pub async fn reserve(State(served): State<Served>, Body(wanted): Body<Reservation>) -> Result<axum::Json<Done>, Problem> {
    let wanted = match wanted.subnets.is_empty() && wanted.public.is_empty() {
        true => None,
        false => {
            let subnets = families::prefixes(&wanted.subnets).map_err(Problem::bad_request)?;
            Some((subnets, families::addresses(&wanted.public).map_err(Problem::bad_request)?))
        }
    };
    change(served.control().reserve(wanted)).await
}

/// Which reservation is to end.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Unreserve {
    /// The subnets, as they were reserved.
    #[schema(value_type = Vec<String>, min_items = 1, max_items = 2, example = json!(["10.244.7.0/24"]))]
    subnets: Vec<IpNet>,
}

/// Ends a reservation. A subnet in use becomes an ordinary lease; an unused one is free again.
#[utoipa::path(post, path = "/unreserve", tag = "changes", request_body(content = Unreserve),
    responses((status = 200, description = "It is reserved no longer", body = Done), Problems))]
pub async fn unreserve(State(served): State<Served>, Body(wanted): Body<Unreserve>) -> Result<axum::Json<Done>, Problem> {
    let subnets = families::prefixes(&wanted.subnets).map_err(Problem::bad_request)?;
    change(served.control().unreserve(subnets)).await
}

/// How to drain.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Drain {
    /// How long to go on receiving.
    #[schema(minimum = 1, maximum = 3600, default = 30)]
    seconds: u32,
}

impl Default for Drain {
    fn default() -> Drain {
        Drain { seconds: 30 }
    }
}

/// Takes this node out of the network: its lease is withdrawn, it goes on receiving for a while, then the daemon ends and takes its network state away.
#[utoipa::path(post, path = "/drain", tag = "changes", request_body(content = Option<Drain>),
    responses((status = 200, description = "The lease is withdrawn", body = Done), Problems))]
pub async fn drain(State(served): State<Served>, Body(drain): Body<Drain>) -> Result<axum::Json<Done>, Problem> {
    if !(1..=3_600).contains(&drain.seconds) {
        return Err(Problem::bad_request(format!("seconds is {}, and must be from 1 to 3600", drain.seconds)));
    }
    change(served.control().drain(drain.seconds)).await
}

/// Does what an operator asks. Whether this one may ask was decided at the door.
pub(crate) async fn change(act: BoxFuture<'_, Result<String, String>>) -> Result<axum::Json<Done>, Problem> {
    let done = act.await.map_err(|reason| Problem::new(StatusCode::CONFLICT, reason))?;
    Ok(axum::Json(Done { done }))
}
