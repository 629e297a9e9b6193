//! The signals of a simulated process, and its being frozen.

use std::collections::{BTreeMap, VecDeque};
use std::pin::pin;

use ebbtide_model::ExitStatus;
use tokio::sync::{mpsc, watch};

use super::process::signal_status;
use super::shell::Statement;

/// The signals of one process: those that wait, and what is to be done about them.
pub(super) struct Signals {
    waiting: mpsc::UnboundedReceiver<i32>,
    /// Those that came while it was frozen.
    held: VecDeque<i32>,
    frozen: watch::Receiver<bool>,
    /// An empty list ignores the signal.
    pub(super) traps: BTreeMap<i32, Vec<Statement>>,
    /// Handlers that are due.
    pub(super) due: Vec<Vec<Statement>>,
}

impl Signals {
    pub(super) fn new(waiting: mpsc::UnboundedReceiver<i32>, frozen: watch::Receiver<bool>) -> Self {
        Self { waiting, held: VecDeque::new(), frozen, traps: BTreeMap::new(), due: Vec::new() }
    }

    /// Waits for `work`; `None` if a signal with a handler came first. The handler is then due.
    pub(super) async fn during<T>(&mut self, work: impl Future<Output = T>) -> Result<Option<T>, ExitStatus> {
        let mut work = pin!(work);
        loop {
            self.thawed().await?;
            while let Some(signal) = self.held.pop_front() {
                if self.take(signal)? {
                    return Ok(None);
                }
            }
            tokio::select! {
                biased;
                // Looked at once more from above: it may be frozen by now.
                Some(signal) = self.waiting.recv() => self.held.push_back(signal),
                value = &mut work => {
                    self.thawed().await?;
                    return Ok(Some(value));
                }
            }
        }
    }

    /// Waits while it is frozen. Signals wait too, but for the one that nothing holds off.
    async fn thawed(&mut self) -> Result<(), ExitStatus> {
        if let Some(killed) = self.held.iter().find(|signal| **signal == libc::SIGKILL) {
            return Err(signal_status(*killed));
        }
        while *self.frozen.borrow_and_update() {
            tokio::select! {
                biased;
                Some(signal) = self.waiting.recv() => match signal {
                    libc::SIGKILL => return Err(signal_status(signal)),
                    signal => self.held.push_back(signal),
                },
                changed = self.frozen.changed() => if changed.is_err() {
                    break;
                },
            }
        }
        Ok(())
    }

    /// Takes the signals that have come.
    pub(super) fn poll(&mut self) -> Result<(), ExitStatus> {
        while !*self.frozen.borrow() {
            let Some(signal) = self.held.pop_front().or_else(|| self.waiting.try_recv().ok()) else { break };
            self.take(signal)?;
        }
        Ok(())
    }

    /// Whether a handler is due now; an error if the signal ends the process.
    fn take(&mut self, signal: i32) -> Result<bool, ExitStatus> {
        const WITHOUT_EFFECT: [i32; 6] =
            [0, libc::SIGCHLD, libc::SIGCONT, libc::SIGURG, libc::SIGWINCH, libc::SIGSTOP];
        match self.traps.get(&signal) {
            None if WITHOUT_EFFECT.contains(&signal) => Ok(false),
            Some(handler) if signal != libc::SIGKILL => {
                if !handler.is_empty() {
                    self.due.push(handler.clone());
                }
                Ok(!handler.is_empty())
            }
            _ => Err(signal_status(signal)),
        }
    }
}
