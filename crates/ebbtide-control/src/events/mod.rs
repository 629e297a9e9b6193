//! What happens to sandboxes, told to whoever listens.
//!
//! Each principal has a feed of its own: a ring of the last events, numbered without gaps. So nobody sees, or
//! can infer from the numbers, what happens to the sandboxes of others, and one who makes a thousand sandboxes
//! pushes nobody else's events out. A reader holds nothing but its place in the ring, so it never slows the engine
//! down; one that falls behind by more than the ring is told how many events it has missed.
//!
//! Events are kept in memory only: what must be durable is in the ledger. Numbers begin with the millisecond in which the
//! daemon started, so that those of a later daemon are larger, and a reader that comes back after a restart can tell.

mod kind;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ebbtide_model::{Principal, SandboxId};
use tokio::sync::watch;

use crate::metrics::Metrics;
use crate::store::millis;
use crate::time::Time;

pub use self::kind::{EventFilter, EventItem, EventKind, SandboxEvent};

/// How far the millisecond of the start is shifted: two thousand events for each, and numbers that JSON can hold
/// exactly (below 2^53) until the year 2109.
const START_SHIFT: u32 = 11;
/// The longest message that an event carries.
const MAX_MESSAGE_BYTES: usize = 512;

/// The feeds of every principal that has or had a sandbox here, or listened.
pub(crate) struct Feeds {
    feeds: Mutex<HashMap<Principal, Arc<Feed>>>,
    capacity: usize,
    first: u64,
    time: Arc<Time>,
    metrics: Arc<Metrics>,
}

impl Feeds {
    pub(crate) fn new(capacity: usize, time: Arc<Time>, metrics: Arc<Metrics>) -> Self {
        let first = (millis(time.now()).unsigned_abs() << START_SHIFT) + 1;
        Self { feeds: Mutex::default(), capacity: capacity.max(1), first, time, metrics }
    }

    pub(crate) fn of(&self, principal: &Principal) -> Arc<Feed> {
        let mut feeds = self.feeds.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(feed) = feeds.get(principal) {
            return Arc::clone(feed);
        }
        let feed = Arc::new(Feed {
            principal: principal.clone(),
            capacity: self.capacity,
            first: self.first,
            ring: Mutex::default(),
            last: watch::Sender::new(self.first - 1),
            time: Arc::clone(&self.time),
            metrics: Arc::clone(&self.metrics),
        });
        feeds.insert(principal.clone(), Arc::clone(&feed));
        feed
    }
}

/// The events of one principal.
pub(crate) struct Feed {
    principal: Principal,
    capacity: usize,
    first: u64,
    ring: Mutex<Ring>,
    /// The number of the last event. Written with the ring locked, so that it never goes back.
    last: watch::Sender<u64>,
    time: Arc<Time>,
    metrics: Arc<Metrics>,
}

/// The last events, oldest first.
type Ring = VecDeque<Arc<SandboxEvent>>;

