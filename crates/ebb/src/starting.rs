//! Waiting until a sandbox runs, and showing what it waits for to whoever watches a terminal.

use std::time::Duration;

use ebbtide::Target;
use ebbtide::proto::coreweave::sandbox::v1 as wire;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::context::Context;
use crate::disposable::Disposable;
use crate::failure::Failure;
use crate::table;

/// How long a sandbox may take to start without a sign that it comes nearer to it.
const START: Duration = Duration::from_secs(90);

/// Waits until commands can be run in `made`.
pub(crate) async fn wait(
    context: &Context,
    daemon: &Target,
    made: &Disposable,
) -> Result<wire::Sandbox, Failure> {
    let line = Line::new(context.json);
    let waited = context
        .call_on(daemon, &made.client, async |client| {
            client.wait_started_showing(&made.id, START, |sandbox| line.show(sandbox)).await
        })
        .await;
    drop(line);
    let sandbox = waited?;
    let status = sandbox.status.clone().unwrap_or_default();
    match status.state() {
        wire::State::Failed => {
            let reason = Some(status.state_reason).filter(|reason| !reason.is_empty());
            let reason = reason.unwrap_or_else(|| "for an unknown reason".to_owned());
            Err(Failure::CreateFailed { id: sandbox.sandbox_id, reason })
        }
        wire::State::Pending | wire::State::Creating => {
            let what = format!("the start of sandbox {}", sandbox.sandbox_id);
            Err(Failure::Slow { what, seconds: START.as_secs() })
        }
        _ => Ok(sandbox),
    }
}

/// A line on standard error, if that is a terminal; nothing is left of it.
struct Line(ProgressBar);

impl Line {
    fn new(quiet: bool) -> Self {
        let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(None, target);
        // A template that cannot be read leaves the one that is there.
        if let Ok(style) = ProgressStyle::with_template("{wide_msg}") {
            bar.set_style(style);
        }
        Self(bar)
    }

    fn show(&self, sandbox: &wire::Sandbox) {
        let reason = sandbox.status.as_ref().map(|status| status.state_reason.as_str()).unwrap_or_default();
        if !reason.is_empty() {
            self.0.set_message(table::one_line(reason));
            self.0.tick();
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
