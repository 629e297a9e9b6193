//! What the engine counts, for Prometheus.
//!
//! What has happened is counted where it is told to listeners (see [`crate::events`]), so that the two cannot
//! disagree. What is the case now (live sandboxes, commits of the ledger) is looked up when somebody asks. A count is an
//! atomic addition, an observation a few dozen nanoseconds under an uncontended lock.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Weak};

use ebbtide_model::{Receipt, State};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use tokio::time::Instant;

use crate::engine::Engine;
use crate::{EventKind, Outcome};

/// One label with one of a few values that are known here.
type Label = [(&'static str, &'static str); 1];
/// A kind of resource, by the driver's own word for it.
type Kind = [(&'static str, String); 1];

/// From half a millisecond, which is less than any step takes, to what a large image takes over a slow line; all else is
/// over within a minute.
const SECONDS: [f64; 18] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 180.0,
    600.0,
];

/// A step in the life of a sandbox that takes time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Its image is made ready.
    Prepare,
    /// A create waits for its turn.
    Queue,
    /// The driver makes it.
    Create,
    /// The first command: from the call until it runs, the waiting for the sandbox included.
    FirstExec,
    /// Any later command, in the same way.
    Exec,
    /// It is frozen.
    Pause,
    /// It goes on.
    Resume,
    /// Its processes end after they have been asked to.
    Stop,
    /// Everything of it is released.
    Destroy,
}

impl Step {
    const ALL: [Self; 9] = [
        Self::Prepare,
        Self::Queue,
        Self::Create,
        Self::FirstExec,
        Self::Exec,
        Self::Pause,
        Self::Resume,
        Self::Stop,
        Self::Destroy,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Prepare => "prepare",
            Self::Queue => "queue",
            Self::Create => "create",
            Self::FirstExec => "first_exec",
            Self::Exec => "exec",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Stop => "stop",
            Self::Destroy => "destroy",
        }
    }
}

/// Where work waits for its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Queue {
    /// For its image.
    Image,
    /// To be made.
    Create,
    /// To be destroyed.
    Destroy,
}

impl Queue {
    const ALL: [Self; 3] = [Self::Image, Self::Create, Self::Destroy];

    fn as_str(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Create => "create",
            Self::Destroy => "destroy",
        }
    }
}

/// What the engine counts.
pub(crate) struct Metrics {
    creates: Counter,
    stops: Family<Label, Counter>,
    reconciled: Family<Label, Counter>,
    leaks: Counter,
    orphaned: Family<Label, Counter>,
    adoptions: Counter,
    released: Family<Kind, Counter>,
    left: Counter,
    release: Histogram,
    missed: Counter,
    steps: Family<Label, Histogram, fn() -> Histogram>,
    waiting: Family<Label, Gauge>,
    // The same as in the families, found without looking.
    step: [Histogram; Step::ALL.len()],
    queue: [Gauge; Queue::ALL.len()],
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let steps: Family<Label, Histogram, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(SECONDS));
        let waiting = Family::<Label, Gauge>::default();
        Self {
            creates: Counter::default(),
            stops: Family::default(),
            reconciled: Family::default(),
            leaks: Counter::default(),
            orphaned: Family::default(),
            adoptions: Counter::default(),
            released: Family::default(),
            left: Counter::default(),
            release: Histogram::new(SECONDS),
            missed: Counter::default(),
            step: Step::ALL.map(|step| steps.get_or_create_owned(&[("step", step.as_str())])),
            queue: Queue::ALL.map(|queue| waiting.get_or_create_owned(&[("queue", queue.as_str())])),
            steps,
            waiting,
        }
    }

    /// Something happened to a sandbox.
    pub(crate) fn happened(&self, kind: EventKind) {
        match kind {
            EventKind::Created => {
                self.creates.inc();
            }
            EventKind::Stopped { reason, .. } | EventKind::Failed(reason) => {
                self.stops.get_or_create(&[("reason", reason.as_str())]).inc();
            }
            EventKind::Reconciled(outcome) => {
                self.reconciled.get_or_create(&[("outcome", outcome.as_str())]).inc();
                if outcome == Outcome::Destroyed {
                    self.leaks.inc();
                }
            }
            EventKind::Orphaned(why) => {
                self.orphaned.get_or_create(&[("why", why.as_str())]).inc();
            }
            EventKind::Adopted => {
                self.adoptions.inc();
            }
            _ => {}
        }
    }

    /// An end has released this.
    pub(crate) fn released(&self, receipt: &Receipt) {
        for (kind, count) in &receipt.released {
            self.released.get_or_create(&[("kind", kind.clone())]).inc_by(u64::from(*count));
        }
        self.left.inc_by(receipt.left.len() as u64);
        self.release.observe(receipt.took.as_secs_f64());
    }

    /// A reader has missed events.
    pub(crate) fn missed(&self, events: u64) {
        self.missed.inc_by(events);
    }

    /// A step that began at `begun` is over.
    pub(crate) fn took(&self, step: Step, begun: Instant) {
        self.step[step as usize].observe(begun.elapsed().as_secs_f64());
    }

    /// Counts the caller as waiting until the answer is dropped.
    pub(crate) fn wait_in(&self, queue: Queue) -> Waiting<'_> {
        let gauge = &self.queue[queue as usize];
        gauge.inc();
        Waiting(gauge)
    }

    fn register(&self, registry: &mut Registry) {
        let mut counter =
            |name: &str, help: &str, counter: &Counter| registry.register(name, help, counter.clone());
        counter("creates", "Sandboxes that were asked for", &self.creates);
        counter("leaks", "Sandboxes without a live record that reconcile found and destroyed", &self.leaks);
        counter("adoptions", "Sandboxes that were taken over, or whose owner has come back", &self.adoptions);
        counter("left", "Resources that the end of a sandbox could not release", &self.left);
        counter("events_missed", "Events that readers were too slow for", &self.missed);
        let help = "How long the runtime took to release everything of a sandbox";
        registry.register_with_unit("release", help, Unit::Seconds, self.release.clone());
        registry.register("released", "Resources that ends have released, by kind", self.released.clone());
        registry.register("stops", "Sandboxes that have ended, by reason", self.stops.clone());
        registry.register("orphaned", "Sandboxes whose owner has gone, by how", self.orphaned.clone());
        let help = "Sandboxes in another state than the ledger said, by what was done about them";
        registry.register("reconciled", help, self.reconciled.clone());
        let help = "How long the steps in the life of a sandbox took";
        registry.register_with_unit("step", help, Unit::Seconds, self.steps.clone());
        registry.register("waiting", "Sandboxes that wait for their turn", self.waiting.clone());
    }
}

