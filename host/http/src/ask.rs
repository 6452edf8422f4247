//! What is asked for, taken out of a request: a path's variable, a query, a JSON body. What does not fit is answered by a problem in words.

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use ipnet::IpNet;
use serde::de::DeserializeOwned;

use crate::problem::Problem;

/// Largest body that is read, in bytes.
pub const BODY_LIMIT: usize = 64 * 1_024;

/// The variables of a path.
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let wrong = |error: PathRejection| Problem::new(error.status(), format!("the path cannot be understood: {}", error.body_text()));
        axum::extract::Path::<T>::from_request_parts(parts, state).await.map(|axum::extract::Path(value)| Path(value)).map_err(wrong)
    }
}

/// The query of an address.
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let wrong = |error: QueryRejection| Problem::bad_request(error.body_text());
        axum::extract::Query::<T>::from_request_parts(parts, state).await.map(|axum::extract::Query(value)| Query(value)).map_err(wrong)
    }
}

/// A JSON body; none at all stands for `T::default()`.
pub struct Body<T>(pub T);

impl<T: DeserializeOwned + Default, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let json = is_json(request.headers());
        let body = Bytes::from_request(request, state).await.map_err(unreadable)?;
        match json {
            _ if body.is_empty() => Ok(Body(T::default())),
            false => Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "the body must be JSON, with the header Content-Type: application/json",
            )),
            true => serde_json::from_slice(&body)
                .map(Body)
                .map_err(|error| Problem::bad_request(format!("the body cannot be understood: {error}"))),
        }
    }
}

fn unreadable(error: BytesRejection) -> Problem {
    match error.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Problem::new(StatusCode::PAYLOAD_TOO_LARGE, format!("the body is longer than {BODY_LIMIT} bytes")),
        status => Problem::new(status, error.body_text()),
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

/// A prefix as it stands in a path: "10.244.7.0-24" or "10.244.7.0%2F24".
pub fn prefix(text: &str) -> Result<IpNet, Problem> {
    let parsed = text.rsplit_once(['-', '/']).and_then(|(address, length)| format!("{address}/{length}").parse::<IpNet>().ok());
    parsed.ok_or_else(|| {
        Problem::bad_request(format!("\"{text}\" is no subnet such as 10.244.7.0-24 (an address, -, and the prefix length)"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_read_with_either_sign() {
        for text in ["10.244.7.0-24", "10.244.7.0/24"] {
            assert_eq!(prefix(text).expect("a prefix").to_string(), "10.244.7.0/24");
        }
        assert_eq!(prefix("fd00:1::-64").expect("a prefix").to_string(), "fd00:1::/64");
        for text in ["", "10.244.7.0", "10.244.7.0-33", "-", "10.244.7.0-", "a-24", "10.244.7.0-24-24"] {
            assert!(prefix(text).is_err(), "{text}");
        }
    }
}
