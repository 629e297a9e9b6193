//! Listing: sandboxes that have not ended from memory, those that have from the ledger, merged by age.

use std::collections::BTreeMap;

use ebbtide_model::{Invalid, Principal, SandboxId, SandboxRecord, State};

use crate::ControlError;
use crate::engine::Engine;
use crate::store::Cursor;

/// Records of a page, at most and by default.
const PAGE: usize = 1000;
/// Bytes of a page's specs, after which it ends early: an answer has to fit into a message (4 MiB by default).
const PAGE_BYTES: usize = 2 << 20;

/// Which sandboxes a listing shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListFilter {
    /// All of these tags.
    pub tags: Vec<String>,
    /// This state alone, terminal or not.
    pub state: Option<State>,
    /// Only those of this kind of ownership, by its name.
    pub ownership: Option<&'static str>,
    /// Ended ones too. Without effect where `state` is given.
    pub show_terminated: bool,
    /// One that was kept after its main command's end counts as ended, as any client of the public protocol sees it.
    pub as_shown: bool,
    /// How many at most; 0 for the default, which is also the most.
    pub page_size: usize,
    /// Where the page before ended; empty for the first page.
    pub page_token: String,
    /// The youngest first.
    pub descending: bool,
}

impl ListFilter {
    fn wants(&self, record: &SandboxRecord) -> bool {
        let is = if self.as_shown { record.shown_state() } else { record.state };
        let state = match self.state {
            Some(state) => is == state,
            None => self.show_terminated || !is.is_terminal(),
        };
        let ownership = self.ownership.is_none_or(|kind| record.ownership.kind() == kind);
        state && ownership && has_tags(record, &self.tags)
    }

    fn wants_ended(&self) -> bool {
        self.state.map_or(self.show_terminated, State::is_terminal)
    }
}

/// One page of a listing.
#[derive(Debug, Clone, PartialEq)]
pub struct ListPage {
    /// The records, by age.
    pub records: Vec<SandboxRecord>,
    /// For the next page; empty on the last.
    pub next_page_token: String,
}

/// Whether a record has all of `tags`.
pub(crate) fn has_tags(record: &SandboxRecord, tags: &[String]) -> bool {
    tags.iter().all(|tag| record.spec.tags.contains(tag))
}

pub(crate) fn page(
    engine: &Engine,
    principal: &Principal,
    filter: &ListFilter,
) -> Result<ListPage, ControlError> {
    let after = token(&filter.page_token)?;
    let size = match filter.page_size {
        0 => PAGE,
        size => size.min(PAGE),
    };
    let is_beyond = |id: &SandboxId| match &after {
        None => true,
        Some(after) if filter.descending => id < after,
        Some(after) => id > after,
    };
    // Memory first: one that ends between the two looks is then seen twice, not missed.
    let mut found: BTreeMap<SandboxId, SandboxRecord> = engine
        .select(|record| record.principal == *principal && is_beyond(&record.id) && filter.wants(record))
        .into_iter()
        .map(|sandbox| (sandbox.id.clone(), sandbox.record()))
        .collect();
    if filter.wants_ended() {
        let ended = engine.store.page(&Cursor {
            principal,
            tags: &filter.tags,
            state: filter.state,
            ownership: filter.ownership,
            after: after.as_ref(),
            descending: filter.descending,
            limit: size + 1,
        })?;
        found.extend(ended.into_iter().map(|record| (record.id.clone(), record)));
    }
    let by_age = found.into_values();
    Ok(if filter.descending { cut(by_age.rev(), size) } else { cut(by_age, size) })
}

/// The first page of `records`; a token for the rest where there is one.
fn cut(records: impl Iterator<Item = SandboxRecord>, size: usize) -> ListPage {
    let mut page = ListPage { records: Vec::new(), next_page_token: String::new() };
    let mut bytes = 0;
    for record in records {
        bytes += weight(&record);
        let full = page.records.len() == size || (bytes > PAGE_BYTES && !page.records.is_empty());
        if full {
            page.next_page_token = page.records.last().map(|last| last.id.to_string()).unwrap_or_default();
            break;
        }
        page.records.push(record);
    }
    page
}

/// About how many bytes a record takes in a message.
fn weight(record: &SandboxRecord) -> usize {
    let spec = &record.spec;
    let texts = spec.main.argv.iter().chain(&spec.tags).map(String::len);
    let pairs = spec.main.env.iter().chain(&spec.annotations).map(|(key, value)| key.len() + value.len());
    256 + record.message.len() + texts.chain(pairs).map(|bytes| bytes + 8).sum::<usize>()
}

fn token(text: &str) -> Result<Option<SandboxId>, Invalid> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| {
        Invalid::new(
            "page_token",
            "is not from a listing of this daemon",
            "the next_page_token of the page before",
        )
    })
}