/// Held by one who waits for its turn.
pub(crate) struct Waiting<'a>(&'a Gauge);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// What is the case when somebody asks.
struct Now(Weak<Engine>);

impl fmt::Debug for Now {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Now")
    }
}

impl Collector for Now {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        // Gone with the last Control; the registry may live on.
        let Some(engine) = self.0.upgrade() else { return Ok(()) };
        let help = "Sandboxes that have not ended, by state";
        let mut live = encoder.encode_descriptor("sandboxes", help, None, MetricType::Gauge)?;
        for (state, count) in states(&engine) {
            ConstGauge::new(count).encode(live.encode_family(&[("state", state.as_str())])?)?;
        }
        let help = "Leases whose owners are there";
        let leases = encoder.encode_descriptor("leases_held", help, None, MetricType::Gauge)?;
        ConstGauge::new(engine.leases.held() as i64).encode(leases)?;
        let help = "Sandboxes that have not ended, by who stands for them";
        let mut live = encoder.encode_descriptor("ownership", help, None, MetricType::Gauge)?;
        for (kind, count) in ownership(&engine) {
            ConstGauge::new(count).encode(live.encode_family(&[("kind", kind)])?)?;
        }
        let help = "Commits of the ledger";
        let commits = encoder.encode_descriptor("ledger_commits", help, None, MetricType::Counter)?;
        ConstCounter::new(engine.store.commits()).encode(commits)
    }
}

/// How many sandboxes are in each state that is not terminal.
fn states(engine: &Engine) -> impl Iterator<Item = (State, i64)> {
    let live: Vec<State> = engine.live().values().map(|sandbox| sandbox.state()).collect();
    let shown = State::ALL.into_iter().filter(|state| !state.is_terminal());
    shown.map(move |state| (state, live.iter().filter(|is| **is == state).count() as i64))
}

/// How many sandboxes have an owner, and how many have lost it.
fn ownership(engine: &Engine) -> BTreeMap<&'static str, i64> {
    let mut counts =
        BTreeMap::from(["unowned", "detached", "owned", "orphaned", "kept"].map(|kind| (kind, 0)));
    for sandbox in engine.live().values() {
        *counts.entry(sandbox.peek(|record| record.ownership.kind())).or_default() += 1;
    }
    counts
}

/// Adds what `engine` counts to `registry`.
pub(crate) fn register(engine: &Arc<Engine>, registry: &mut Registry) {
    engine.metrics.register(registry);
    registry.register_collector(Box::new(Now(Arc::downgrade(engine))));
}
