//! What the binary is made of, for machines: CycloneDX 1.6
//! (<https://cyclonedx.org/docs/1.6/json/>).

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::dependencies::Component;
use crate::workspace::VERSION;

/// The components and their dependencies. Without a serial number and a time, which would differ
/// from run to run.
///
/// # Errors
/// When the binary's own package is not among the components.
pub fn cyclonedx(components: &[Component]) -> Result<String> {
    let own = components
        .iter()
        .find(|one| one.name == "tcp-shunt")
        .context("the components lack the binary's own package")?;
    let others: Vec<Value> = components.iter().filter(|one| *one != own).map(component).collect();
    let mut application = component(own);
    application["type"] = json!("application");
    let dependencies: Vec<Value> = components.iter().map(dependency).collect();
    let document = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": application,
            "tools": { "components": [{ "type": "application", "name": "xtask", "version": VERSION }] },
        },
        "components": others,
        "dependencies": dependencies,
    });
    Ok(serde_json::to_string_pretty(&document)? + "\n")
}

fn component(one: &Component) -> Value {
    let mut value = json!({
        "type": "library",
        "bom-ref": reference(&one.name, &one.version),
        "name": one.name,
        "version": one.version,
        "licenses": [{ "expression": one.licence }],
        "purl": reference(&one.name, &one.version),
    });
    if let Some(checksum) = &one.checksum {
        value["hashes"] = json!([{ "alg": "SHA-256", "content": checksum }]);
    }
    value
}

fn dependency(one: &Component) -> Value {
    let on: Vec<String> =
        one.depends_on.iter().map(|(name, version)| reference(name, version)).collect();
    json!({ "ref": reference(&one.name, &one.version), "dependsOn": on })
}

/// A package URL (<https://github.com/package-url/purl-spec>).
fn reference(name: &str, version: &str) -> String {
    match name {
        "glibc" | "rust-std" => format!("pkg:generic/{name}@{version}"),
        _ => format!("pkg:cargo/{name}@{version}"),
    }
}
