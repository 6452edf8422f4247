//! The one shape of errors: problem details, `application/problem+json` (RFC 9457).

use std::collections::BTreeMap;

use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::openapi::{Content, Ref, RefOr, ResponseBuilder};
use utoipa::{IntoResponses, ToSchema};

/// The media type of problems.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// An error as the API tells it (RFC 9457).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Problem {
    /// Always "about:blank": the status says what kind of problem it is.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The status code's phrase.
    title: String,
    /// The status code.
    status: u16,
    /// One sentence for people; it says what to do next where that helps.
    detail: String,
    /// A header that goes with it.
    #[serde(skip)]
    header: Option<Box<(HeaderName, String)>>,
}

impl Problem {
    /// A problem whose title is the status code's phrase; `detail` is one sentence for people and says what to do next where that helps.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Problem {
        let title = status.canonical_reason().unwrap_or("Error").to_owned();
        Problem { kind: "about:blank", title, status: status.as_u16(), detail: detail.into(), header: None }
    }

    /// The request makes no sense.
    pub fn bad_request(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, detail)
    }

    /// There is no such thing.
    pub fn not_found(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::NOT_FOUND, detail)
    }

    /// The same with a header.
    pub fn with(self, name: HeaderName, value: impl Into<String>) -> Problem {
        Problem { header: Some(Box::new((name, value.into()))), ..self }
    }
}

impl IntoResponse for Problem {
    fn into_response(mut self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let header = self.header.take().map(|header| *header);
        let body = serde_json::to_string(&self).expect("a problem has text keys only");
        let mut response = (status, [(header::CONTENT_TYPE, MEDIA_TYPE)], body).into_response();
        if let Some((name, value)) = header
            && let Ok(value) = value.parse()
        {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

/// In the OpenAPI document: whatever does not succeed is answered by a problem.
pub struct Problems;

impl IntoResponses for Problems {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        let content = Content::new(Some(Ref::from_schema_name("Problem")));
        let response = ResponseBuilder::new()
            .description("What is wrong with the request, or why it cannot be fulfilled")
            .content(MEDIA_TYPE, content);
        BTreeMap::from([("default".to_owned(), response.build().into())])
    }
}
