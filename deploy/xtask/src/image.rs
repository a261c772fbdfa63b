//! The container image that `deploy/Dockerfile` describes, as an archive for `ctr images import`,
//! `docker load` and `skopeo`.
//!
//! An OCI image layout (<https://github.com/opencontainers/image-spec>, `image-layout.md`) with the
//! `manifest.json` that `docker load` reads beside it. The layer is not compressed, since both name
//! it by the digest of what is inside.

use std::env::consts::ARCH;
use std::io::Write;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::archive::{Archive, digest};
use crate::workspace::VERSION;

/// What the image is called.
pub fn name() -> String {
    format!("localhost/shunt:{VERSION}")
}

/// Writes the image of a static binary.
///
/// # Errors
/// When it cannot be written.
pub fn write(binary: &[u8], to: impl Write) -> Result<()> {
    let mut layer = Archive::new(Vec::new());
    layer.file("shunt", true, binary)?;
    let layer = layer.finish()?;
    let config = serde_json::to_vec(&json!({
        "architecture": architecture(),
        "os": "linux",
        "config": {
            "Entrypoint": ["/shunt"],
            "Cmd": ["run"],
            "Labels": {
                "org.opencontainers.image.title": "shunt",
                "org.opencontainers.image.version": VERSION,
                "org.opencontainers.image.licenses": "Apache-2.0",
            },
        },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{}", digest(&layer))] },
    }))?;
    let manifest = serde_json::to_vec(&json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", &layer)],
    }))?;
    let mut described = descriptor(MANIFEST, &manifest);
    described["platform"] = json!({ "architecture": architecture(), "os": "linux" });
    described["annotations"] =
        json!({ "io.containerd.image.name": name(), "org.opencontainers.image.ref.name": VERSION });
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [described],
    });
    let for_docker =
        json!([{ "Config": blob(&config), "RepoTags": [name()], "Layers": [blob(&layer)] }]);

    let mut archive = Archive::new(to);
    archive.folder("blobs")?;
    archive.folder("blobs/sha256")?;
    let mut blobs = [&layer, &config, &manifest];
    blobs.sort_by_key(|content| digest(content));
    for content in blobs {
        archive.file(&blob(content), false, content)?;
    }
    archive.file("index.json", false, &serde_json::to_vec(&index)?)?;
    archive.file("manifest.json", false, &serde_json::to_vec(&for_docker)?)?;
    archive.file("oci-layout", false, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    archive.finish()?.flush().context("cannot write the image")
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fn descriptor(media_type: &str, content: &[u8]) -> Value {
    json!({ "mediaType": media_type, "digest": format!("sha256:{}", digest(content)), "size": content.len() })
}

fn blob(content: &[u8]) -> String {
    format!("blobs/sha256/{}", digest(content))
}

/// As Go names it, which images follow.
fn architecture() -> &'static str {
    match ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
