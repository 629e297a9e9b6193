//! How far a long piece of work has come, for whoever watches a terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A line on standard error, if that is a terminal. Moved by any thread.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// A line about nothing yet; `quiet` for none at all.
    pub(crate) fn new(quiet: bool) -> Self {
        let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(None, target);
        Self::style(&bar, "{bytes}  {bytes_per_sec}");
        Self(bar)
    }

    fn style(bar: &ProgressBar, template: &str) {
        // A template that cannot be read leaves the one that is there.
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
    }

    /// So much will come.
    pub(crate) fn expect(&self, bytes: u64) {
        self.0.set_length(bytes);
        Self::style(&self.0, "{bytes} of {total_bytes}  {bytes_per_sec}  {eta} left");
    }

    /// So much more has come.
    pub(crate) fn add(&self, bytes: u64) {
        self.0.inc(bytes);
    }

    /// How much has come.
    pub(crate) fn bytes(&self) -> u64 {
        self.0.position()
    }

    /// Takes the line away.
    pub(crate) fn finish(&self) {
        self.0.finish_and_clear();
    }
}
