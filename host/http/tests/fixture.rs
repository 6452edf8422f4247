//! The dashboard's types follow the daemon's: `web/src/fixtures/snapshot.ts` is the sample snapshot as the API sends it, and the dashboard's
//! type check holds it against `web/src/api.ts`. After a change of the status types write it anew with `TWILL_BLESS=1`.

mod sample;

use std::fs;
use std::path::Path;

#[test]
fn the_dashboards_fixture_is_what_the_api_sends() {
    let json = serde_json::to_string_pretty(&sample::snapshot()).expect("JSON");
    let wanted = format!(
        "// Written by host/http/tests/fixture.rs: the sample snapshot as the API sends it.\n\
         import type {{ Snapshot }} from \"../api\";\n\n\
         export const takenMs = {};\n\n\
         export const snapshot: Snapshot = {json};\n",
        sample::NOW_MS,
    );
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../web/src/fixtures/snapshot.ts");
    if std::env::var_os("TWILL_BLESS").is_some() {
        fs::create_dir_all(path.parent().expect("a folder")).expect("cannot make the folder");
        fs::write(&path, &wanted).expect("cannot write the fixture");
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(found == wanted, "{} is not what the API sends; write it anew with TWILL_BLESS=1 and mend web/src/api.ts", path.display());
}
