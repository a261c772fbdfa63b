//! The pods of this node: their names and the cgroups that they run in. No API server and no
//! container runtime is asked.
//!
//! | | where | by the kubelet |
//! |---|---|---|
//! | names | `/var/log/pods/NAMESPACE_NAME_UID`, a folder | made before the pod's first container |
//! | cgroups | `kubepods/burstable/podUID` (cgroupfs driver) | made before that |
//! | | `kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podUID.slice` (systemd) | |

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where the kubelet keeps the logs of pods.
pub const LOGS: &str = "/var/log/pods";

/// Namespaces and names of pods by their uids.
pub type Names = BTreeMap<String, (String, String)>;

/// A pod that has a cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The folder of its cgroup.
    pub cgroup: PathBuf,
}

/// The pods that run here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pods {
    /// Cgroups that hold those of pods, known and unknown.
    pub above: Vec<PathBuf>,
    /// The known ones.
    pub known: Vec<Pod>,
}

/// The names of this node's pods, also of those that have ended.
///
/// # Errors
/// If their folders cannot be listed.
pub fn names() -> io::Result<Names> {
    names_in(Path::new(LOGS))
}

/// Finds their cgroups below the root of the hierarchy.
///
/// What lies in a pod's cgroup is its own, and the nearest to the root counts: nobody is taken for
/// another pod by the names of cgroups that he may make.
pub fn find(root: &Path, mut names: Names) -> Pods {
    let mut pods = Pods::default();
    let mut left = VecDeque::from([(root.to_owned(), false)]);
    while let Some((folder, inside)) = left.pop_front() {
        let own = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if inside && let Some(uid) = uid(own) {
            if let Some((namespace, name)) = names.remove(&uid) {
                pods.known.push(Pod { namespace, name, cgroup: folder });
            }
            continue;
        }
        let begins = !inside && holds_pods(own);
        let below = fs::read_dir(&folder).into_iter().flatten().flatten();
        let below = below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        left.extend(below.map(|entry| (entry.path(), inside || begins)));
        if begins {
            pods.above.push(folder);
        }
    }
    pods
}

/// The pod's uid in the name of a cgroup: `pod<uid>`, or `<above>-pod<uid>.slice`, in which dashes
/// are underscores.
pub fn uid(folder: &str) -> Option<String> {
    let uid = match folder.strip_suffix(".slice") {
        Some(slice) => {
            let (above, uid) = slice.rsplit_once("-pod")?;
            above.contains("kubepods").then(|| uid.replace('_', "-"))?
        }
        None => folder.strip_prefix("pod")?.to_owned(),
    };
    // A static pod's uid is the hash of its manifest.
    let is_uid = uid.len() >= 32 && uid.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    is_uid.then_some(uid)
}

/// `kubepods`, and with systemd also below another slice: `kubelet-kubepods.slice`.
fn holds_pods(folder: &str) -> bool {
    folder.strip_suffix(".slice").unwrap_or(folder).rsplit('-').next() == Some("kubepods")
}

/// No part holds an underscore (RFC 1123).
fn names_in(logs: &Path) -> io::Result<Names> {
    let named = |folder: &str| {
        let mut parts = folder.split('_').map(str::to_owned);
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(namespace), Some(name), Some(uid), None) => Some((uid, (namespace, name))),
            _ => None,
        }
    };
    Ok(fs::read_dir(logs)?
        .flatten()
        .filter_map(|entry| named(entry.file_name().to_str()?))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "8dbc5577-d0e2-4706-8787-57d52c03ddf2";
    const OTHER: &str = "0a1b2c3d-d0e2-4706-8787-57d52c03ddf2";
    const STATIC: &str = "c5d6f1e2a3b4958677889900aabbccdd";

    /// A folder with these in it.
    fn with(folders: &[String]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("make a folder");
        for folder in folders {
            fs::create_dir_all(root.path().join(folder)).expect("make it");
        }
        root
    }

    #[test]
    fn a_pod_is_found_by_its_uid_with_both_drivers_of_the_kubelet() {
        let logs = with(&[
            format!("shop_cart-5d8f7b-x2x4q_{UID}/web"),
            format!("kube-system_etcd-node1_{STATIC}"),
            "no-pod".into(),
            "a_b_c_d".into(),
        ]);
        let names = names_in(logs.path()).expect("list them");
        assert_eq!(names[STATIC], ("kube-system".into(), "etcd-node1".into()));
        assert_eq!(names.len(), 2);
        let with_dashes = UID.replace('-', "_");
        for (above, pod) in [
            ("kubepods", format!("burstable/pod{UID}")),
            ("kubepods", format!("pod{UID}")),
            (
                "kubepods.slice",
                format!("kubepods-burstable.slice/kubepods-burstable-pod{with_dashes}.slice"),
            ),
            ("kubepods.slice", format!("kubepods-pod{with_dashes}.slice")),
            (
                "kubelet.slice/kubelet-kubepods.slice",
                format!("kubelet-kubepods-pod{with_dashes}.slice"),
            ),
        ] {
            let root = with(&[
                format!("{above}/{pod}/container"),
                format!("{above}/pod{OTHER}"),
                "system.slice/nginx.service".into(),
            ]);
            let above = root.path().join(above);
            let cgroup = above.join(&pod);
            let pod = Pod { namespace: "shop".into(), name: "cart-5d8f7b-x2x4q".into(), cgroup };
            let expected = Pods { above: vec![above], known: vec![pod] };
            assert_eq!(find(root.path(), names.clone()), expected);
        }
    }

    #[test]
    fn nobody_is_taken_for_another_pod_by_cgroups_of_his_own() {
        let names: Names =
            [UID, OTHER].map(|uid| (uid.to_owned(), ("shop".to_owned(), uid.to_owned()))).into();
        let root = with(&[
            format!("kubepods/pod{UID}/container/kubepods/pod{OTHER}"),
            format!("a/b/kubepods/pod{UID}"),
        ]);
        let pods = find(root.path(), names);
        let known: Vec<_> = pods.known.iter().map(|pod| (&*pod.name, &*pod.cgroup)).collect();
        assert_eq!(known, [(UID, &*root.path().join(format!("kubepods/pod{UID}")))]);
    }

    #[test]
    fn names_that_cannot_be_listed_are_an_error() {
        assert!(names_in(Path::new("/no/such")).is_err());
    }
}
