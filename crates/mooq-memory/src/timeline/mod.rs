//! Timelines as text and as diagrams.

mod diagram;
mod names;
mod sentence;

use std::fmt::Write;
use std::time::Duration;

pub(crate) use diagram::mermaid;
use mooq_engine::{Profile, TimelineEntry};
use names::label;
use sentence::sentence;

/// Width of the column of clients beyond which names make their own line longer.
const WIDEST: usize = 28;

/// Facts about a timeline as a whole.
pub(crate) struct Heading {
    pub(crate) profile: Profile,
    pub(crate) seed: Option<u64>,
    /// Number of events that there were, including those that are not kept.
    pub(crate) events: u64,
}

/// Entries as text, one a line, under a heading.
pub(crate) fn text(heading: &Heading, entries: &[&TimelineEntry]) -> String {
    let mut text = format!("timeline of the in-memory RabbitMQ {}", heading.profile);
    if let Some(seed) = heading.seed {
        let _ = write!(text, ", seed {seed}"); // Writing to a string cannot fail.
    }
    let shown = entries.len() as u64;
    let _ = match heading.events {
        0 => writeln!(text, ": no events"),
        1 => writeln!(text, ": 1 event"),
        events if events > shown => {
            writeln!(text, ": the last {shown} of {events} events")
        }
        events => writeln!(text, ": {events} events"),
    };
    let labels: Vec<_> = entries.iter().map(|entry| label(entry)).collect();
    let widths = labels.iter().map(|label| label.chars().count());
    let width = widths.filter(|width| *width <= WIDEST).max().unwrap_or(0);
    for (entry, label) in entries.iter().zip(&labels) {
        let (at, said) = (offset(entry.at), sentence(&entry.event));
        let _ = writeln!(text, "  {at}  {label:width$}  {said}");
    }
    text
}

/// A time in hours, minutes, seconds and microseconds.
fn offset(at: Duration) -> String {
    let (seconds, micros) = (at.as_secs(), at.subsec_micros());
    let (hours, minutes) = (seconds / 3_600, seconds / 60 % 60);
    format!("{hours:02}:{minutes:02}:{:02}.{micros:06}", seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offset_counts_hours_on_beyond_a_day() {
        assert_eq!(offset(Duration::from_micros(1)), "00:00:00.000001");
        let late = Duration::from_secs(100 * 3_600 + 59 * 60 + 1);
        assert_eq!(offset(late), "100:59:01.000000");
    }

    #[test]
    fn heading_has_the_seed_and_the_number_of_events_that_are_left_out() {
        let heading = |events, seed| Heading {
            profile: Profile::V4_3,
            seed,
            events,
        };
        assert_eq!(
            text(&heading(7, Some(17)), &[]),
            "timeline of the in-memory RabbitMQ 4.3, seed 17: the last 0 of 7 events\n"
        );
        assert_eq!(
            text(&heading(0, None), &[]),
            "timeline of the in-memory RabbitMQ 4.3: no events\n"
        );
    }
}
