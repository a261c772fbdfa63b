use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;
use xtask::archive::digest;
use xtask::target::{Built, Target};
use xtask::{image, workspace};

use crate::tool::{shunt, succeed, tool};

/// The image of a binary for each kind of node.
fn image_of(binaries: &[(Target, &[u8])]) -> Vec<u8> {
    let folder = tempfile::tempdir().expect("make a folder");
    let binaries = binaries.iter().map(|(target, content)| {
        let path = folder.path().join(target.machine());
        fs::write(&path, content).expect("write a binary");
        Built { target: *target, path }
    });
    let mut image = Vec::new();
    image::write(&binaries.collect::<Vec<_>>(), &mut image).expect("write the image");
    image
}

/// An image, unpacked.
struct Layout(tempfile::TempDir);

impl Layout {
    /// Of a binary for each kind of node.
    fn of(binaries: &[(Target, &[u8])]) -> Layout {
        let folder = tempfile::tempdir().expect("make a folder");
        let archive = folder.path().join("image.tar");
        fs::write(&archive, image_of(binaries)).expect("write the image");
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

    /// What the image for a kind of node consists of; as often as it is there, which is once.
    fn manifest_and_config(&self, target: Target) -> (Value, Value) {
        let blob = |descriptor: &Value| -> Value {
            serde_json::from_slice(&self.blob(descriptor)).expect("JSON")
        };
        let index = self.json("index.json");
        let image = blob(&index["manifests"][0]);
        let manifests = image["manifests"].as_array().expect("manifests").iter();
        let mut of_target =
            manifests.filter(|one| one["platform"]["architecture"] == target.of_image()).map(blob);
        let manifest = of_target.next().expect("a manifest for this target");
        assert!(of_target.next().is_none(), "{image}");
        let config = blob(&manifest["config"]);
        assert_eq!(config["architecture"], target.of_image());
        (manifest, config)
    }
}

/// Unpacks the image as a container runtime of this kind of node does; the folder is its root.
fn unpack(layout: &Layout, target: Target) -> tempfile::TempDir {
    let (manifest, config) = layout.manifest_and_config(target);
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
    let Built { target, .. } = *shunt();
    let layout = Layout::of(&[(target, &shunt().content().expect("read the binary"))]);
    let root = unpack(&layout, target);
    let names: Vec<_> = fs::read_dir(root.path())
        .expect("list")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    assert_eq!(names, ["shunt"]);
    let (_, config) = layout.manifest_and_config(target);
    let entry = config["config"]["Entrypoint"][0].as_str().expect("an entry point");
    let version = succeed(
        tool("chroot", "apt-get install coreutils").arg(root.path()).args([entry, "--version"]),
    );
    assert_eq!(version.trim(), format!("shunt {}", workspace::VERSION));
}

#[test]
fn each_kind_of_node_gets_its_own_binary_out_of_one_archive() {
    let layout = Layout::of(&[(Target::X86_64, b"for x86-64"), (Target::Aarch64, b"for arm64")]);
    for (target, expected) in [(Target::X86_64, "for x86-64"), (Target::Aarch64, "for arm64")] {
        let root = unpack(&layout, target);
        let binary = fs::read_to_string(root.path().join("shunt")).expect("read the binary");
        assert_eq!(binary, expected);
    }
    let docker = layout.json("manifest.json");
    let tags: Vec<&Value> =
        docker.as_array().expect("images").iter().map(|one| &one["RepoTags"][0]).collect();
    assert_eq!(tags, [&format!("{}-amd64", image::name()), &format!("{}-arm64", image::name())]);
}

#[test]
fn podman_takes_either_image_out_of_one_archive() {
    let folder = tempfile::tempdir().expect("make a folder");
    let archive = folder.path().join("image.tar");
    let image = image_of(&[(Target::X86_64, b"for x86-64"), (Target::Aarch64, b"for arm64")]);
    fs::write(&archive, image).expect("write the image");
    for target in Target::ALL {
        let storage = tempfile::tempdir().expect("make a folder");
        let podman = |arguments: &[&str]| {
            let places = ["root", "run"].map(|part| storage.path().join(part));
            succeed(
                tool("podman", "apt-get install podman")
                    .args(["--storage-driver", "vfs", "--root"])
                    .arg(&places[0])
                    .arg("--runroot")
                    .arg(&places[1])
                    .args(arguments),
            )
        };
        let from = format!("oci-archive:{}", archive.display());
        let image = podman(&["pull", "--quiet", "--arch", target.of_image(), &from]);
        let shown = podman(&["image", "inspect", "--format", "{{.Architecture}}", image.trim()]);
        assert_eq!(shown.trim(), target.of_image());
    }
}

#[test]
fn the_same_binary_makes_the_same_image_and_another_binary_another_one() {
    let of = |binary: &[u8]| digest(&image_of(&[(Target::X86_64, binary)]));
    assert_eq!(of(b"one"), of(b"one"));
    assert_ne!(of(b"one"), of(b"two"));
}

#[test]
fn docker_s_manifest_names_what_the_oci_index_names() {
    let layout = Layout::of(&[(Target::X86_64, b"binary")]);
    let (manifest, _) = layout.manifest_and_config(Target::X86_64);
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
    let (_, config) =
        Layout::of(&[(Target::X86_64, b"binary")]).manifest_and_config(Target::X86_64);
    assert_eq!(said["FROM"], "scratch");
    assert_eq!(said["COPY"], "--chmod=755 shunt /shunt");
    assert_eq!(said["ENTRYPOINT"], config["config"]["Entrypoint"].to_string());
    assert_eq!(said["CMD"], config["config"]["Cmd"].to_string());
    assert_eq!(said.len(), 4, "{said:?}");
}
