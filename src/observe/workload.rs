//! Which pod and which container a cgroup is, by its path: the only place where the kernel's view
//! of a socket and the names of Kubernetes meet.
//!
//! ```text
//! /kubepods/burstable/pod<uid>/<container>                                                          cgroupfs
//! /kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<uid>.slice/cri-containerd-<container>.scope   systemd
//! /system.slice/docker-<container>.scope            /docker/<container>             /machine.slice/libpod-<container>.scope
//! ```

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use super::container_name::{self, ContainerName};
use crate::host::cgroup;
use crate::host::pods;

/// What runs in a cgroup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Workload {
    /// Path of the cgroup below the mount point.
    pub cgroup: String,
    /// Uid of the pod.
    pub pod: Option<String>,
    /// Id of the container.
    pub container: Option<String>,
    /// What the container is called, where the node's files say it.
    pub name: Option<ContainerName>,
}

impl Workload {
    /// What a path says.
    pub fn of(cgroup: &str) -> Workload {
        let folders = || cgroup.split('/').filter(|folder| !folder.is_empty());
        Workload {
            cgroup: cgroup.to_owned(),
            pod: folders().find_map(pods::uid),
            // The innermost: a container may run containers.
            container: folders().rev().find_map(container),
            name: None,
        }
    }

    /// What a process of this PID namespace runs in.
    pub fn of_process(pid: u32) -> Option<Workload> {
        let membership = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        // That of version 2. Told from the cgroup namespace of this process: the ids of pod and
        // container are in it in any case.
        let path = membership.lines().find_map(|line| line.strip_prefix("0::"))?;
        let mut workload = Workload::of(path);
        workload.name =
            workload.container.as_ref().and_then(|id| container_name::by_id().remove(id));
        Some(workload)
    }

    /// What it is called; without a name a few characters of an id, of the pod or the container; or
    /// the last folder.
    pub fn short(&self) -> String {
        let start = |id: &str| id.get(..12).unwrap_or(id).to_owned();
        match (&self.name, &self.pod, &self.container) {
            (Some(name), ..) => name.to_string(),
            (None, Some(id), _) | (None, None, Some(id)) => start(id),
            (None, None, None) => self.cgroup.rsplit('/').next().unwrap_or_default().to_owned(),
        }
    }

    /// Whether its path, an id or a name holds this text.
    pub fn mentions(&self, text: &str) -> bool {
        let named = self.name.as_ref().is_some_and(|name| name.to_string().contains(text));
        let ids = [Some(&self.cgroup), self.pod.as_ref(), self.container.as_ref()];
        named || ids.into_iter().flatten().any(|id| id.contains(text))
    }
}

/// 64 hexadecimal digits, alone or as `<runtime>-<id>.scope`.
fn container(folder: &str) -> Option<String> {
    let folder = folder.strip_suffix(".scope").unwrap_or(folder);
    let id = folder.rsplit_once(['-', ':']).map_or(folder, |(_, id)| id);
    (id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit())).then(|| id.to_owned())
}

/// The cgroups of this node by inode number, which is how the kernel names them.
#[derive(Debug, Default)]
pub struct Workloads {
    by_inode: HashMap<u64, Arc<Workload>>,
}

impl Workloads {
    /// Walks the tree of cgroups. What it may not look into is left out.
    pub fn now() -> Workloads {
        let mut workloads = Workloads::default();
        if let Ok(root) = cgroup::root() {
            workloads.walk(&root, "/");
        }
        let mut containers = workloads
            .by_inode
            .values_mut()
            .filter_map(Arc::get_mut)
            .filter(|workload| workload.container.is_some())
            .peekable();
        if containers.peek().is_some() {
            let names = container_name::by_id();
            for workload in containers {
                workload.name = workload.container.as_ref().and_then(|id| names.get(id)).cloned();
            }
        }
        workloads
    }

