//! The report of a failed assertion.

use std::fmt::Write;

use super::criterion::Criterion;
use super::record::Recorded;
use super::text::indent;
use mooq_engine::Log;

/// Maximum number of records that are listed, and maximum number of differences for one record.
const LISTED: usize = 10;
const DIFFERENCES: usize = 5;

/// `count` of something, for example `3 publishes`.
pub(super) fn count_of<R: Recorded>(count: usize) -> String {
    let [one, several] = R::NAMES;
    match count {
        0 => format!("no {one}"),
        1 => format!("1 {one}"),
        _ => format!("{count} {several}"),
    }
}

/// The criteria, after a line with the expected number of records.
pub(super) fn expectation<R>(head: &str, criteria: &[Criterion<R>]) -> String {
    if criteria.is_empty() {
        return format!("{head}\n");
    }
    let mut text = format!("{head} with\n");
    for criterion in criteria {
        let line = format!("{}: {}", criterion.label, criterion.expected);
        text += &indent(1, &line);
    }
    text
}

/// Reports records that match unexpectedly, or too many of them.
pub(super) fn too_many<R: Recorded>(fitting: &[(usize, &R)], recorded: usize) -> String {
    let colon = if fitting.is_empty() { "" } else { ":" };
    let found = count_of::<R>(fitting.len());
    format!("found {found} among {recorded} recorded{colon}\n") + &listing(fitting)
}

/// Reports too few matching records, the nearest other record, and the list of all records.
pub(super) fn too_few<R: Recorded>(
    criteria: &[Criterion<R>],
    fitting: &[(usize, &R)],
    records: &[R],
) -> String {
    let mut text = format!(
        "found {} among {} recorded",
        count_of::<R>(fitting.len()),
        records.len()
    );
    let fits = |at: usize| fitting.iter().any(|(fitting, _)| *fitting == at);
    let others = numbered(records).filter(|(at, _)| !fits(*at));
    // Among equally near records, this picks the one that was recorded first.
    let nearest = others.min_by_key(|(_, record)| distance(criteria, record));
    match nearest {
        Some((at, record)) => {
            let [one, _] = R::NAMES;
            let _ = writeln!(text, "; the nearest other is {one} {at}:");
            text += &comparison(criteria, record);
            let [_, several] = R::NAMES;
            let _ = writeln!(text, "recorded {several}:");
            text += &listing(&numbered(records).collect::<Vec<_>>());
        }
        None => text += "\n",
    }
    text
}

/// Reports that the recording was full, if it was.
pub(super) fn overflow(log: &Log) -> String {
    match log.missed() {
        0 => String::new(),
        missed => format!(
            "the recording was full at its limit of {}: {missed} more came and are not in it\n",
            log.limit()
        ),
    }
}

/// Records with their numbers, from 1.
pub(super) fn numbered<R>(records: &[R]) -> impl Iterator<Item = (usize, &R)> {
    (1..).zip(records)
}

/// Distance of a record from the criteria: the number of criteria that it does not meet, and then
/// the number of places where it differs.
fn distance<R>(criteria: &[Criterion<R>], record: &R) -> (usize, usize) {
    let findings = criteria.iter().map(|criterion| criterion.check(record));
    findings
        .filter(|finding| !finding.fits)
        .fold((0, 0), |(missed, places), finding| {
            (missed + 1, places + finding.differences.len())
        })
}

fn comparison<R>(criteria: &[Criterion<R>], record: &R) -> String {
    let mut text = String::new();
    for criterion in criteria {
        let finding = criterion.check(record);
        let differs = if finding.fits { "" } else { " (differs)" };
        let line = format!("{}: {}{differs}", criterion.label, finding.actual);
        text += &indent(1, &line);
        for difference in finding.differences.iter().take(DIFFERENCES) {
            text += &indent(2, difference);
        }
        if let Some(more) = finding.differences.len().checked_sub(DIFFERENCES)
            && more > 0
        {
            text += &indent(2, &format!("and in {more} more places"));
        }
    }
    text
}

fn listing<R: Recorded>(records: &[(usize, &R)]) -> String {
    let mut text = String::new();
    for (at, record) in records.iter().take(LISTED) {
        text += &indent(1, &format!("{at}: {}", record.summary()));
    }
    if let Some(more) = records.len().checked_sub(LISTED)
        && more > 0
    {
        text += &indent(1, &format!("and {more} more"));
    }
    text
}
