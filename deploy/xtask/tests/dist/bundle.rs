use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::OnceLock;

use serde_json::Value;
use xtask::archive::digest;
use xtask::bundle;
use xtask::target::{Built, Target};

use crate::tool::{both, run, shunt, succeed, tool};

/// A binary that is none, in `folder`.
fn stand_in(target: Target, folder: &Path, content: &str) -> Built {
    let path = folder.join(target.machine());
    fs::write(&path, content).expect("write it");
    Built { target, path }
}

/// The kind of node that this machine is not.
pub fn other() -> Target {
    let native = Target::native().expect("a machine that shunt is made for");
    Target::ALL.into_iter().find(|target| *target != native).expect("another one")
}

/// The unpacked bundle of the real binary for this machine, and one for others that is none; made
/// once.
pub fn unpacked() -> &'static Path {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let folder = tempfile::tempdir().expect("make a folder");
        let other = stand_in(other(), folder.path(), "not for this machine");
        let both = [shunt().clone(), other];
        let archive = bundle::make(&both, folder.path()).expect("make the bundle");
        succeed(
            tool("tar", "apt-get install tar")
                .arg("-xzf")
                .arg(&archive)
                .arg("-C")
                .arg(folder.path()),
        );
        folder
    });
    static INSIDE: OnceLock<PathBuf> = OnceLock::new();
    INSIDE.get_or_init(|| folder.path().join(bundle::name()))
}

/// Runs a script as root of this machine with everything that it writes kept apart in an overlay,
/// and lists what is left of that.
fn on_a_copy_of_this_machine(script: &str) -> (Output, Vec<String>) {
    let changes = tempfile::tempdir().expect("make a folder");
    let around = "set -e
        mount -t tmpfs none \"$1\" && mkdir \"$1/upper\" \"$1/work\" \"$1/root\"
        mount -t overlay none -o lowerdir=/,upperdir=\"$1/upper\",workdir=\"$1/work\" \"$1/root\"
        mkdir -p \"$1/root/mnt/bundle\"
        mount --bind \"$2\" \"$1/root/mnt/bundle\"
        mount -t proc none \"$1/root/proc\"
        mount --rbind /dev \"$1/root/dev\"
        mount -t tmpfs none \"$1/root/run\"
        chroot \"$1/root\" sh -c \"$3\" || echo \"ended with $?\"
        umount \"$1/root/mnt/bundle\"
        echo ==left==
        cd \"$1/upper\" && find . ! -type d";
    let mut command = tool("unshare", "apt-get install util-linux");
    let command = command
        .args(["--mount", "sh", "-c", around, "sh"])
        .arg(changes.path())
        .arg(unpacked())
        .arg(script);
    let output = run(command);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (_, left) = text.split_once("==left==\n").unwrap_or_else(|| panic!("{}", both(&output)));
    let mut left: Vec<String> =
        left.lines().map(|path| path.trim_start_matches("./").to_owned()).collect();
    left.sort();
    (output, left)
}

/// What the bundle says that it installs.
fn listed() -> Vec<String> {
    let root = unpacked().join("root");
    let files = xtask::archive::below(&root)
        .expect("list root/")
        .into_iter()
        .filter(|path| root.join(path).is_file());
    let files = files.map(|path| path.to_str().expect("text").to_owned());
    files.chain(["usr/local/bin/shunt".to_owned()]).collect()
}

#[test]
fn installing_adds_exactly_what_is_listed_and_what_is_installed_runs() {
    let (output, left) = on_a_copy_of_this_machine(
        "/mnt/bundle/install.sh && /usr/local/bin/shunt --version && stat -c %a:%u /usr/local/bin/shunt",
    );
    let said = both(&output);
    assert!(
        said.contains(&format!("shunt {}", xtask::workspace::VERSION)) && said.contains("755:0"),
        "{said}"
    );
    let mut expected = listed();
    expected.push("usr/local/share/shunt/installed".to_owned());
    expected.sort();
    assert_eq!(left, expected);
}

#[test]
fn installing_twice_and_removing_leaves_nothing_behind() {
    let (output, left) = on_a_copy_of_this_machine(
        "mkdir -p /var/tmp/before && find /usr/local /etc -type d | sort > /var/tmp/before/folders
         /mnt/bundle/install.sh && /mnt/bundle/install.sh --no-start && /mnt/bundle/uninstall.sh
         find /usr/local /etc -type d | sort | cmp - /var/tmp/before/folders && rm -r /var/tmp/before",
    );
    assert!(both(&output).contains("shunt is removed"), "{}", both(&output));
    assert_eq!(left, [""; 0], "{}", both(&output));
}

#[test]
fn a_changed_configuration_outlives_upgrade_and_removal_but_not_a_purge() {
    let change = "/mnt/bundle/install.sh && echo '# mine' >> /etc/shunt/shunt.toml && /mnt/bundle/install.sh";
    let (output, left) = on_a_copy_of_this_machine(&format!(
        "{change} && /mnt/bundle/uninstall.sh && tail -n 1 /etc/shunt/shunt.toml"
    ));
    let said = both(&output);
    assert!(
        said.contains("kept, since it was changed: /etc/shunt/shunt.toml")
            && said.contains("# mine"),
        "{said}"
    );
    assert_eq!(left, ["etc/shunt/shunt.toml"]);
    let (output, left) =
        on_a_copy_of_this_machine(&format!("{change} && /mnt/bundle/uninstall.sh --purge"));
    assert_eq!(left, [""; 0], "{}", both(&output));
}

