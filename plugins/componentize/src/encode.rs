//! A core module to a component: wit-component reads the world from the module's custom section and wraps it.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use wit_component::ComponentEncoder;

/// Encodes `module` into the file `component`, if that differs; the answer ends a line for people.
pub fn component(module: &Path, component: &Path) -> Result<String> {
    let core = fs::read(module).with_context(|| format!("cannot read {}", module.display()))?;
    let bytes = encode(&core).with_context(|| format!("cannot make a component of {}", module.display()))?;
    if fs::read(component).is_ok_and(|old| old == bytes) {
        return Ok("is up to date".into());
    }
    write_whole(component, &bytes).with_context(|| format!("cannot write {}", component.display()))?;
    Ok(format!("is written, {} KiB", bytes.len().div_ceil(1024)))
}

fn encode(core: &[u8]) -> Result<Vec<u8>> {
    ComponentEncoder::default().validate(true).module(core)?.encode()
}

/// By way of a second file, so that a daemon that watches the folder never loads half a plugin.
fn write_whole(file: &Path, bytes: &[u8]) -> Result<()> {
    fs::create_dir_all(file.parent().unwrap_or(Path::new(".")))?;
    let draft = file.with_extension("wasm.new");
    fs::write(&draft, bytes)?;
    Ok(fs::rename(&draft, file)?)
}
