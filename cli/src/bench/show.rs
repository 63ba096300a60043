//! What a measurement looks like: how far it is, and what came of it.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};

use ::bench::Step;
use ::bench::report::{Latency, Report};
use tokio::sync::watch;

use crate::table;

/// Cells of the progress bar.
const BAR: usize = 30;
/// Back to the first column, and the rest of the line is empty.
const CLEAR: &str = "\r\x1b[K";

/// Draws how far it is on standard error, if that is a terminal, until nobody tells any more.
pub(super) async fn progress(mut steps: watch::Receiver<Step>) {
    let is_terminal = io::stderr().is_terminal();
    let mut drawn = String::new();
    while steps.changed().await.is_ok() {
        let bar = bar(*steps.borrow_and_update());
        if is_terminal && bar != drawn {
            draw(&format!("{CLEAR}{bar}"));
            drawn = bar;
        }
    }
    if is_terminal {
        draw(CLEAR);
    }
}

fn draw(text: &str) {
    let mut err = io::stderr().lock();
    // Where that is closed there is nobody to tell.
    drop(err.write_all(text.as_bytes()).and_then(|()| err.flush()));
}

fn bar(step: Step) -> String {
    let full = (0..BAR).filter(|cell| (*cell as f64) < step.part * BAR as f64).count();
    format!("[{}{}] {}", "#".repeat(full), " ".repeat(BAR - full), step.what)
}

/// The report, for people.
pub(super) fn report(report: &Report) -> String {
    let Report { nodes, containers_per_node, first_picture_seconds, load, latency, parts, .. } = report;
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(text, "nodes          {nodes} with {containers_per_node} containers each");
    let _ = writeln!(text, "first picture  {first_picture_seconds:.1} s after the producers were started");
    let _ = writeln!(
        text,
        "through        {} events a second to Redis: {} in {:.1} s",
        count(load.events_per_second),
        count(load.events_stored as f64),
        load.seconds
    );
    let _ = writeln!(text, "latency        {}\n", quantiles(latency));
    let rows = parts.iter().map(|part| {
        let cpu = part.cpu_seconds_per_million_events.map(|cpu| format!("{cpu:.1}"));
        let cores = part.cores_at_rest.map(|cores| format!("{:.1} %", cores * 100.0));
        let memory = part.memory_bytes.map(|bytes| format!("{:.0} MiB", bytes as f64 / f64::from(1 << 20)));
        vec![part.name.to_owned(), cpu.unwrap_or_default(), cores.unwrap_or_default(), memory.unwrap_or_default()]
    });
    text += &table::render(&["PART", "CPU S A MILLION EVENTS", "OF A CORE AT REST", "MEMORY"], rows.collect());
    let (ceiling, ratio) = (&report.ceiling, &report.ratio);
    let alone = |what: &str, rate, ratio: f64| vec![what.to_owned(), count(rate), format!("{:.0} %", ratio * 100.0)];
    text.push('\n');
    text += &table::render(
        &["THE SERVERS ALONE", "A SECOND", "THROUGH"],
        vec![
            alone("records, acknowledged one by one", ceiling.publish_singles_per_second, ratio.publish_singles),
            alone("records in atomic batches", ceiling.publish_batches_per_second, ratio.publish_batches),
            alone("hashes in pipelines", ceiling.hset_per_second, ratio.hset),
        ],
    );
    text
}

fn quantiles(latency: &Latency) -> String {
    let [p50, p99, p999, resolution] =
        [latency.p50_seconds, latency.p99_seconds, latency.p999_seconds, latency.resolution_seconds]
            .map(|seconds| format!("{:.1}", seconds * 1e3));
    format!(
        "p50 {p50} ms, p99 {p99} ms, p99.9 {p999} ms at {} events a second ({} seen, each by a reading of {resolution} ms)",
        count(latency.events_per_second),
        count(latency.samples as f64)
    )
}

/// A number, rounded, with a comma after each thousand.
fn count(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_their_thousands() {
        assert_eq!([0.4, 999.0, 1000.0, 1234567.0].map(count), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn the_bar_grows() {
        let cells = |part| bar(Step { what: "x", part }).matches('#').count();
        assert_eq!([cells(0.0), cells(0.5), cells(1.0)], [0, BAR / 2, BAR]);
    }
}
