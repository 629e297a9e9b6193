//! The background tasks of one engine: they end together, and whoever ends them can wait for it.

use std::sync::Arc;

use tokio::sync::watch;

/// Tasks that end when [`Tasks::cancel`] is called, at their next await.
#[derive(Clone)]
pub(crate) struct Tasks {
    cancelled: Arc<watch::Sender<bool>>,
    running: Arc<watch::Sender<usize>>,
}

impl Tasks {
    pub(crate) fn new() -> Self {
        Self { cancelled: Arc::new(watch::Sender::new(false)), running: Arc::new(watch::Sender::new(0)) }
    }

    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut cancelled = self.cancelled.subscribe();
        let running = Running::enter(&self.running);
        tokio::spawn(async move {
            let _running = running;
            tokio::select! {
                biased;
                _ = cancelled.wait_for(|cancelled| *cancelled) => {}
                () = task => {}
            }
        });
    }

    /// Becomes true when the tasks are to end.
    pub(crate) fn cancelled(&self) -> watch::Receiver<bool> {
        self.cancelled.subscribe()
    }

    pub(crate) fn cancel(&self) {
        self.cancelled.send_replace(true);
    }

    /// Cancels every task and waits until none runs. None of them blocks, so this takes no time worth a bound.
    pub(crate) async fn close(&self) {
        self.cancel();
        let _ = self.running.subscribe().wait_for(|running| *running == 0).await;
    }
}

struct Running(Arc<watch::Sender<usize>>);

impl Running {
    fn enter(count: &Arc<watch::Sender<usize>>) -> Self {
        count.send_modify(|count| *count += 1);
        Self(Arc::clone(count))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}
