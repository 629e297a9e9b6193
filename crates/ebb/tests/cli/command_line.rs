//! What the command line promises without any sandbox.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use crate::support::{Answer, Home};

const VERBS: [&str; 21] = [
    "run",
    "create",
    "exec",
    "cp",
    "shell",
    "list",
    "get",
    "events",
    "why",
    "adopt",
    "pause",
    "resume",
    "stop",
    "receipt",
    "purge",
    "serve",
    "image",
    "key",
    "shutdown",
    "doctor",
    "completions",
];

fn ebb(arguments: &[&str]) -> Answer {
    // No home is touched by what is asked here.
    Answer::of(
        Command::new(env!("CARGO_BIN_EXE_ebb")).args(arguments).env("EBBTIDE_HOME", "/nonexistent/home"),
    )
}

#[test]
fn help_lists_every_verb_and_the_exit_codes() {
    let help = ebb(&["--help"]);
    assert_eq!(help.code, 0);
    for verb in VERBS {
        assert!(help.stdout.contains(&format!("\n  {verb} ")), "{verb} is missing");
    }
    for code in ["125", "126", "127", "128 + n"] {
        assert!(help.stdout.contains(code), "{code} is not explained");
    }
}

#[test]
fn every_verb_has_help_with_an_example() {
    for verb in VERBS {
        let help = ebb(&[verb, "--help"]);
        assert_eq!(help.code, 0, "{verb}");
        assert!(help.stdout.contains("Example") && help.stdout.contains(&format!("  ebb {verb}")), "{verb}");
        assert!(help.stdout.contains("--json"), "{verb}");
    }
}

#[test]
fn a_command_line_that_is_not_understood_exits_2_and_touches_nothing() {
    let wrong: [&[&str]; 14] = [
        &[],
        &["fly"],
        &["run"],
        &["run", "--cpu", "lots", "--", "true"],
        &["run", "--memory", "-1", "--", "true"],
        &["run", "--lifetime", "0", "--", "true"],
        &["run", "--lifetime=-1", "--", "true"],
        &["run", "--env", "NAME", "--", "true"],
        &["exec", "01"],
        &["stop"],
        &["stop", "--grace=-1", "01"],
        &["purge"],
        &["purge", "--all", "--tag", "x"],
        &["list", "--state", "asleep"],
    ];
    for arguments in wrong {
        let answer = ebb(arguments);
        assert_eq!(answer.code, 2, "{arguments:?}: {}", answer.stderr);
        assert!(answer.stdout.is_empty() && !answer.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn whoever_is_not_root_is_told_so_before_anything_is_made() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let program = dir.path().join("ebb");
    // Copied by another process: a file that we had open for writing could be kept open, and so not executable,
    // by a child that another test forks at the same moment.
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_ebb")).arg(&program).status().unwrap();
    assert!(copied.success());
    let home = dir.path().join("home");
    for verb in [&["run", "--", "true"][..], &["list"], &["serve"], &["shutdown"], &["purge", "--all"]] {
        let mut command = Command::new(&program);
        command.arg("--json").args(verb).env("EBBTIDE_HOME", &home).uid(65_534).gid(65_534);
        let answer = Answer::of(&mut command);
        assert_eq!(answer.code, 125, "{verb:?}: {}", answer.stderr);
        let error: serde_json::Value = serde_json::from_str(&answer.stderr).unwrap();
        assert!(error["error"]["message"].as_str().unwrap().contains("root"), "{error}");
        assert_eq!(error["error"]["exit_code"], 125);
        assert!(!home.exists(), "{verb:?} made a home");
    }
}

#[test]
fn a_home_of_somebody_else_is_refused() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    std::os::unix::fs::chown(dir.path(), Some(65_534), None).unwrap();
    let answer =
        Answer::of(Command::new(env!("CARGO_BIN_EXE_ebb")).args(["list"]).env("EBBTIDE_HOME", dir.path()));
    assert_eq!(answer.code, 125);
    assert!(answer.stderr.contains("belongs to user 65534"), "{}", answer.stderr);
    assert!(answer.stderr.contains("EBBTIDE_HOME"), "{}", answer.stderr);
}

#[test]
fn a_shutdown_where_nothing_is_changes_nothing() {
    let home = Home::new();
    let answer = home.run(&["shutdown", "--json"]);
    assert_eq!(answer.code, 0, "{}", answer.stderr);
    assert_eq!(answer.stdout.parse::<serde_json::Value>().unwrap()["was_running"], false);
    assert!(!home.path().exists());
}

#[test]
fn every_shell_is_given_completions_that_it_understands() {
    for (shell, check) in [("bash", "-n"), ("zsh", "-n"), ("fish", "--no-execute")] {
        let script = ebb(&["completions", shell]);
        assert_eq!(script.code, 0, "{shell}: {}", script.stderr);
        for verb in VERBS {
            assert!(script.stdout.contains(verb), "{shell}: {verb} is missing");
        }
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("script");
        fs::write(&file, &script.stdout).unwrap();
        // A shell that is not here cannot be asked.
        if let Ok(read) = Command::new(shell).arg(check).arg(&file).output() {
            assert!(read.status.success(), "{shell}: {}", String::from_utf8_lossy(&read.stderr));
        }
    }
}
