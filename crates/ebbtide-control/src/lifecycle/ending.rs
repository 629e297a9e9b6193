//! From TERMINATING to the tombstone: the processes have their grace, everything is released, the record is closed.

use std::sync::Arc;

use ebbtide_driver::{DestroyOutcome, EndReport, clean_up};
use ebbtide_model::Receipt;
use tokio::time::{Instant, sleep_until};

use super::verdict;
use super::{Backoff, complain, must_write};
use crate::engine::Engine;
use crate::failpoint::fail_point;
use crate::keep;
use crate::metrics::{Queue, Step};
use crate::sandbox::{Epitaph, Sandbox};

/// Releases a sandbox that is ending and writes its tombstone; tries until both are done.
///
/// `report` is how it ended, where that is known. `resumed` says that a destroy may have been tried before.
pub(super) async fn release(
    engine: &Arc<Engine>,
    sandbox: &Arc<Sandbox>,
    report: Option<EndReport>,
    resumed: bool,
) {
    let message = sandbox.peek(|record| record.message.clone());
    let report = match report {
        Some(report) => Some(report),
        None => {
            let begun = Instant::now();
            let report = grace(engine, sandbox).await;
            engine.metrics.took(Step::Stop, begun);
            report
        }
    };
    fail_point!("stop.ended.after");
    sandbox.note(&message);
    if sandbox.is_unrecorded() {
        let record = || sandbox.record_ending(&engine.store);
        must_write(engine, sandbox, "record its end", record).await;
        sandbox.note(&message);
    }
    keep_exit(engine, sandbox, report.as_ref()).await;
    let begun = Instant::now();
    let destroyed = destroy(engine, sandbox).await;
    engine.metrics.took(Step::Destroy, begun);
    let verdict = sandbox.peek(|record| {
        let killed = resumed || destroyed.repeated;
        verdict::of(record, report.as_ref().or(destroyed.report.as_ref()), killed)
    });
    let message = [message, destroyed.left].into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>();
    let longer = sandbox.peek(|record| keep::record_longer(record, verdict.exit_code, &engine.config.limits));
    let epitaph = Epitaph {
        event: verdict.event,
        exit_code: verdict.exit_code,
        message: message.join("; "),
        receipt: destroyed.receipt,
        longer,
    };
    close(engine, sandbox, &epitaph).await;
    tracing::info!(exit_code = verdict.exit_code, "ended");
}

/// Step *driver*: asks it to end and waits, until it has ended, its grace period (which may be shortened meanwhile)
/// is over, or there is none.
async fn grace(engine: &Engine, sandbox: &Sandbox) -> Option<EndReport> {
    let driver = engine.driver.as_ref();
    let mut kill_at = sandbox.kill_at();
    let mut backoff = Backoff::new(&engine.config.timing);
    // Without a grace the destroy is its end, unless that has to wait for the ledger.
    let mut may_go_on = !sandbox.is_unrecorded();
    loop {
        let until = *kill_at.borrow_and_update();
        let grace = until.saturating_duration_since(Instant::now());
        if grace.is_zero() && may_go_on {
            return None;
        }
        fail_point!("stop.driver.before");
        let asked = engine.ask("stop a sandbox", clean_up::ask_to_end(driver, &sandbox.id, grace)).await;
        fail_point!("stop.driver.after");
        match asked {
            Ok(false) => return None,
            Err(error) => {
                complain(sandbox, "stop it", &error);
                backoff.wait(&sandbox.retry).await;
                continue;
            }
            Ok(true) => may_go_on = true,
        }
        tokio::select! {
            biased;
            answer = clean_up::await_end(driver, &sandbox.id) => match answer {
                Ok(report) => return report,
                Err(error) => {
                    complain(sandbox, "wait for its end", &error);
                    backoff.wait(&sandbox.retry).await;
                }
            },
            _ = kill_at.changed() => {}
            () = sleep_until(until + engine.config.timing.stop_margin) => return None,
        }
    }
}

/// Makes durable how it ended before the destroy forgets it, where the record does not say so already.
async fn keep_exit(engine: &Engine, sandbox: &Sandbox, report: Option<&EndReport>) {
    let exit = report.and_then(|report| report.exit).map(ebbtide_model::ExitStatus::code);
    if let Some(exit) = exit
        && sandbox.peek(|record| record.exit_code.is_none())
    {
        must_write(engine, sandbox, "record its exit code", || sandbox.record_exit(&engine.store, exit))
            .await;
        fail_point!("stop.exit.after");
    }
}

/// What became of a destroy.
struct Destroyed {
    report: Option<EndReport>,
    /// It was tried more than once, so an earlier one may have taken the report with it.
    repeated: bool,
    /// What it released.
    receipt: Option<Receipt>,
    /// What could not be released, in words; empty if nothing.
    left: String,
}

/// Step *destroy*: releases everything of it. One that fails is repeated until it succeeds.
async fn destroy(engine: &Engine, sandbox: &Sandbox) -> Destroyed {
    let mut backoff = Backoff::new(&engine.config.timing);
    let mut repeated = false;
    loop {
        fail_point!("stop.destroy.before");
        let outcome = {
            let waiting = engine.metrics.wait_in(Queue::Destroy);
            let _permit = engine.destroys.acquire().await;
            drop(waiting);
            engine.ask("destroy a sandbox", engine.driver.destroy(&sandbox.id)).await
        };
        fail_point!("stop.destroy.after");
        match outcome {
            Ok(DestroyOutcome::AlreadyGone) => {
                return Destroyed { report: None, repeated, receipt: None, left: String::new() };
            }
            Ok(DestroyOutcome::Destroyed { receipt, report }) => {
                let names = receipt.left.iter().map(|left| format!("{} {}", left.kind, left.name));
                let mut left = names.collect::<Vec<_>>().join(", ");
                if !left.is_empty() {
                    tracing::error!(left, "could not release everything");
                    left = format!("could not be released: {left} (see `ebb doctor`)");
                }
                engine.metrics.released(&receipt);
                return Destroyed { report, repeated, receipt: Some(receipt), left };
            }
            Err(error) => complain(sandbox, "destroy it", &error),
        }
        repeated = true;
        backoff.wait(&sandbox.retry).await;
    }
}

/// Step *tombstone*: the terminal state, in the ledger and for everyone who waits.
async fn close(engine: &Engine, sandbox: &Sandbox, epitaph: &Epitaph) {
    let write = || {
        let forgotten = || engine.forget(&sandbox.id);
        sandbox.tombstone(&engine.store, epitaph, forgotten)
    };
    must_write(engine, sandbox, "record that it is gone", write).await;
}
