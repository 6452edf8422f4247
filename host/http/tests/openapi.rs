//! The OpenAPI document is committed, so that a change of the API is seen in review. After a change write it anew with `TWILL_BLESS=1`.

use std::fs;
use std::path::Path;

#[test]
fn the_committed_document_is_what_is_served() {
    let wanted = twill_http::openapi() + "\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
    if std::env::var_os("TWILL_BLESS").is_some() {
        fs::write(&path, &wanted).expect("cannot write the document");
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(found == wanted, "{} is not what the daemon serves; look at the difference after TWILL_BLESS=1", path.display());
}

/// Every reference leads somewhere, every operation says what its success looks like, and what a failure does.
#[test]
fn the_document_is_whole() {
    let document: serde_json::Value = serde_json::from_str(&twill_http::openapi()).expect("JSON");
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"#/components/schemas/").skip(1).filter_map(|rest| rest.split('"').next()) {
        assert!(document["components"]["schemas"][reference].is_object(), "there is no schema {reference}");
    }
    let paths = document["paths"].as_object().expect("paths");
    assert!(paths.len() >= 18, "{} paths", paths.len());
    for (path, operations) in paths {
        for (method, operation) in operations.as_object().expect("operations") {
            let responses = operation["responses"].as_object().expect("responses");
            assert!(responses.contains_key("200") && responses.contains_key("default"), "{method} {path}: {responses:?}");
            assert!(operation["summary"].as_str().is_some_and(|summary| !summary.is_empty()), "{method} {path} has no summary");
        }
    }
}
