//! The chapter about images.

use std::fmt::Write as _;

use super::Images;
use super::pull::MEBIBYTES;
use super::start::{SOURCES, Starts};
use crate::report::{rates, row};

/// The most that a start from an image may cost, as a ratio to `host`: with nothing made ahead, and with it.
const LIMITS: (f64, f64) = (1.4, 1.2);

/// Adds it to the page.
pub(crate) fn tables(page: &mut String, images: &Images) {
    // Writing to a string cannot fail.
    let _ = writeln!(page, "\n## Images: one of {MEBIBYTES} MiB from a registry on loopback\n");
    let rows = [
        ("**ebbtide: `ebb image pull`**", &images.pulls.ebbtide),
        ("`podman pull`", &images.pulls.podman),
        ("`skopeo copy` and `umoci unpack`", &images.pulls.skopeo_umoci),
    ];
    rates(page, MEBIBYTES, "`skopeo` and `umoci`", &rows);
    for starts in &images.starts {
        start(page, starts, images);
    }
}

fn start(page: &mut String, Starts { pools, samples }: &Starts, images: &Images) {
    let (what, limit) = match pools {
        false => ("nothing made ahead, back to back", LIMITS.0),
        true => ("made ahead, with gaps", LIMITS.1),
    };
    let (starts, block) = (images.rounds.starts, images.rounds.block);
    let _ = writeln!(page, "## Images: create → first answer, {what}\n\n{starts} rounds of {block}.\n");
    let _ = writeln!(page, "| a sandbox of, ms | min | p10 | median | p90 | ratio to `host` |");
    let _ = writeln!(page, "|---|--:|--:|--:|--:|:--|");
    for (source, taken) in SOURCES.iter().zip(samples) {
        let name = match source {
            None => "`host`".to_owned(),
            Some(1) => "**an image of 1 layer**".to_owned(),
            Some(layers) => format!("**an image of {layers} layers**"),
        };
        row(page, &name, taken, &samples[0]);
    }
    let ratios = samples.iter().filter_map(|taken| taken.ratio_to(&samples[0]));
    let worst = ratios.map(|ratio| ratio.of_medians).fold(0.0, f64::max);
    let verdict = if worst <= limit { "met" } else { "**not met**" };
    let _ = writeln!(page, "\nGoal: at most {limit} × `host`; {worst:.2} × at most: {verdict}.\n");
}