    fn walk(&mut self, dir: &Path, path: &str) {
        if let Ok(metadata) = fs::metadata(dir) {
            self.by_inode.insert(metadata.ino(), Arc::new(Workload::of(path)));
        }
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                let below = format!(
                    "{}/{}",
                    path.trim_end_matches('/'),
                    entry.file_name().to_string_lossy()
                );
                self.walk(&entry.path(), &below);
            }
        }
    }

    /// What runs in the cgroup with this inode number; 0 is none.
    pub fn of(&self, cgroup: u64) -> Option<&Arc<Workload>> {
        self.by_inode.get(&cgroup)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTAINER: &str = "3f1a9c0d5b7e42688ad1c3f4e5b6a79881726354afbecd0123456789abcdef01";
    const POD: &str = "8dbc5577-d0e2-4706-8787-57d52c03ddf2";
    const STATIC_POD: &str = "c5d6f1e2a3b4958677889900aabbccdd";

    #[test]
    fn every_runtime_s_paths_tell_the_pod_and_the_container() {
        let pod_ = POD.replace('-', "_");
        let c = CONTAINER;
        for (path, pod, container) in [
            // Kubernetes with the cgroupfs driver, each class of service.
            (format!("/kubepods/burstable/pod{POD}/{c}"), Some(POD), Some(c)),
            (format!("/kubepods/besteffort/pod{POD}/{c}"), Some(POD), Some(c)),
            (format!("/kubepods/pod{POD}/{c}"), Some(POD), Some(c)),
            (format!("/kubepods/burstable/pod{STATIC_POD}/{c}"), Some(STATIC_POD), Some(c)),
            // With the systemd driver: containerd, CRI-O, docker; class "guaranteed" has no folder.
            (
                format!(
                    "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{pod_}.slice/cri-containerd-{c}.scope"
                ),
                Some(POD),
                Some(c),
            ),
            (
                format!("/kubepods.slice/kubepods-pod{pod_}.slice/cri-containerd-{c}.scope"),
                Some(POD),
                Some(c),
            ),
            (
                format!(
                    "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{pod_}.slice/crio-{c}.scope"
                ),
                Some(POD),
                Some(c),
            ),
            (
                format!(
                    "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{pod_}.slice/crio-{c}.scope/container"
                ),
                Some(POD),
                Some(c),
            ),
            (
                format!("/kubepods.slice/kubepods-pod{pod_}.slice/docker-{c}.scope"),
                Some(POD),
                Some(c),
            ),
            // containerd without systemd below a systemd kubelet.
            (
                format!(
                    "/system.slice/containerd.service/kubepods-burstable-pod{pod_}.slice:cri-containerd:{c}"
                ),
                None,
                Some(c),
            ),
            // kind, k3s: a node in a container.
            (
                format!(
                    "/system.slice/docker-{}.scope/kubelet.slice/kubelet-kubepods.slice/{c}",
                    "0".repeat(64)
                ),
                None,
                Some(c),
            ),
            (
                format!(
                    "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{pod_}.slice/cri-containerd-{c}.scope"
                ),
                Some(POD),
                Some(c),
            ),
            // Without Kubernetes.
            (format!("/docker/{c}"), None, Some(c)),
            (format!("/system.slice/docker-{c}.scope"), None, Some(c)),
            (format!("/machine.slice/libpod-{c}.scope/container"), None, Some(c)),
            (format!("/machine.slice/libpod-conmon-{c}.scope"), None, Some(c)),
            (
                format!(
                    "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{c}.scope"
                ),
                None,
                Some(c),
            ),
            // The pod's own cgroup, and what is none.
            (format!("/kubepods/burstable/pod{POD}"), Some(POD), None),
            ("/".into(), None, None),
            ("/system.slice/nginx.service".into(), None, None),
            ("/podman".into(), None, None),
            ("/kubepods.slice/kubepods-burstable.slice".into(), None, None),
        ] {
            let workload = Workload::of(&path);
            assert_eq!(
                (workload.pod.as_deref(), workload.container.as_deref()),
                (pod, container),
                "{path}"
            );
        }
    }

    #[test]
    fn a_workload_is_shown_in_a_few_characters_whatever_its_path_is() {
        for (path, short) in [
            (format!("/kubepods/pod{POD}/{CONTAINER}"), "8dbc5577-d0e"),
            (format!("/docker/{CONTAINER}"), "3f1a9c0d5b7e"),
            ("/system.slice/nginx.service".into(), "nginx.service"),
            ("/".into(), ""),
            ("".into(), ""),
        ] {
            assert_eq!(Workload::of(&path).short(), short, "{path}");
        }
        let name = ContainerName {
            namespace: Some("shop".into()),
            pod: Some("cart".into()),
            container: "web".into(),
        };
        let named = Workload {
            name: Some(name),
            ..Workload::of(&format!("/kubepods/pod{POD}/{CONTAINER}"))
        };
        assert_eq!(named.short(), "shop/cart/web");
        assert!(
            named.mentions("shop/cart")
                && named.mentions("8dbc5577-d0e2")
                && !named.mentions("other")
        );
    }

    #[test]
    fn a_process_runs_in_what_its_cgroup_says() {
        let own = Workload::of_process(std::process::id()).expect("this process's cgroup");
        let membership = fs::read_to_string("/proc/self/cgroup").expect("read it");
        assert!(membership.contains(&format!("0::{}\n", own.cgroup)), "{own:?}, {membership}");
        assert_eq!(Workload::of_process(u32::MAX), None);
    }

    #[test]
    fn the_root_of_the_tree_is_found_by_its_inode_number() {
        let root = cgroup::root().expect("the mount point of cgroup v2");
        let inode = fs::metadata(root).expect("look at it").ino();
        assert_eq!(Workloads::now().of(inode).map(|workload| workload.cgroup.as_str()), Some("/"));
    }
}
