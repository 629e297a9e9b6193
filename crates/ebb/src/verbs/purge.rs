//! `ebb purge`: ends a set of sandboxes: first the plan, then exactly that.

use clap::{ArgGroup, Args};
use ebbtide::{Client, PurgeFilter, PurgePlan, Purged};
use serde::Serialize;

use crate::context::Context;
use crate::exit;
use crate::failure::Failure;
use crate::table;
use crate::view::DescriptionView;

/// End all sandboxes, or all with given tags
///
/// Shows what would end, and the plan's hash. Ends it with `--confirm HASH`, which is refused if another set would end by
/// now, or with --yes, which takes the set as it is.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("which").required(true).args(["tags", "all"])), after_help = "\
Examples:
  ebb purge --tag demo
  ebb purge --tag demo --confirm 5c2f0a91
  ebb purge --all --yes")]
pub(crate) struct Purge {
    /// Those with this tag; repeated, those with all of them.
    #[arg(long = "tag", short = 't', value_name = "TAG")]
    tags: Vec<String>,
    /// Every sandbox of yours in this home.
    #[arg(long)]
    all: bool,
    /// Those of others, too. Only for root, on the daemon's own machine.
    #[arg(long)]
    all_owners: bool,
    /// Do it, if it is still what this plan says.
    #[arg(long, value_name = "HASH", conflicts_with = "yes")]
    confirm: Option<String>,
    /// Do it.
    #[arg(long, short)]
    yes: bool,
}

/// The stable shape of `ebb purge --json`.
#[derive(Serialize)]
struct PurgeView {
    dry_run: bool,
    hash: String,
    matched: Vec<String>,
    outcomes: Vec<OutcomeView>,
    failed: Vec<String>,
}

#[derive(Serialize)]
struct OutcomeView {
    id: String,
    outcome: &'static str,
    message: String,
}

impl Purge {
    /// Does it.
    pub(crate) async fn run(self, context: &Context) -> Result<u8, Failure> {
        let daemon = context.daemon()?;
        let filter = PurgeFilter { tags: self.tags.clone(), all: self.all, all_owners: self.all_owners };
        let (client, plan) = match &self.confirm {
            Some(hash) => {
                let plan = PurgePlan { hash: hash.clone(), sandboxes: Vec::new() };
                (context.connect(&daemon).await?, plan)
            }
            None => context.call(&daemon, async |client| client.plan_purge(filter.clone()).await).await?,
        };
        if self.confirm.is_none() && !self.yes {
            return self.show(context, plan);
        }
        let confirm = async |client: &Client| client.confirm_purge(filter.clone(), &plan.hash).await;
        let purged = context.call_on(&daemon, &client, confirm).await?;
        report(context, plan.hash, purged)
    }

    fn show(self, context: &Context, plan: PurgePlan) -> Result<u8, Failure> {
        let PurgePlan { hash, sandboxes } = plan;
        if context.json {
            let matched = sandboxes.into_iter().map(|described| described.sandbox.id).collect();
            let view = PurgeView { dry_run: true, hash, matched, outcomes: Vec::new(), failed: Vec::new() };
            context.print_json(&view)?;
            return Ok(0);
        }
        let count = sandboxes.len();
        if count > 0 {
            let rows = sandboxes.into_iter().map(DescriptionView::from).map(|view| {
                let (sandbox, owner) = (&view.sandbox, view.ownership_in_words());
                vec![sandbox.id.clone(), sandbox.state.clone(), sandbox.age(), owner, sandbox.tags.join(",")]
            });
            context.print(&table::render(&["ID", "STATE", "AGE", "OWNERSHIP", "TAGS"], rows))?;
        }
        eprintln!("{count} would end; to end exactly these: ebb purge {} --confirm {hash}", self.which());
        Ok(0)
    }

    /// The options that name the set.
    fn which(&self) -> String {
        let tags = self.tags.iter().map(|tag| format!("--tag {tag}"));
        let all = self.all.then(|| "--all".to_owned());
        let others = self.all_owners.then(|| "--all-owners".to_owned());
        tags.chain(all).chain(others).collect::<Vec<_>>().join(" ")
    }
}

fn report(context: &Context, hash: String, purged: Vec<Purged>) -> Result<u8, Failure> {
    let failed: Vec<String> =
        purged.iter().filter(|one| !one.outcome.is_gone()).map(|one| one.id.clone()).collect();
    let code = if failed.is_empty() { 0 } else { exit::PARTLY };
    if context.json {
        let matched = purged.iter().map(|one| one.id.clone()).collect();
        let outcomes = purged
            .into_iter()
            .map(|Purged { id, outcome, message }| OutcomeView { id, outcome: outcome.as_str(), message })
            .collect();
        context.print_json(&PurgeView { dry_run: false, hash, matched, outcomes, failed })?;
        return Ok(code);
    }
    context.print(&format!("{} ended", purged.len() - failed.len()))?;
    for Purged { id, outcome, message } in purged.iter().filter(|one| !one.outcome.is_gone()) {
        eprintln!("ebb: {id}: {outcome}: {message}\n  try: ebb stop --grace 0 {id}");
    }
    Ok(code)
}
