//! The container image that `deploy/Dockerfile` describes, as an archive for `ctr images import`,
//! `docker load` and `skopeo`.
//!
//! An OCI image layout (<https://github.com/opencontainers/image-spec>, `image-layout.md`) with the
//! `manifest.json` that `docker load` reads beside it. The layer is not compressed, since both name
//! it by the digest of what is inside.
//!
//! One archive has the images for all kinds of nodes. Whoever reads `index.json` takes the one for
//! its own kind, or all of them for a registry. A `docker load` that reads `manifest.json` cannot
//! tell them apart: there each has a tag of its own, `VERSION-amd64` for one, if there are several.

use std::io::Write;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::archive::{Archive, digest};
use crate::target::Built;
use crate::workspace::VERSION;

/// What the image is called.
pub fn name() -> String {
    format!("localhost/shunt:{VERSION}")
}

/// Writes the image of static binaries, each for its own kind of node.
///
/// # Errors
/// When it cannot be written.
pub fn write(binaries: &[Built], to: impl Write) -> Result<()> {
    let mut blobs = Vec::new();
    let (mut manifests, mut for_docker) = (Vec::new(), Vec::new());
    for binary in binaries {
        let target = binary.target;
        let mut layer = Archive::new(Vec::new());
        layer.file("shunt", true, &binary.content()?)?;
        let layer = layer.finish()?;
        let config = serde_json::to_vec(&json!({
            "architecture": target.of_image(),
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
        described["platform"] = json!({ "architecture": target.of_image(), "os": "linux" });
        manifests.push(described);
        let tag = match binaries {
            [_] => name(),
            _ => format!("{}-{}", name(), target.of_image()),
        };
        for_docker
            .push(json!({ "Config": blob(&config), "RepoTags": [tag], "Layers": [blob(&layer)] }));
        blobs.extend([layer, config, manifest]);
    }
    let image = serde_json::to_vec(&index(&manifests))?;
    let mut described = descriptor(INDEX, &image);
    described["annotations"] =
        json!({ "io.containerd.image.name": name(), "org.opencontainers.image.ref.name": VERSION });
    blobs.push(image);
    blobs.sort_by_key(|content| digest(content));
    blobs.dedup();

    let mut archive = Archive::new(to);
    archive.folder("blobs")?;
    archive.folder("blobs/sha256")?;
    for content in &blobs {
        archive.file(&blob(content), false, content)?;
    }
    archive.file("index.json", false, &serde_json::to_vec(&index(&[described]))?)?;
    archive.file("manifest.json", false, &serde_json::to_vec(&for_docker)?)?;
    archive.file("oci-layout", false, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    archive.finish()?.flush().context("cannot write the image")
}

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fn index(manifests: &[Value]) -> Value {
    json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests })
}

fn descriptor(media_type: &str, content: &[u8]) -> Value {
    json!({ "mediaType": media_type, "digest": format!("sha256:{}", digest(content)), "size": content.len() })
}

fn blob(content: &[u8]) -> String {
    format!("blobs/sha256/{}", digest(content))
}
