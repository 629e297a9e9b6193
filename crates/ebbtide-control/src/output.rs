//! The output of a main command, up to the end of its sandbox.

use ebbtide_driver::{LogBefore, LogRecord, MainLog};
use ebbtide_model::SandboxRecord;
use tokio::sync::watch;

use crate::ControlError;

/// Reads the output of a main command. Holds nothing of the sandbox, and may outlive its record.
pub struct MainOutput {
    log: Box<dyn MainLog>,
    /// `None` once the end has been seen; from then on nothing comes.
    life: Option<watch::Receiver<SandboxRecord>>,
}

impl MainOutput {
    pub(crate) fn new(log: Box<dyn MainLog>, life: Option<watch::Receiver<SandboxRecord>>) -> Self {
        Self { log, life }
    }

    /// Goes to a place in it, see [`MainLog::seek`].
    ///
    /// # Errors
    /// When the driver cannot read.
    pub async fn seek(&mut self, before: LogBefore) -> Result<(), ControlError> {
        Ok(self.log.seek(before).await?)
    }

    /// The next record, if there is one now.
    ///
    /// # Errors
    /// When the driver cannot read.
    pub async fn next(&mut self) -> Result<Option<LogRecord>, ControlError> {
        Ok(self.log.next().await?)
    }

    /// Waits, without bound, until there may be more; `false` if nothing comes any more, because the sandbox had ended
    /// before [`MainOutput::next`] last found nothing. Safe to drop at the await.
    ///
    /// # Errors
    /// When the driver cannot watch.
    pub async fn more(&mut self) -> Result<bool, ControlError> {
        let Some(life) = &mut self.life else { return Ok(false) };
        let ended = async {
            // One whose record is dropped has ended, too; one that is kept without its main command puts nothing out.
            let has_ended = |record: &SandboxRecord| record.state.is_terminal() || record.main_end.is_some();
            let _ = life.wait_for(has_ended).await;
        };
        let has_ended = tokio::select! {
            changed = self.log.changed() => changed.map(|()| false)?,
            () = ended => true,
        };
        if has_ended {
            self.life = None;
        }
        Ok(true)
    }
}
