//! Container names, which the kernel does not know: read from files of this node, by the ids in
//! cgroup paths. No API server and no runtime socket is contacted.
//!
//! | | file | what it says |
//! |---|---|---|
//! | Kubernetes | `/var/log/containers/POD_NAMESPACE_CONTAINER-ID.log` | its name: a link that the kubelet makes for log collectors |
//! | podman, CRI-O | `/var/lib/containers/storage/*-containers/containers.json` | `[{"id": …, "names": [NAME]}]` |
//! | docker | `/var/lib/docker/containers/ID/config.v2.json` | `{"Name": "/NAME"}` |
//!
//! In a container, only those files are seen that are mounted into it at the same path.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// The name of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ContainerName {
    /// Kubernetes namespace of the pod.
    pub namespace: Option<String>,
    /// Name of the pod.
    pub pod: Option<String>,
    /// Name of the container itself.
    pub container: String,
}

/// `NAMESPACE/POD/CONTAINER`, or `CONTAINER` without Kubernetes.
impl std::fmt::Display for ContainerName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for above in [&self.namespace, &self.pod].into_iter().flatten() {
            write!(f, "{above}/")?;
        }
        f.write_str(&self.container)
    }
}

/// Maps the ids of this node's containers to their names. Missing or malformed files are skipped.
pub fn by_id() -> HashMap<String, ContainerName> {
    below(Path::new("/"))
}

fn below(root: &Path) -> HashMap<String, ContainerName> {
    let mut names = HashMap::new();
    for entry in
        fs::read_dir(root.join("var/lib/docker/containers")).into_iter().flatten().flatten()
    {
        let id = entry.file_name().to_string_lossy().into_owned();
        if let Some(name) =
            fs::read(entry.path().join("config.v2.json")).ok().and_then(|text| of_docker(&text))
        {
            names.insert(id, name);
        }
    }
    for entry in
        fs::read_dir(root.join("var/lib/containers/storage")).into_iter().flatten().flatten()
    {
        if entry.file_name().to_string_lossy().ends_with("-containers") {
            names.extend(of_storage(
                &fs::read(entry.path().join("containers.json")).unwrap_or_default(),
            ));
        }
    }
    // Last, since CRI-O containers are in both, and the log links have their Kubernetes names.
    let links = fs::read_dir(root.join("var/log/containers")).into_iter().flatten().flatten();
    names.extend(links.filter_map(|link| of_log(link.file_name().to_str()?)));
    names
}

/// Kubernetes names contain no underscore (RFC 1123), and the id no dash.
fn of_log(file: &str) -> Option<(String, ContainerName)> {
    let (rest, id) = file.strip_suffix(".log")?.rsplit_once('-')?;
    let mut parts = rest.split('_').map(str::to_owned);
    let (Some(pod), Some(namespace), Some(container), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return None;
    };
    Some((id.to_owned(), ContainerName { namespace: Some(namespace), pod: Some(pod), container }))
}

fn of_docker(text: &[u8]) -> Option<ContainerName> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Container {
        name: String,
    }
    let Container { name } = serde_json::from_slice(text).ok()?;
    Some(without_pod(name.trim_start_matches('/').to_owned()))
}

fn of_storage(text: &[u8]) -> impl Iterator<Item = (String, ContainerName)> {
    #[derive(Deserialize)]
    struct Container {
        id: String,
        #[serde(default)]
        names: Vec<String>,
    }
    let all: Vec<Container> = serde_json::from_slice(text).unwrap_or_default();
    all.into_iter().filter_map(|container| {
        Some((container.id, without_pod(container.names.into_iter().next()?)))
    })
}

fn without_pod(container: String) -> ContainerName {
    ContainerName { namespace: None, pod: None, container }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "3f1a9c0d5b7e42688ad1c3f4e5b6a79881726354afbecd0123456789abcdef01";

    /// The names found below a root that contains this file.
    fn with(path: &str, content: &str) -> Vec<(String, String)> {
        let root = tempfile::tempdir().expect("make a folder");
        let file = root.path().join(path);
        fs::create_dir_all(file.parent().expect("a folder")).expect("make it");
        fs::write(file, content).expect("write it");
        below(root.path()).into_iter().map(|(id, name)| (id, name.to_string())).collect()
    }

    #[test]
    fn the_files_of_each_runtime_name_its_containers() {
        let id = ID.to_owned();
        let log = format!("var/log/containers/cart-5d8f7b-x2x4q_shop_nginx-proxy-{ID}.log");
        assert_eq!(with(&log, ""), [(id.clone(), "shop/cart-5d8f7b-x2x4q/nginx-proxy".to_owned())]);
        let stored = format!(r#"[{{"id":"{ID}","names":["server"],"layer":"x"}},{{"id":"0"}}]"#);
        for driver in ["overlay", "vfs"] {
            let path = format!("var/lib/containers/storage/{driver}-containers/containers.json");
            assert_eq!(with(&path, &stored), [(id.clone(), "server".to_owned())]);
        }
        let path = format!("var/lib/docker/containers/{ID}/config.v2.json");
        assert_eq!(with(&path, r#"{"ID":"x","Name":"/web"}"#), [(id, "web".to_owned())]);
    }

    #[test]
    fn malformed_files_name_nothing() {
        for path in [
            "var/log/containers/other.log",
            "var/log/containers/a_b-c.log",
            "var/log/containers/a_b_c_d-e.log",
        ] {
            assert_eq!(with(path, ""), [], "{path}");
        }
        for content in ["", "{}", "[", "[1]", r#"[{"names":["a"]}]"#, r#"[{"id":"a","names":[]}]"#]
        {
            assert_eq!(
                with("var/lib/containers/storage/vfs-containers/containers.json", content),
                [],
                "{content}"
            );
            assert_eq!(
                with(&format!("var/lib/docker/containers/{ID}/config.v2.json"), content),
                [],
                "{content}"
            );
        }
    }
}
