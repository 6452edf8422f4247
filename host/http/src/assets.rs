//! The dashboard's files, embedded from `web/dist` when the daemon is built.
//!
//! Files that carry a hash in their name are kept by browsers for ever, all others are asked for again with their ETag. An address that names
//! no file is one of the dashboard's pages and gets `index.html`; without a built dashboard, a page that says how to build it.

use std::borrow::Cow;

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use rust_embed::RustEmbed;

use crate::problem::Problem;

#[derive(RustEmbed)]
#[folder = "../../web/dist"]
#[allow_missing = true]
struct Dist;

/// A file to be sent.
struct File {
    content: Cow<'static, [u8]>,
    /// Quoted, as the header has it.
    etag: String,
}

/// The answer to a GET for `path`.
pub fn answer(path: &str, asked: &HeaderMap) -> Response {
    match find(path, embedded) {
        Some((name, file)) => send(name, file, asked),
        None => Problem::new(StatusCode::NOT_FOUND, format!("there is nothing at {path}")).into_response(),
    }
}

fn embedded(name: &str) -> Option<File> {
    let file = Dist::get(name)?;
    Some(File { content: file.data, etag: quote(&file.metadata.sha256_hash()[..16]) })
}

fn unbuilt() -> File {
    // One page, one tag: it changes with the daemon only.
    File { content: include_bytes!("unbuilt.html").into(), etag: concat!("\"unbuilt-", env!("CARGO_PKG_VERSION"), "\"").into() }
}

/// The file for `path` among `files`, with its name. A path that ends like a file must be one; any other is a page.
fn find(path: &str, files: impl Fn(&str) -> Option<File>) -> Option<(&str, File)> {
    let name = path.trim_start_matches('/');
    match files(name) {
        Some(file) if content_type(name).is_some() => Some((name, file)),
        _ if content_type(name).is_some() => None,
        _ => Some(("index.html", files("index.html").unwrap_or_else(unbuilt))),
    }
}

fn send(name: &str, file: File, asked: &HeaderMap) -> Response {
    let cache = if name.starts_with("assets/") { "public, max-age=31536000, immutable" } else { "no-cache" };
    let headers = [(header::ETAG, file.etag.clone()), (header::CACHE_CONTROL, cache.into())];
    if has(asked, &file.etag) {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    let kind = content_type(name).unwrap_or("application/octet-stream");
    (headers, [(header::CONTENT_TYPE, kind)], file.content).into_response()
}

/// True when the asker says that it has `etag` (If-None-Match, RFC 9110 section 13.1.2; the comparison is weak).
fn has(asked: &HeaderMap, etag: &str) -> bool {
    let lists = asked.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    lists.flat_map(|list| list.split(',')).map(str::trim).any(|tag| tag == "*" || tag.trim_start_matches("W/") == etag)
}

/// The media type of the files that the dashboard is made of, by extension.
fn content_type(name: &str) -> Option<&'static str> {
    Some(match name.rsplit_once('.')?.1 {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" => "application/json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "txt" => "text/plain; charset=utf-8",
        _ => return None,
    })
}

fn quote(digest: &[u8]) -> String {
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("\"{hex}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built(name: &str) -> Option<File> {
        let there = ["index.html", "assets/app-1a2b.js"].contains(&name);
        there.then(|| File { content: name.as_bytes().to_vec().into(), etag: "\"t\"".into() })
    }

    fn found(path: &str) -> Option<&str> {
        find(path, built).map(|(name, _)| name)
    }

    #[test]
    fn pages_get_the_index_and_files_must_exist() {
        assert_eq!(found("/assets/app-1a2b.js"), Some("assets/app-1a2b.js"));
        for page in ["/", "/leases", "/leases/10.123.7.0-24", "/plugins/backend-udp"] {
            assert_eq!(found(page), Some("index.html"), "{page}");
        }
        for missing in ["/assets/app-0000.js", "/favicon.ico", "/robots.txt"] {
            assert_eq!(found(missing), None, "{missing}");
        }
    }

    #[test]
    fn without_a_dashboard_the_page_says_how_to_build_it() {
        let (_, file) = find("/leases", |_| None).expect("a page");
        assert!(String::from_utf8_lossy(&file.content).contains("make build"));
    }

    #[test]
    fn tags_are_compared_weakly_and_in_lists() {
        let asked = |value: &str| HeaderMap::from_iter([(header::IF_NONE_MATCH, value.parse().expect("a header"))]);
        for value in ["\"t\"", "W/\"t\"", "\"x\", \"t\"", "*"] {
            assert!(has(&asked(value), "\"t\""), "{value}");
        }
        assert!(!has(&asked("\"x\""), "\"t\""));
        assert!(!has(&HeaderMap::new(), "\"t\""));
    }
}