#[test]
fn a_damaged_bundle_installs_nothing() {
    let (output, left) = on_a_copy_of_this_machine(
        "cp -r /mnt/bundle /run/damaged && echo more >> /run/damaged/root/etc/systemd/system/shunt.service && /run/damaged/install.sh",
    );
    let said = both(&output);
    assert!(said.contains("the bundle is damaged") && said.contains("ended with 1"), "{said}");
    assert_eq!(left, [""; 0]);
}

#[test]
fn a_bundle_that_has_nothing_for_this_machine_installs_nothing_and_says_what_it_is_for() {
    let (output, left) = on_a_copy_of_this_machine(
        "cp -r /mnt/bundle /run/other && cd /run/other && rm -r bin/$(uname -m) &&
         grep -v \" bin/$(uname -m)/\" SHA256SUMS > sums && mv sums SHA256SUMS && ./install.sh",
    );
    let said = both(&output);
    let expected = format!("for this machine, which is {}, but for", std::env::consts::ARCH);
    assert!(said.contains(&expected) && said.contains(other().machine()), "{said}");
    assert!(said.contains("ended with 1"), "{said}");
    assert_eq!(left, [""; 0]);
}

#[test]
fn an_unknown_option_is_refused_before_anything_is_done() {
    for script in ["install.sh", "uninstall.sh"] {
        let (output, left) =
            on_a_copy_of_this_machine(&format!("/mnt/bundle/{script} --everything"));
        assert!(both(&output).contains("'--everything' is not known"), "{}", both(&output));
        assert_eq!(left, [""; 0]);
    }
}

#[test]
fn shellcheck_has_nothing_to_say_about_the_scripts() {
    let scripts = ["install.sh", "uninstall.sh", "kubernetes/uninstall.sh"];
    let scripts = scripts.map(|script| unpacked().join(script));
    succeed(tool("shellcheck", "apt-get install shellcheck").args(scripts));
}

#[test]
fn the_same_sources_make_the_same_bundle() {
    let folder = tempfile::tempdir().expect("make a folder");
    let binaries = Target::ALL.map(|target| stand_in(target, folder.path(), "a small one"));
    let make = |into: &str| {
        let path = bundle::make(&binaries, &folder.path().join(into)).expect("make the bundle");
        digest(&fs::read(path).expect("read the bundle"))
    };
    assert_eq!(make("one"), make("two"));
}

#[test]
fn the_sbom_names_every_part_once_and_every_dependency_is_a_part() {
    let text = fs::read(unpacked().join("sbom.cdx.json")).expect("read the SBOM");
    let sbom: Value = serde_json::from_slice(&text).expect("JSON");
    assert_eq!(
        (sbom["bomFormat"].as_str(), sbom["specVersion"].as_str()),
        (Some("CycloneDX"), Some("1.6"))
    );
    let own = &sbom["metadata"]["component"];
    assert_eq!(own["name"], "tcp-shunt");
    let parts = sbom["components"].as_array().expect("components").iter().chain([own]);
    let references: Vec<&str> =
        parts.map(|part| part["bom-ref"].as_str().expect("a reference")).collect();
    let unique: std::collections::BTreeSet<_> = references.iter().collect();
    assert_eq!(unique.len(), references.len());
    let dependencies = sbom["dependencies"].as_array().expect("dependencies");
    assert_eq!(dependencies.len(), references.len());
    for dependency in dependencies {
        for on in dependency["dependsOn"].as_array().expect("a list") {
            assert!(references.contains(&on.as_str().expect("text")), "{on} is no part");
        }
    }
}

#[test]
fn the_licences_of_every_part_are_there_in_full() {
    let text = fs::read_to_string(unpacked().join("THIRD-PARTY-LICENCES.txt")).expect("read them");
    for part in xtask::dependencies::linked(&Target::ALL).expect("the parts") {
        // Once in the overview and once over a text.
        let named = text.matches(&format!("{} {}", part.name, part.version)).count();
        assert!(named >= 2, "{} {} is named {named} times", part.name, part.version);
    }
}

#[test]
fn the_bundle_holds_what_its_pages_name() {
    let named = |page: &str| {
        let text = fs::read_to_string(unpacked().join("docs").join(page)).expect("read the page");
        let links = text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split([')', '#']).next().map(str::to_owned));
        let links = links
            .filter(|link| !link.is_empty() && !link.contains("://"))
            .map(|link| format!("docs/{link}"));
        let files = text
            .split('`')
            .skip(1)
            .step_by(2)
            .map(|quoted| quoted.trim_end_matches('/').to_owned());
        let files = files.filter(|path| {
            let below =
                ["root/", "bin/", "kubernetes/", "helm/", "prometheus/", "grafana/", "docs/"];
            below.iter().any(|folder| path.starts_with(folder)) && !path.contains(' ')
        });
        links.chain(files).collect::<Vec<_>>()
    };
    let mut found = 0;
    for page in fs::read_dir(unpacked().join("docs")).expect("list docs/") {
        let page = page.expect("an entry").file_name();
        for path in named(page.to_str().expect("text")) {
            assert!(
                unpacked().join(&path).exists(),
                "{page:?} names {path}, which is not in the bundle"
            );
            found += 1;
        }
    }
    assert!(found >= 20, "{found} are named");
    for file in
        ["prometheus/rules.yml", "prometheus/scrape.yml", "grafana/shunt.json", "ARCHITECTURE.md"]
    {
        assert!(unpacked().join(file).is_file(), "{file}");
    }
}
