//! `ebb receipt`: what the end of a sandbox released, and what it left.

use clap::Args;
use ebbtide::{Description, Error};
use serde::Serialize;

use crate::context::Context;
use crate::exit;
use crate::failure::Failure;
use crate::table;
use crate::view::ReceiptView;

/// Show what the end of a sandbox released
///
/// Exits 1 if something was left.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ebb receipt 01k3q
  ebb receipt 01k3q --json")]
pub(crate) struct Receipt {
    /// The sandbox: its id, or the beginning of it.
    id: String,
}

/// The stable shape of `ebb receipt --json`.
#[derive(Serialize)]
struct EndReceiptView {
    id: String,
    reason: String,
    #[serde(flatten)]
    receipt: ReceiptView,
}

impl Receipt {
    /// Does it.
    pub(crate) async fn run(self, context: &Context) -> Result<u8, Failure> {
        let daemon = context.daemon()?;
        let (client, id) = context.resolve(&daemon, &self.id).await?;
        let described = context.call_on(&daemon, &client, async |client| client.describe(&id).await).await?;
        let (reason, receipt) = receipt(described)?;
        let code = if receipt.left.is_empty() { 0 } else { exit::PARTLY };
        if context.json {
            context.print_json(&EndReceiptView { id, reason, receipt })?;
        } else {
            context.print(&text(&receipt))?;
        }
        Ok(code)
    }
}

fn receipt(described: Description) -> Result<(String, ReceiptView), Failure> {
    let why = match described.sandbox.is_gone() {
        true => "nobody saw what its end released",
        false => "it has not ended",
    };
    let end = described.end.unwrap_or_default();
    let missing = Error::NoReceipt { id: described.sandbox.id, why };
    Ok((end.reason, end.receipt.map(ReceiptView::from).ok_or(missing)?))
}

fn text(receipt: &ReceiptView) -> String {
    let released = receipt.released.iter().map(|of| vec![of.kind.clone(), of.count.to_string()]);
    let bytes = vec!["bytes of disk".to_owned(), receipt.bytes.to_string()];
    let mut text = table::render(&["RELEASED", "COUNT"], released.chain([bytes]));
    if !receipt.steps.is_empty() {
        let steps =
            receipt.steps.iter().map(|step| vec![step.name.clone(), format!("{:.1} ms", step.took_ms)]);
        let all = vec!["all of it".to_owned(), format!("{:.1} ms", receipt.took_ms)];
        text = format!("{text}\n\n{}", table::render(&["STEP", "TOOK"], steps.chain([all])));
    }
    match receipt.left.is_empty() {
        true => text + "\n\nnothing is left",
        false => {
            let left = receipt.left.iter().map(|left| vec![left.kind.clone(), left.name.clone()]);
            format!("{text}\n\n{}\n  try: ebb doctor --fix", table::render(&["LEFT", "NAME"], left))
        }
    }
}