impl Feed {
    /// Counts it and tells everybody who listens. Never waits for any of them.
    pub(crate) fn publish(&self, sandbox: &SandboxId, tags: &Arc<[String]>, kind: EventKind, message: &str) {
        self.metrics.happened(kind);
        let mut ring = self.ring();
        let at = self.time.of_event();
        let sequence = *self.last.borrow() + 1;
        if ring.len() >= self.capacity {
            ring.pop_front();
        }
        ring.push_back(Arc::new(SandboxEvent {
            sequence,
            at,
            sandbox: sandbox.clone(),
            principal: self.principal.clone(),
            tags: Arc::clone(tags),
            kind,
            message: beginning(message).to_owned(),
        }));
        self.last.send_replace(sequence);
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// As much of `text` as an event carries.
fn beginning(text: &str) -> &str {
    let end = (0..=MAX_MESSAGE_BYTES.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or_default()]
}

/// A place in the events of one principal.
pub struct Events {
    feed: Arc<Feed>,
    filter: EventFilter,
    /// The number of the last event that was looked at.
    seen: u64,
    /// That events of an earlier daemon were missed is still to be said.
    earlier_missed: bool,
    last: watch::Receiver<u64>,
}

impl Events {
    pub(crate) fn new(feed: Arc<Feed>, filter: EventFilter) -> Self {
        let last = feed.last.subscribe();
        let (since, known) = (filter.since, feed.first - 1..=*last.borrow());
        // A number from before this daemon's first was an earlier one's; so was one that is still to come, and the
        // clock has been set back since.
        let is_ours = known.contains(&since);
        let seen = if is_ours { since } else { oldest(&feed, &feed.ring()) - 1 };
        Self { earlier_missed: since != 0 && !is_ours, feed, filter, seen, last }
    }

    /// The next event that is there already.
    pub fn try_next(&mut self) -> Option<EventItem> {
        if std::mem::take(&mut self.earlier_missed) {
            return Some(EventItem::Missed(None));
        }
        let ring = self.feed.ring();
        let oldest = oldest(&self.feed, &ring);
        let missed = oldest - 1 - (oldest - 1).min(self.seen);
        if missed > 0 {
            self.seen = oldest - 1;
            self.feed.metrics.missed(missed);
            return Some(EventItem::Missed(Some(missed)));
        }
        let new = usize::try_from(self.seen + 1 - oldest).unwrap_or(usize::MAX);
        for event in ring.iter().skip(new) {
            self.seen = event.sequence;
            if self.filter.wants(event) {
                return Some(EventItem::Event(Arc::clone(event)));
            }
        }
        None
    }

    /// The next event; waits without bound. Safe to drop at the await.
    pub async fn next(&mut self) -> EventItem {
        loop {
            if let Some(item) = self.try_next() {
                return item;
            }
            let seen = self.seen;
            if self.last.wait_for(|last| *last > seen).await.is_err() {
                // Nobody is left who could publish; the feed is ours, so this cannot be.
                std::future::pending::<()>().await;
            }
        }
    }
}

/// The number of the oldest event that is kept, or of the next one if there is none.
fn oldest(feed: &Feed, ring: &Ring) -> u64 {
    ring.front().map_or_else(|| *feed.last.borrow() + 1, |event| event.sequence)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use async_trait::async_trait;

    use super::*;
    use crate::Clocks;

    /// Clocks that stand still.
    struct Still;

    #[async_trait]
    impl Clocks for Still {
        fn wall(&self) -> SystemTime {
            UNIX_EPOCH
        }

        fn since_boot(&self) -> Duration {
            Duration::ZERO
        }

        async fn watch(&self, _: &(dyn Fn() + Send + Sync)) -> std::io::Result<()> {
            std::future::pending().await
        }
    }

    const ME: Principal = Principal::Uid(1);

    fn feeds(capacity: usize) -> Feeds {
        begun_at(capacity, 1_000_000)
    }

    fn begun_at(capacity: usize, millis: u64) -> Feeds {
        let time = Time::new(Arc::new(Still), "boot", UNIX_EPOCH + Duration::from_millis(millis));
        Feeds::new(capacity, Arc::new(time), Arc::new(Metrics::new()))
    }

    fn publish(feeds: &Feeds, principal: &Principal, tags: &[&str]) -> SandboxId {
        let id = SandboxId::generate();
        let tags: Arc<[String]> = tags.iter().map(|tag| (*tag).to_owned()).collect();
        feeds.of(principal).publish(&id, &tags, EventKind::Created, "");
        id
    }

    fn reader(feeds: &Feeds, filter: EventFilter) -> Events {
        Events::new(feeds.of(&ME), filter)
    }

    fn drain(events: &mut Events) -> Vec<EventItem> {
        std::iter::from_fn(|| events.try_next()).collect()
    }

    fn sequence(item: &EventItem) -> u64 {
        match item {
            EventItem::Event(event) => event.sequence,
            EventItem::Missed(_) => panic!("missed"),
        }
    }

    #[test]
    fn a_reader_that_falls_behind_is_told_how_many_it_missed_and_goes_on_with_the_oldest() {
        let feeds = feeds(4);
        let mut events = reader(&feeds, EventFilter::default());
        for _ in 0..10 {
            publish(&feeds, &ME, &[]);
        }
        let items = drain(&mut events);
        assert_eq!(items[0], EventItem::Missed(Some(6)));
        assert_eq!(items.len(), 5);
        let numbers: Vec<u64> = items[1..].iter().map(sequence).collect();
        assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "{numbers:?}");
    }

    #[test]
    fn who_asks_for_what_is_kept_has_missed_nothing() {
        let feeds = feeds(2);
        for _ in 0..5 {
            publish(&feeds, &ME, &[]);
        }
        assert_eq!(drain(&mut reader(&feeds, EventFilter::default())).len(), 2);
    }

    #[test]
    fn a_reader_goes_on_after_the_number_that_it_names() {
        let feeds = feeds(8);
        let ids: Vec<SandboxId> = (0..3).map(|_| publish(&feeds, &ME, &[])).collect();
        let all = drain(&mut reader(&feeds, EventFilter::default()));
        let mut rest = reader(&feeds, EventFilter { since: sequence(&all[0]), ..EventFilter::default() });
        let rest = drain(&mut rest);
        assert_eq!(rest, all[1..]);
        assert!(matches!(&rest[0], EventItem::Event(event) if event.sandbox == ids[1]));
        let since = sequence(&all[2]);
        assert!(drain(&mut reader(&feeds, EventFilter { since, ..EventFilter::default() })).is_empty());
    }

    #[test]
    fn numbers_of_another_daemon_are_told_and_everything_that_is_kept_follows() {
        let feeds = feeds(8);
        publish(&feeds, &ME, &[]);
        for since in [7, u64::MAX] {
            let items = drain(&mut reader(&feeds, EventFilter { since, ..EventFilter::default() }));
            assert_eq!(items[0], EventItem::Missed(None), "{since}");
            assert_eq!(items.len(), 2, "{since}");
        }
    }

    #[test]
    fn the_numbers_of_a_later_daemon_are_larger_and_json_can_hold_them() {
        let at = |millis| begun_at(1, millis).first;
        assert!(at(1001) > at(1000) + 2_000);
        assert!(at(4_390_000_000_000) < 1 << 53);
    }

    #[test]
    fn nobody_sees_what_happens_to_the_sandboxes_of_others() {
        let feeds = feeds(2);
        let mine = publish(&feeds, &ME, &[]);
        for _ in 0..9 {
            publish(&feeds, &Principal::Uid(2), &[]);
        }
        let items = drain(&mut reader(&feeds, EventFilter::default()));
        assert!(matches!(&items[..], [EventItem::Event(event)] if event.sandbox == mine), "{items:?}");
    }

    #[test]
    fn a_reader_sees_only_the_sandbox_and_the_tags_that_it_asks_for() {
        let feeds = feeds(8);
        let (plain, tagged) = (publish(&feeds, &ME, &["a"]), publish(&feeds, &ME, &["a", "b"]));
        let seen = |filter| {
            let seen = drain(&mut reader(&feeds, filter)).into_iter().map(|item| match item {
                EventItem::Event(event) => event.sandbox.clone(),
                EventItem::Missed(_) => panic!("missed"),
            });
            seen.collect::<Vec<_>>()
        };
        let tags = vec!["a".to_owned(), "b".to_owned()];
        assert_eq!(seen(EventFilter { tags, ..EventFilter::default() }), std::slice::from_ref(&tagged));
        let filter = EventFilter { sandbox: Some(plain.clone()), ..EventFilter::default() };
        assert_eq!(seen(filter), std::slice::from_ref(&plain));
    }

    #[tokio::test]
    async fn a_reader_that_waits_is_woken_by_the_next_event() {
        let feeds = feeds(8);
        let mut events = reader(&feeds, EventFilter::default());
        let waiting = tokio::spawn(async move { events.next().await });
        tokio::task::yield_now().await;
        let id = publish(&feeds, &ME, &[]);
        let item = tokio::time::timeout(Duration::from_secs(10), waiting).await.unwrap().unwrap();
        assert!(matches!(item, EventItem::Event(event) if event.sandbox == id));
    }

    #[test]
    fn a_long_message_is_cut_between_two_letters() {
        let text = format!("x{}", "é".repeat(MAX_MESSAGE_BYTES));
        assert!(beginning(&text).len() < MAX_MESSAGE_BYTES && text.starts_with(beginning(&text)));
    }
}
