//! What is to become of a new sandbox that nobody ends, as options of `run` and `create`.

use std::collections::BTreeMap;
use std::str::FromStr;

use clap::Args;
use ebbtide::{Keep, KeepAs, OnIdle};
use ebbtide_model::{
    DETACH_ANNOTATION, IDLE_TIMEOUT_ANNOTATION, Invalid, KEEP_ANNOTATION, KEEP_AS_ANNOTATION,
    KEEP_FOR_ANNOTATION, ON_IDLE_ANNOTATION, ORPHAN_GRACE_ANNOTATION,
};

/// What is to become of a new sandbox that nobody ends.
#[derive(Debug, Args)]
#[command(next_help_heading = "Ownership")]
pub(crate) struct PolicyArgs {
    /// Nobody owns the sandbox: it ends when its lifetime is over.
    #[arg(long)]
    pub(crate) detach: bool,
    /// How long it lives on after its owner, for others to adopt it; the daemon's default otherwise.
    #[arg(long, value_name = "SECONDS")]
    orphan_grace: Option<u64>,
    /// When a clean-up that nobody asked for by name spares it: never, on_failure, always or attached.
    #[arg(long, value_name = "WHEN", value_parser = word::<Keep>)]
    keep: Option<Keep>,
    /// For how long it is kept then.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    keep_for: Option<u64>,
    /// What of it is kept: running, paused or files.
    #[arg(long, value_name = "WHAT", value_parser = word::<KeepAs>)]
    keep_as: Option<KeepAs>,
    /// After how long without use it is idle.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    idle_timeout: Option<u64>,
    /// What becomes of an idle one: stop or pause.
    #[arg(long, value_name = "WHAT", value_parser = word::<OnIdle>, requires = "idle_timeout")]
    on_idle: Option<OnIdle>,
}

impl PolicyArgs {
    /// When it is to be kept: as was asked for here, else as the environment says.
    pub(crate) fn keep(&self) -> Result<Option<Keep>, Invalid> {
        if self.keep.is_some() { Ok(self.keep) } else { ebbtide::keep_from_env() }
    }

    /// Says it in the annotations of a spec.
    pub(crate) fn annotate(&self, annotations: &mut BTreeMap<String, String>) -> Result<(), Invalid> {
        let seconds = |length: Option<u64>| length.map(|length| length.to_string());
        let said = [
            (DETACH_ANNOTATION, self.detach.then(|| "true".to_owned())),
            (ORPHAN_GRACE_ANNOTATION, seconds(self.orphan_grace)),
            (KEEP_ANNOTATION, self.keep()?.map(|keep| keep.to_string())),
            (KEEP_FOR_ANNOTATION, seconds(self.keep_for)),
            (KEEP_AS_ANNOTATION, self.keep_as.map(|kept| kept.to_string())),
            (IDLE_TIMEOUT_ANNOTATION, seconds(self.idle_timeout)),
            (ON_IDLE_ANNOTATION, self.on_idle.map(|then| then.to_string())),
        ];
        annotations.extend(said.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))));
        Ok(())
    }
}

fn word<T: FromStr<Err = Invalid>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|refused: Invalid| format!("{}; accepted: {}", refused.problem, refused.accepted))
}
