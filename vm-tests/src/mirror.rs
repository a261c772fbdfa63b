//! Which Debian mirror this machine's own apt uses (sources.list(5)).

use std::fs;
use std::path::Path;

/// A mirror of the Debian archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// The URI of the archive itself.
    pub archive: String,
    /// The URI of its security part.
    pub security: String,
}

impl Mirror {
    /// The mirror whose archive is at `uri`, which ends in `debian`; its security part is beside
    /// it.
    pub fn at(uri: &str) -> Self {
        let archive = uri.trim_end_matches('/').to_owned();
        Self { security: format!("{archive}-security"), archive }
    }

    /// The mirror in the sources below `etc` (`/etc/apt`).
    pub fn of_machine(etc: &Path) -> Option<Self> {
        let mut files = vec![etc.join("sources.list")];
        let parts = fs::read_dir(etc.join("sources.list.d")).into_iter().flatten().flatten();
        files.extend(parts.map(|entry| entry.path()));
        files.sort();
        let sources: Vec<Source> = files
            .iter()
            .filter_map(|path| {
                Some((path.extension()?.to_str()?.to_owned(), fs::read_to_string(path).ok()?))
            })
            .flat_map(|(extension, text)| match extension.as_str() {
                "list" => one_line_sources(&text),
                "sources" => stanza_sources(&text),
                _ => vec![],
            })
            .collect();
        Self::among(&sources)
    }

    fn among(sources: &[Source]) -> Option<Self> {
        // Vendors have archives whose URIs end in "debian" too, but their component is not called
        // "main".
        let of_debian = |part: &str| {
            sources.iter().find(|source| {
                source.part() == part && source.components.iter().any(|name| name == "main")
            })
        };
        let archive = &of_debian("debian")?.uri;
        let mirror = Self::at(archive);
        Some(match of_debian("debian-security") {
            Some(source) => Self { security: source.uri.clone(), ..mirror },
            None => mirror,
        })
    }

    /// Where a suite of Debian is.
    pub fn of_suite(&self, suite: &str) -> &str {
        if suite.ends_with("-security") { &self.security } else { &self.archive }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Source {
    uri: String,
    components: Vec<String>,
}

impl Source {
    /// `debian` or `debian-security` for Debian's own, however it is reached (`mirror+file:` names
    /// a list of mirrors).
    fn part(&self) -> &str {
        let last = self.uri.rsplit('/').next().unwrap_or_default();
        last.strip_suffix(".list").unwrap_or(last)
    }
}

/// `deb [options] uri suite components…` a line.
fn one_line_sources(text: &str) -> Vec<Source> {
    let without_options = |line: &str| match (line.split_once('['), line.split_once(']')) {
        (Some((before, _)), Some((_, after))) => format!("{before}{after}"),
        _ => line.to_owned(),
    };
    text.lines()
        .map(|line| without_options(line.split('#').next().unwrap_or_default()))
        .filter_map(|line| {
            let mut words = line.split_whitespace().map(str::to_owned);
            (words.next()? == "deb").then_some(())?;
            let (uri, _suite) = (words.next()?, words.next()?);
            Some(Source { uri: uri.trim_end_matches('/').to_owned(), components: words.collect() })
        })
        .collect()
}

/// Stanzas of `Field: values`, a value continuing on lines that begin with a blank.
fn stanza_sources(text: &str) -> Vec<Source> {
    let text: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    text.split(|line| line.trim().is_empty())
        .flat_map(|stanza| {
            let values = |field: &str| -> Vec<String> {
                let mut inside = false;
                let mut values = Vec::new();
                for line in stanza {
                    let rest = if line.starts_with([' ', '\t']) {
                        line
                    } else {
                        let (name, rest) = line.split_once(':').unwrap_or((line, ""));
                        inside = name.eq_ignore_ascii_case(field);
                        rest
                    };
                    if inside {
                        values.extend(rest.split_whitespace().map(str::to_owned));
                    }
                }
                values
            };
            let enabled = !values("Enabled").iter().any(|value| value == "no");
            let binary = values("Types").iter().any(|kind| kind == "deb");
            let uris = if enabled && binary { values("URIs") } else { vec![] };
            let components = values("Components");
            uris.into_iter().map(move |uri| Source {
                uri: uri.trim_end_matches('/').to_owned(),
                components: components.clone(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mirror(file: &str, text: &str) -> Option<Mirror> {
        let etc = tempfile::tempdir().expect("make a directory");
        let path = etc.path().join(file);
        fs::create_dir_all(path.parent().expect("below etc")).expect("make a directory");
        fs::write(path, text).expect("write");
        Mirror::of_machine(etc.path())
    }

    #[test]
    fn the_mirror_is_found_in_both_formats_and_not_taken_for_that_of_a_vendor() {
        let expected = Some(Mirror {
            archive: "http://a.example/debian".into(),
            security: "http://s.example/debian-security".into(),
        });
        let lines = "deb [arch=amd64 signed-by=/x] https://vendor.example/linux/debian bookworm stable\n\
            # deb http://old.example/debian bookworm main\n\
            deb-src http://src.example/debian bookworm main\n\
            deb [signed-by=/x] http://a.example/debian/ bookworm main contrib\n\
            deb http://s.example/debian-security bookworm-security main\n";
        assert_eq!(mirror("sources.list", lines), expected);
        let stanzas = "Types: deb\nURIs: http://off.example/debian\nSuites: sid\nComponents: main\nEnabled: no\n\n\
            Types: deb deb-src\n# a comment\nURIs:\n http://a.example/debian\nSuites: bookworm\nComponents: main\n\n\
            Types: deb\nURIs: http://s.example/debian-security/\nSuites: bookworm-security\nComponents: main\n";
        assert_eq!(mirror("sources.list.d/debian.sources", stanzas), expected);
    }

    #[test]
    fn the_security_part_is_beside_the_archive_where_no_source_says_otherwise() {
        let found = mirror("sources.list", "deb http://a.example/debian bookworm main\n")
            .expect("a mirror");
        assert_eq!(found.of_suite("bookworm-security"), "http://a.example/debian-security");
        assert_eq!(found.of_suite("trixie-backports"), "http://a.example/debian");
    }

    #[test]
    fn another_distribution_has_no_mirror_of_debian() {
        assert_eq!(mirror("sources.list", "deb http://a.example/ubuntu noble main\n"), None);
        assert_eq!(mirror("other", ""), None);
    }
}
