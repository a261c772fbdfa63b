//! ARCHITECTURE.md is true: dependencies point downwards in its table of rooms, and what it names
//! is there.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn document(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("cannot read {path:?}: {error}"))
}

/// The rooms, from the top down, as `src/agent` or `syscalls`.
fn rooms() -> Vec<String> {
    let text = document(&Path::new(ROOT).join("ARCHITECTURE.md"));
    let table = text.split("\n## ").find(|section| section.starts_with("Rooms\n"));
    let rows = table.expect("a section 'Rooms'").lines().filter(|line| line.starts_with("| `"));
    let first = rows.filter_map(|row| row.split('|').nth(1));
    first.flat_map(quoted).map(|room| room.trim_end_matches('/').to_owned()).collect()
}

/// What stands between backticks in a line.
fn quoted(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// Every file below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("list {folder:?}: {error}"));
    let mut all = Vec::new();
    for path in entries.map(|entry| entry.expect("an entry").path()) {
        if path.is_dir() {
            all.extend(files(&path));
        } else {
            all.push(path);
        }
    }
    all
}

/// Where the sources of a room are: a package keeps them in `src/`.
fn sources(room: &str) -> PathBuf {
    let folder = Path::new(ROOT).join(room);
    let of_package = folder.join("src");
    if of_package.is_dir() { of_package } else { folder }
}

/// The first names of the paths behind each `prefix`: of `{a::b, c}` both `a` and `c`.
fn names_behind<'t>(code: &'t str, prefix: &str) -> Vec<&'t str> {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let name = |text: &'t str| text.split(|c| !is_name(c)).next().unwrap_or_default();
    let mut names = Vec::new();
    for (place, _) in code.match_indices(prefix) {
        if code[..place].ends_with(is_name) {
            continue;
        }
        let rest = &code[place + prefix.len()..];
        let Some(group) = rest.strip_prefix('{') else {
            names.push(name(rest));
            continue;
        };
        let mut depth = 0;
        names.push(name(group.trim_start()));
        for (place, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => names.push(name(group[place + 1..].trim_start())),
                _ => {}
            }
        }
    }
    names
}

/// The rooms that a file takes something from. `above` is how many times `super` leads from its
/// module to the crate.
fn used(code: &str, above: usize) -> BTreeSet<String> {
    let lines = code.lines().map(|line| line.split("//").next().unwrap_or_default());
    let code: String = lines.flat_map(|line| [line, "\n"]).collect();
    let here = ["crate::".to_owned(), "tcp_shunt::".to_owned(), "super::".repeat(above)];
    let inside = here.iter().flat_map(|prefix| names_behind(&code, prefix));
    let inside = inside.filter(|name| !name.is_empty());
    let mut used: BTreeSet<String> = inside.map(|room| format!("src/{room}")).collect();
    for (name, room) in [("bpf_asm::", "bpf-asm"), ("syscalls::", "syscalls")] {
        if !names_behind(&code, name).is_empty() {
            used.insert(room.to_owned());
        }
    }
    used
}

#[test]
fn no_room_takes_anything_from_a_room_above_it() {
    let rooms = rooms();
    let height = |room: &str| rooms.iter().position(|other| other == room);
    let mut upwards = Vec::new();
    for (place, room) in rooms.iter().enumerate() {
        let folder = sources(room);
        for file in
            files(&folder).into_iter().filter(|file| file.extension().is_some_and(|e| e == "rs"))
        {
            let inside = file.strip_prefix(&folder).expect("a file of the room");
            let above = inside.components().count() + usize::from(!inside.ends_with("mod.rs"));
            for other in used(&document(&file), above) {
                if height(&other).is_some_and(|other| other < place) {
                    upwards.push(format!("{} uses {other}", file.display()));
                }
            }
        }
    }
    assert!(upwards.is_empty(), "these stand higher in ARCHITECTURE.md:\n{}", upwards.join("\n"));
}

