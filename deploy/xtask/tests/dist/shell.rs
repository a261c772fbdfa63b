use std::fs;

use xtask::shell::{COMPLETIONS, completions, manual};

use crate::tool::{both, run, succeed, tool};

#[test]
fn every_command_has_a_page_that_man_shows_without_a_warning() {
    let folder = tempfile::tempdir().expect("make a folder");
    manual(folder.path()).expect("write the pages");
    let shunt = tcp_shunt::cli::command();
    let commands = shunt.get_subcommands().map(|command| format!("shunt-{}", command.get_name()));
    for name in commands.chain(["shunt".to_owned()]) {
        let page = folder.path().join(format!("{name}.1"));
        let shown = run(tool("man", "apt-get install man-db groff-base")
            .args(["--warnings", "--local-file"])
            .arg(&page)
            .env("MANWIDTH", "100"));
        let text = both(&shown);
        assert!(shown.status.success() && shown.stderr.is_empty(), "{name}: {text}");
        for section in ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS"] {
            assert!(text.lines().any(|line| line == section), "{name} has no {section}:\n{text}");
        }
    }
}

#[test]
fn the_help_of_every_command_shows_it_in_use() {
    for command in tcp_shunt::cli::command().get_subcommands() {
        let help = command
            .get_after_long_help()
            .or(command.get_after_help())
            .map(ToString::to_string)
            .unwrap_or_default();
        let example = format!("  shunt {}", command.get_name());
        assert!(
            help.contains(&example),
            "shunt {} --help shows no example:\n{help}",
            command.get_name()
        );
    }
}

#[test]
fn the_completions_are_scripts_that_their_shells_read_and_name_every_command() {
    let prefix = tempfile::tempdir().expect("make a folder");
    completions(prefix.path()).expect("write the completions");
    for (path, shell) in COMPLETIONS {
        let path = prefix.path().join(path);
        let shell = shell.to_string();
        succeed(tool(&shell, &format!("apt-get install {shell}")).arg("-n").arg(&path));
        let script = fs::read_to_string(&path).expect("read it");
        for command in tcp_shunt::cli::command().get_subcommands() {
            assert!(
                script.contains(command.get_name()),
                "{shell} does not complete {}",
                command.get_name()
            );
        }
    }
}

#[test]
fn bash_completes_a_command_and_an_option() {
    let prefix = tempfile::tempdir().expect("make a folder");
    completions(prefix.path()).expect("write the completions");
    let script = prefix.path().join(COMPLETIONS[0].0);
    for (words, expected) in [("shunt sta", "status"), ("shunt run --max", "--max-flows")] {
        let last = words.split(' ').count() - 1;
        let ask = format!(
            "source {}; COMP_WORDS=({words}); COMP_CWORD={last}; _shunt shunt \"${{COMP_WORDS[{last}]}}\" \"${{COMP_WORDS[{}]}}\"; echo \"${{COMPREPLY[@]}}\"",
            script.display(),
            last - 1,
        );
        let reply = succeed(tool("bash", "apt-get install bash").args(["-c", &ask]));
        assert!(reply.split_whitespace().any(|word| word == expected), "{words}: {reply}");
    }
}
