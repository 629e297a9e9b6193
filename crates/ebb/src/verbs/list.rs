//! `ebb list`: the sandboxes of this home.

use clap::{Args, ValueEnum};
use ebbtide::Select;
use ebbtide::proto::coreweave::sandbox::v1 as wire;
use serde::Serialize;

use crate::context::Context;
use crate::failure::Failure;
use crate::table;
use crate::view::SandboxView;

/// List sandboxes
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ebb list --tag demo
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

impl From<StateArg> for wire::State {
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
    sandboxes: Vec<SandboxView>,
}

impl List {
    /// Does it.
    pub(crate) async fn run(self, context: &Context) -> Result<u8, Failure> {
        let daemon = context.daemon()?;
        let select = Select { tags: self.tags, state: self.state.map(Into::into), show_terminated: self.all };
        let (_, sandboxes) = context.call(&daemon, async |client| client.list(select.clone()).await).await?;
        let sandboxes: Vec<SandboxView> = sandboxes.into_iter().map(SandboxView::from).collect();
        if context.json {
            context.print_json(&ListView { sandboxes })?;
        } else {
            let header = ["ID", "STATE", "COMMAND", "AGE", "ENDS IN", "TAGS", "REASON"];
            context.print(&table::render(&header, sandboxes.iter().map(row)))?;
        }
        Ok(0)
    }
}

fn row(view: &SandboxView) -> Vec<String> {
    let state = match view.exit_code {
        Some(code) if view.is_terminal() => format!("{} ({code})", view.state),
        _ => view.state.clone(),
    };
    vec![
        view.id.clone(),
        state,
        table::one_line(&view.command.join(" ")),
        view.age(),
        view.remaining(),
        view.tags.join(","),
        table::one_line(view.reason.as_deref().unwrap_or_default()),
    ]
}
