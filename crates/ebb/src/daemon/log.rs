//! The daemon's log, on standard error: text for people or one JSON object for each line.

use clap::ValueEnum;
use ebbtide_model::Invalid;
use tracing::{Level, Metadata};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, fmt};

/// What is logged, e.g. `debug` or `warn,ebbtide_control=debug`.
const VARIABLE: &str = "EBBTIDE_LOG";
const DEFAULT: &str = "info";

/// The form of the log.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object for each line.
    Json,
}

/// Starts the log.
pub(crate) fn start(format: LogFormat) -> Result<(), Invalid> {
    let wanted = std::env::var(VARIABLE).ok().filter(|text| !text.is_empty());
    let filter = filter(wanted.as_deref().unwrap_or(DEFAULT))?;
    let log = fmt::layer().with_writer(std::io::stderr);
    let log = match format {
        LogFormat::Text => log.with_ansi(crate::table::colours(&std::io::stderr())).boxed(),
        LogFormat::Json => log.json().flatten_event(true).with_span_list(false).boxed(),
    };
    // A second start, in a test, changes nothing.
    let _ = tracing_subscriber::registry()
        .with(filter)
        .with(log.with_filter(filter_fn(may_be_logged)))
        .try_init();
    Ok(())
}

fn filter(text: &str) -> Result<EnvFilter, Invalid> {
    EnvFilter::try_new(text).map_err(|error| {
        Invalid::new(
            VARIABLE,
            error.to_string(),
            "a level (error to trace), or TARGET=LEVEL, separated by commas",
        )
    })
}

/// The libraries of the connection tell in detail what passes through it: headers with keys, messages with the
/// environment of commands. No filter may ask them for that.
fn may_be_logged(metadata: &Metadata<'_>) -> bool {
    metadata.target().starts_with("ebb") || *metadata.level() <= Level::INFO
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_is_not_understood_is_refused_by_the_name_of_its_variable() {
        assert!(filter("warn,ebbtide_control=debug").is_ok());
        let refused = filter("ebbtide=loud").unwrap_err();
        assert_eq!(refused.field, VARIABLE);
    }
}
