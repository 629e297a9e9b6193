//! `ebb completions`: what a shell needs to complete our verbs and options.

use clap::{Args, Command, ValueEnum};
use clap_complete::aot::{Shell, generate};
use serde::Serialize;

use crate::context::Context;
use crate::failure::Failure;

/// Print the completions for a shell
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ebb completions bash > /etc/bash_completion.d/ebb
  ebb completions zsh > \"${fpath[1]}/_ebb\"
  ebb completions fish > ~/.config/fish/completions/ebb.fish")]
pub(crate) struct Completions {
    /// The shell.
    shell: ShellArg,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ShellArg {
    Bash,
    Zsh,
    Fish,
}

/// The stable shape of `ebb completions --json`.
#[derive(Serialize)]
struct CompletionsView {
    script: String,
}

impl Completions {
    /// Does it, for the command line `command`.
    pub(crate) fn run(self, context: &Context, command: &mut Command) -> Result<u8, Failure> {
        let script = script(self.shell, command);
        if context.json {
            context.print_json(&CompletionsView { script })?;
        } else {
            context.print(script.trim_end())?;
        }
        Ok(0)
    }
}

fn script(shell: ShellArg, command: &mut Command) -> String {
    let shell = match shell {
        ShellArg::Bash => Shell::Bash,
        ShellArg::Zsh => Shell::Zsh,
        ShellArg::Fish => Shell::Fish,
    };
    let mut script = Vec::new();
    generate(shell, command, "ebb", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}
