//! `ebb list`: the sandboxes of this home.

use clap::{Args, ValueEnum};
use ebbtide::{Client, Description, OwnershipKind, SandboxState};
use serde::Serialize;

use crate::context::Context;
use crate::failure::Failure;
use crate::table;
use crate::view::DescriptionView;

/// List sandboxes
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ebb list --tag demo
  ebb list --orphaned
  ebb list --all --json")]
pub(crate) struct List {
    /// Only those with this tag; repeated, only those with all of them.
    #[arg(long = "tag", short = 't', value_name = "TAG")]
    tags: Vec<String>,
    /// Only those in this state.
    #[arg(long, value_enum)]
    state: Option<StateArg>,
    /// Those that have ended, too.
    #[arg(long, short, visible_alias = "show-terminated")]
    all: bool,
    /// Only those whose owner is gone: `ebb adopt` takes them over.
    #[arg(long)]
    orphaned: bool,
}

/// A state on the command line.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum StateArg {
    Pending,
    Creating,
    Running,
    Paused,
    Terminating,
    Completed,
    Failed,
}

impl From<StateArg> for SandboxState {
    fn from(state: StateArg) -> Self {
        match state {
            StateArg::Pending => Self::Pending,
            StateArg::Creating => Self::Creating,
            StateArg::Running => Self::Running,
            StateArg::Paused => Self::Paused,
            StateArg::Terminating => Self::Terminating,
            StateArg::Completed => Self::Completed,
            StateArg::Failed => Self::Failed,
        }
    }
}

/// The stable shape of `ebb list --json`.
#[derive(Serialize)]
struct ListView {
    sandboxes: Vec<DescriptionView>,
}

impl List {
    /// Does it.
    pub(crate) async fn run(self, context: &Context) -> Result<u8, Failure> {
        let daemon = context.daemon()?;
        let kind = self.orphaned.then_some(OwnershipKind::Orphaned);
        let wanted = self.state.map(SandboxState::from);
        // Whoever asks for a state that is an end wants to see those that are in it.
        let all = self.all || wanted.is_some_and(SandboxState::is_terminal);
        let list = async |client: &Client| client.descriptions(&self.tags, kind, all).await;
        let (_, found) = context.call(&daemon, list).await?;
        let fits = |found: &Description| wanted.is_none_or(|wanted| found.sandbox.state == wanted);
        let sandboxes: Vec<_> = found.into_iter().filter(fits).map(DescriptionView::from).collect();
        if context.json {
            context.print_json(&ListView { sandboxes })?;
        } else {
            let header = ["ID", "STATE", "COMMAND", "AGE", "ENDS IN", "OWNERSHIP", "TAGS", "REASON"];
            context.print(&table::render(&header, sandboxes.iter().map(row)))?;
        }
        Ok(0)
    }
}

fn row(described: &DescriptionView) -> Vec<String> {
    let view = &described.sandbox;
    let state = match view.exit_code {
        Some(code) if view.is_terminal() => format!("{} ({code})", view.state),
        _ => view.state.clone(),
    };
    vec![
        view.id.clone(),
        state,
        table::one_line(&view.command.join(" ")),
        view.age(),
        described.remaining(),
        table::one_line(&described.ownership_in_words()),
        view.tags.join(","),
        table::one_line(view.reason.as_deref().unwrap_or_default()),
    ]
}