#[test]
fn every_folder_of_the_package_and_every_other_package_is_a_room() {
    let rooms = rooms();
    let folders = fs::read_dir(Path::new(ROOT).join("src")).expect("list src");
    let folders = folders.map(|entry| entry.expect("an entry").path()).filter(|path| path.is_dir());
    let mut all: Vec<String> = folders
        .map(|folder| format!("src/{}", folder.file_name().unwrap_or_default().to_string_lossy()))
        .collect();
    let manifest = document(&Path::new(ROOT).join("Cargo.toml"));
    let manifest: toml::Table = manifest.parse().expect("a manifest");
    let members = manifest["workspace"]["members"].as_array().expect("members");
    all.extend(members.iter().map(|member| member.as_str().expect("a path").to_owned()));
    // A package inside a room belongs to it.
    let is_in = |folder: &str, room: &str| Path::new(folder).starts_with(room);
    let missing: Vec<_> =
        all.iter().filter(|folder| !rooms.iter().any(|room| is_in(folder, room))).collect();
    assert!(missing.is_empty(), "not in the table of ARCHITECTURE.md: {missing:?}");
}

#[test]
fn what_a_file_uses_is_seen_however_it_is_written() {
    let rooms = |code: &str, above| used(code, above).into_iter().collect::<Vec<_>>();
    assert_eq!(rooms("use crate::agent::Agent;", 1), ["src/agent"]);
    assert_eq!(
        rooms("use crate::{\n    agent,\n    host::{self, Namespace},\n    probe::Kernel,\n};", 1),
        ["src/agent", "src/host", "src/probe"]
    );
    assert_eq!(
        rooms("fn run() -> tcp_shunt::cli::Run { bpf_asm::x() }", 1),
        ["bpf-asm", "src/cli"]
    );
    assert_eq!(rooms("pub use super::super::policy::Policy;", 2), ["src/policy"]);
    assert_eq!(rooms("use super::policy::Policy; // crate::agent", 2), Vec::<String>::new());
    assert_eq!(rooms("use my_crate::agent;", 2), Vec::<String>::new());
}

#[test]
fn every_file_and_folder_that_the_architecture_names_exists() {
    let root = Path::new(ROOT);
    // What is built or pinned.
    const ELSEWHERE: [&str; 1] = ["target/"];
    let mut folders = vec![root.to_owned(), root.join("src")];
    folders.extend(rooms().iter().flat_map(|room| [root.join(room), sources(room)]));
    let text = document(&root.join("ARCHITECTURE.md"));
    let is_path = |word: &&str| {
        word.chars().all(|c| c.is_ascii_alphanumeric() || "_-./".contains(c))
            && word.contains(|c: char| c.is_ascii_lowercase())
            && !word.starts_with('/')
            && [".rs", ".md", ".toml", "/"].iter().any(|end| word.ends_with(end))
    };
    let paths: Vec<&str> = text.lines().flat_map(quoted).filter(is_path).collect();
    assert!(paths.len() > 50, "{paths:?}");
    let is_there = |path: &str| folders.iter().any(|folder| folder.join(path).exists());
    let missing: Vec<_> =
        paths.into_iter().filter(|path| !ELSEWHERE.contains(path) && !is_there(path)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn every_link_from_one_document_to_another_file_leads_there() {
    let root = Path::new(ROOT);
    let in_root = fs::read_dir(root).expect("list").map(|entry| entry.expect("an entry").path());
    let mut documents: Vec<PathBuf> = in_root.collect();
    documents.extend(files(&root.join("docs")));
    documents.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    let (mut links, mut broken) = (0, Vec::new());
    for path in documents {
        let text = document(&path);
        for target in text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next()) {
            if target.is_empty() || target.contains(':') {
                continue;
            }
            links += 1;
            if !path.with_file_name(target).exists() {
                broken.push(format!("{}: {target}", path.display()));
            }
        }
    }
    assert!(links > 20 && broken.is_empty(), "of {links} links these lead nowhere: {broken:?}");
}
