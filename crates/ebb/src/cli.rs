//! The verbs, and the way from the command line to an exit code.

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::context::Context;
use crate::failure::Failure;
use crate::{exit, verbs};

/// Runs commands in disposable sandboxes and guarantees that nothing outlives its owner.
#[derive(Debug, Parser)]
#[command(name = "ebb", version, after_help = exit::HELP, disable_help_subcommand = false)]
struct Cli {
    /// Print JSON: results on standard output, errors on standard error.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Run(verbs::run::Run),
    Create(verbs::create::Create),
    Exec(verbs::exec::Exec),
    Cp(verbs::cp::Cp),
    Shell(verbs::shell::Shell),
    List(verbs::list::List),
    Get(verbs::get::Get),
    Logs(verbs::logs::Logs),
    Events(verbs::events::Events),
    Why(verbs::why::Why),
    Adopt(verbs::adopt::Adopt),
    Pause(verbs::pause::Pause),
    Resume(verbs::pause::Resume),
    Stop(verbs::stop::Stop),
    Receipt(verbs::receipt::Receipt),
    Purge(verbs::purge::Purge),
    Serve(verbs::serve::Serve),
    Image(verbs::image::Image),
    Key(verbs::key::Key),
    Shutdown(verbs::shutdown::Shutdown),
    Doctor(verbs::doctor::Doctor),
    Torture(verbs::torture::Torture),
    Completions(verbs::completions::Completions),
}

/// Reads the command line, does what it says, and tells the exit code.
pub(crate) fn main() -> ExitCode {
    let Cli { json, verb } = Cli::parse();
    let context = Context { json };
    ExitCode::from(act(verb, &context).unwrap_or_else(|failure| {
        failure.report(json);
        failure.exit_code()
    }))
}

fn act(verb: Verb, context: &Context) -> Result<u8, Failure> {
    if let Verb::Serve(serve) = &verb {
        serve.prepare()?;
    }
    let mut builder = match verb {
        Verb::Serve(_) => tokio::runtime::Builder::new_multi_thread(),
        _ => tokio::runtime::Builder::new_current_thread(),
    };
    let runtime = builder.enable_all().build().map_err(|error| Failure::io("start the runtime", error))?;
    let code = runtime.block_on(async {
        match verb {
            Verb::Run(verb) => verb.run(context).await,
            Verb::Create(verb) => verb.run(context).await,
            Verb::Exec(verb) => verb.run(context).await,
            Verb::Cp(verb) => verb.run(context).await,
            Verb::Shell(verb) => verb.run(context).await,
            Verb::List(verb) => verb.run(context).await,
            Verb::Get(verb) => verb.run(context).await,
            Verb::Logs(verb) => verb.run(context).await,
            Verb::Events(verb) => verb.run(context).await,
            Verb::Why(verb) => verb.run(context).await,
            Verb::Adopt(verb) => verb.run(context).await,
            Verb::Pause(verb) => verb.run(context).await,
            Verb::Resume(verb) => verb.run(context).await,
            Verb::Stop(verb) => verb.run(context).await,
            Verb::Receipt(verb) => verb.run(context).await,
            Verb::Purge(verb) => verb.run(context).await,
            Verb::Serve(verb) => verb.run(context).await,
            Verb::Image(verb) => verb.run(context).await,
            Verb::Key(verb) => verb.run(context).await,
            Verb::Shutdown(verb) => verb.run(context).await,
            Verb::Doctor(verb) => verb.run(context).await,
            Verb::Torture(verb) => verb.run(context).await,
            Verb::Completions(verb) => verb.run(context, &mut Cli::command()),
        }
    });
    // A thread may still wait for a reader of our output who never reads.
    runtime.shutdown_background();
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_verb_shows_an_example() {
        for verb in Cli::command().get_subcommands() {
            let help = verb.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(
                help.contains(&format!("\n  ebb {}", verb.get_name())) || verb.get_name() == "help",
                "{}: {help:?}",
                verb.get_name()
            );
        }
    }
}
