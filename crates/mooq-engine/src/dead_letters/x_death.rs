//! Deaths as RabbitMQ kept them before 3.13: in the header `x-death` itself, which the message's
//! publisher may have written.

use mooq_core::{FieldTable, FieldValue, QueueName};

/// Name of the header.
const X_DEATH: &str = "x-death";

/// Adds `death` to a message's headers.
pub(crate) fn record(headers: &mut FieldTable, death: FieldTable) {
    let deaths = match headers.get(X_DEATH) {
        None => {
            for what in ["reason", "queue", "exchange"] {
                if let Some(value) = death.get(what) {
                    set(headers, &format!("x-first-death-{what}"), value.clone());
                }
            }
            vec![death]
        }
        Some(FieldValue::Array(deaths)) => {
            let mut deaths = grouped(deaths);
            match deaths.iter().position(|other| same(other, &death)) {
                Some(at) => {
                    let mut known = deaths.remove(at);
                    let count = known.get("count").and_then(FieldValue::as_i64);
                    set(&mut known, "count", (count.unwrap_or(0) + 1).into());
                    deaths.insert(0, known);
                }
                None => deaths.insert(0, death),
            }
            deaths
        }
        // A client put something there that is not a list of deaths.
        Some(_) => vec![death],
    };
    let deaths: Vec<FieldValue> = deaths.into_iter().map(FieldValue::Table).collect();
    set(headers, X_DEATH, deaths.into());
}

/// Returns true if a message with these headers has died in `queue` before and was not rejected
/// since.
pub(crate) fn is_cycle(headers: &FieldTable, queue: &QueueName) -> bool {
    let Some(FieldValue::Array(deaths)) = headers.get(X_DEATH) else {
        return false;
    };
    let says = |death: &FieldValue, what: &str, text: &str| match death {
        FieldValue::Table(death) => death.get(what).and_then(FieldValue::as_str) == Some(text),
        _ => false,
    };
    let Some(at) = deaths.iter().position(|death| says(death, "queue", queue)) else {
        return false;
    };
    let since = deaths.iter().take(at + 1);
    // An entry that is not a table came from a client: so the broker was not alone in keeping the
    // message going.
    since.fold(true, |cycle, death| {
        cycle && matches!(death, FieldValue::Table(_)) && !says(death, "reason", "rejected")
    })
}

/// Returns the first death for each queue and reason. RabbitMQ reverses the order whenever it
/// groups more than one death.
fn grouped(deaths: &[FieldValue]) -> Vec<FieldTable> {
    let tables = deaths.iter().filter_map(|death| match death {
        FieldValue::Table(death) => Some(death),
        _ => None,
    });
    let tables: Vec<_> = tables.collect();
    if let [only] = tables[..] {
        return vec![only.clone()];
    }
    let mut groups: Vec<FieldTable> = Vec::new();
    for death in &tables {
        if groups.iter().any(|seen| same(seen, death)) {
            continue;
        }
        let mut group = (*death).clone();
        if group.get("count").is_none() {
            let alike = tables.iter().filter(|other| same(other, death)).count();
            let count = i64::try_from(alike).unwrap_or(i64::MAX);
            set(&mut group, "count", count.into());
        }
        groups.insert(0, group);
    }
    groups
}

/// Returns true if two deaths were in the same queue and for the same reason.
fn same(a: &FieldTable, b: &FieldTable) -> bool {
    ["queue", "reason"]
        .iter()
        .all(|what| a.get(what) == b.get(what))
}

/// Sets one of the broker's own headers, whose names are all short enough.
fn set(table: &mut FieldTable, key: &str, value: FieldValue) {
    if let Ok(key) = key.try_into() {
        table.insert(key, value);
    }
}
