//! What is tortured: a file of shell functions.
//!
//! `prelude.sh` says which functions there are. A shell is what every one of these systems is driven from, so an
//! adapter reads like what a user of the system would write, and others can add theirs without building anything.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::error::TortureError;
use crate::process::{self, Started};

const PRELUDE: &str = include_str!("prelude.sh");
const BUILT_IN: [(&str, &str); 5] = [
    ("ebbtide", include_str!("ebbtide.sh")),
    ("bwrap", include_str!("bwrap.sh")),
    ("crun", include_str!("crun.sh")),
    ("podman", include_str!("podman.sh")),
    ("protocol", include_str!("protocol.sh")),
];
/// No call of a target takes longer.
const LIMIT: Duration = Duration::from_secs(60);

/// A system under torture.
#[derive(Debug, Clone)]
pub struct Target {
    name: String,
    script: String,
    ebb: PathBuf,
}

/// What a call did.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Its exit code; `None` if it did not end in time.
    pub(crate) code: Option<i32>,
    /// What it wrote.
    pub(crate) text: String,
    /// What it said on standard error.
    pub(crate) error: String,
}

impl Answer {
    /// Its words as lines.
    pub(crate) fn lines(&self) -> impl Iterator<Item = &str> {
        self.text.lines().map(str::trim).filter(|line| !line.is_empty())
    }

    /// What went wrong, if anything did.
    pub(crate) fn failure(&self) -> Option<String> {
        match self.code {
            Some(0) => None,
            Some(code) => Some(format!("exit {code}: {:.300}", self.error.trim())),
            None => Some(format!("no end within {} s: {:.300}", LIMIT.as_secs(), self.error.trim())),
        }
    }
}

impl Target {
    /// The names of those that are built in.
    pub fn built_in() -> impl Iterator<Item = &'static str> {
        BUILT_IN.iter().map(|(name, _)| *name)
    }

    /// One that is built in, or the file `name`. `ebb` is the program that `$TORTURE_EBB` names.
    ///
    /// # Errors
    /// When it is neither, or the file cannot be read.
    pub fn named(name: &str, ebb: &Path) -> Result<Self, TortureError> {
        let ebb = ebb.to_owned();
        if let Some((name, script)) = BUILT_IN.iter().find(|(known, _)| *known == name) {
            return Ok(Self { name: (*name).to_owned(), script: (*script).to_owned(), ebb });
        }
        let path = Path::new(name);
        if !name.contains(['/', '.']) {
            let known = Self::built_in().collect::<Vec<_>>().join(", ");
            return Err(TortureError::NoSuchTarget { name: name.to_owned(), known });
        }
        let script = fs::read_to_string(path)
            .map_err(|source| TortureError::Read { path: path.to_owned(), source })?;
        let stem = path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        Ok(Self { name: stem, script, ebb })
    }

    /// What functions the file of a target has, in words.
    pub fn functions() -> &'static str {
        PRELUDE.trim_end()
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its version, or why it cannot be used.
    pub(crate) fn version(&self) -> Result<String, TortureError> {
        let answer = self.call(Path::new("/nonexistent"), "available", &[]);
        match answer.failure() {
            None => Ok(answer.lines().next().unwrap_or_default().to_owned()),
            Some(_) => Err(TortureError::Unusable {
                target: self.name.clone(),
                detail: answer.error.lines().last().unwrap_or("it does not say why").to_owned(),
            }),
        }
    }

    /// A number that its file sets, or the prelude.
    pub(crate) fn number(&self, variable: &str) -> u64 {
        let lines = self.script.lines().chain(PRELUDE.lines());
        let mut values = lines.filter_map(|line| line.strip_prefix(variable)?.strip_prefix('='));
        values.next().and_then(|value| value.trim().parse().ok()).unwrap_or_default()
    }

    /// Calls one of its functions, with `directory` as its own.
    pub(crate) fn call(&self, directory: &Path, function: &str, arguments: &[&str]) -> Answer {
        collect(self.shell(directory, &format!("{function} \"$@\""), arguments))
    }

    /// A shell that knows its functions and runs `script`.
    pub(crate) fn shell(&self, directory: &Path, script: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", &format!("{PRELUDE}\n{}\n{script}", self.script), "torture"])
            .args(arguments)
            .env("TORTURE_DIR", directory)
            .env("TORTURE_EBB", &self.ebb)
            .current_dir("/");
        command
    }
}

/// Runs it to its end. Its output goes to files, which a helper that it leaves behind may hold open.
fn collect(mut command: Command) -> Answer {
    let mut run = || -> io::Result<Answer> {
        let (mut out, mut err) = (tempfile::tempfile()?, tempfile::tempfile()?);
        command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(err.try_clone()?);
        let started: Started = process::start(&mut command)?;
        let code = started.ended_within(LIMIT);
        if code.is_none() {
            started.signal(rustix::process::Signal::KILL);
        }
        Ok(Answer { code, text: content(&mut out)?, error: content(&mut err)? })
    };
    run().unwrap_or_else(|error| Answer { code: Some(125), text: String::new(), error: error.to_string() })
}

fn content(file: &mut File) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.take(1 << 20).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_is_a_script_that_a_shell_can_read() {
        crate::process::adopt_all().unwrap();
        for name in Target::built_in() {
            let target = Target::named(name, Path::new("/bin/false")).unwrap();
            assert!(target.number("GRACE") > 0, "{name}");
            assert_eq!(
                target.call(Path::new("/nonexistent"), "command -v create stop list", &[]).code,
                Some(0)
            );
        }
    }

    #[test]
    fn what_is_no_target_is_refused_by_name() {
        let error = Target::named("docker", Path::new("/bin/false")).unwrap_err();
        assert!(error.to_string().contains("podman"), "{error}");
        assert!(Target::named("./missing.sh", Path::new("/bin/false")).is_err());
    }
}
