use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;

use serde_json::Value;
use xtask::archive::digest;
use xtask::{image, workspace};

use crate::tool::{shunt, succeed, tool};

/// An image, unpacked.
struct Layout(tempfile::TempDir);

impl Layout {
    fn of(binary: &[u8]) -> Layout {
        let folder = tempfile::tempdir().expect("make a folder");
        let archive = folder.path().join("image.tar");
        image::write(binary, File::create(&archive).expect("make a file"))
            .expect("write the image");
        succeed(
            tool("tar", "apt-get install tar")
                .arg("-xf")
                .arg(&archive)
                .arg("-C")
                .arg(folder.path()),
        );
        fs::remove_file(archive).expect("remove the archive");
        Layout(folder)
    }

    fn json(&self, path: &str) -> Value {
        serde_json::from_slice(&fs::read(self.0.path().join(path)).expect("read it")).expect("JSON")
    }

    /// The blob that a descriptor is about, which has to be what it says.
    fn blob(&self, descriptor: &Value) -> Vec<u8> {
        let named = descriptor["digest"]
            .as_str()
            .expect("a digest")
            .strip_prefix("sha256:")
            .expect("by SHA-256");
        let content =
            fs::read(self.0.path().join("blobs/sha256").join(named)).expect("read the blob");
        assert_eq!(digest(&content), named);
        assert_eq!(descriptor["size"].as_u64(), Some(content.len() as u64));
        content
    }

    fn manifest_and_config(&self) -> (Value, Value) {
        let index = self.json("index.json");
        let manifest: Value =
            serde_json::from_slice(&self.blob(&index["manifests"][0])).expect("JSON");
        let config = serde_json::from_slice(&self.blob(&manifest["config"])).expect("JSON");
        (manifest, config)
    }
}

/// Unpacks the image of `binary` as a container runtime does; the folder is its root.
fn unpack(binary: &Path) -> tempfile::TempDir {
    let layout = Layout::of(&fs::read(binary).expect("read the binary"));
    let (manifest, config) = layout.manifest_and_config();
    let root = tempfile::tempdir().expect("make a folder");
    for (layer, diff) in manifest["layers"]
        .as_array()
        .expect("layers")
        .iter()
        .zip(config["rootfs"]["diff_ids"].as_array().expect("ids"))
    {
        let content = layout.blob(layer);
        assert_eq!(
            diff.as_str(),
            Some(format!("sha256:{}", digest(&content)).as_str()),
            "not compressed"
        );
        let file = layout.0.path().join("layer.tar");
        fs::write(&file, content).expect("write the layer");
        succeed(
            tool("tar", "apt-get install tar").arg("-xf").arg(&file).arg("-C").arg(root.path()),
        );
    }
    root
}

#[test]
fn every_digest_is_right_and_the_entry_point_runs_in_a_root_that_holds_nothing_else() {
    let root = unpack(shunt());
    let names: Vec<_> = fs::read_dir(root.path())
        .expect("list")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    assert_eq!(names, ["shunt"]);
    let (_, config) =
        Layout::of(&fs::read(shunt()).expect("read the binary")).manifest_and_config();
    let entry = config["config"]["Entrypoint"][0].as_str().expect("an entry point");
    let version = succeed(
        tool("chroot", "apt-get install coreutils").arg(root.path()).args([entry, "--version"]),
    );
    assert_eq!(version.trim(), format!("shunt {}", workspace::VERSION));
}

#[test]
fn the_same_binary_makes_the_same_image_and_another_binary_another_one() {
    let of = |binary: &[u8]| {
        let mut image = Vec::new();
        image::write(binary, &mut image).expect("write the image");
        digest(&image)
    };
    assert_eq!(of(b"one"), of(b"one"));
    assert_ne!(of(b"one"), of(b"two"));
}

#[test]
fn docker_s_manifest_names_what_the_oci_index_names() {
    let layout = Layout::of(b"binary");
    let (manifest, _) = layout.manifest_and_config();
    let path = |descriptor: &Value| {
        descriptor["digest"].as_str().map(|digest| format!("blobs/{}", digest.replace(':', "/")))
    };
    let docker = &layout.json("manifest.json")[0];
    assert_eq!(docker["Config"].as_str().map(str::to_owned), path(&manifest["config"]));
    assert_eq!(docker["Layers"][0].as_str().map(str::to_owned), path(&manifest["layers"][0]));
    assert_eq!(docker["RepoTags"][0], image::name());
    let annotations = &layout.json("index.json")["manifests"][0]["annotations"];
    assert_eq!(annotations["io.containerd.image.name"], image::name());
}

#[test]
fn the_dockerfile_says_the_same() {
    let text =
        fs::read_to_string(workspace::root().expect("the workspace").join("deploy/Dockerfile"))
            .expect("read it");
    let said: BTreeMap<&str, &str> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once(' '))
        .collect();
    let (_, config) = Layout::of(b"binary").manifest_and_config();
    assert_eq!(said["FROM"], "scratch");
    assert_eq!(said["COPY"], "--chmod=755 shunt /shunt");
    assert_eq!(said["ENTRYPOINT"], config["config"]["Entrypoint"].to_string());
    assert_eq!(said["CMD"], config["config"]["Cmd"].to_string());
    assert_eq!(said.len(), 4, "{said:?}");
}
