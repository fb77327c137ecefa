//! `mooq queues`.

use clap::Args;
use mooq::QueueName;
use serde_json::{Map, Value};

use crate::broker::BrokerArguments;
use crate::failure::{Failure, Result};
use crate::output;

/// The columns: a heading, and the field of the management API.
const COLUMNS: [(&str, &str); 5] = [
    ("name", "name"),
    ("type", "type"),
    ("ready", "messages_ready"),
    ("unacked", "messages_unacknowledged"),
    ("consumers", "consumers"),
];

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Queues to list; by default all of the virtual host
    queues: Vec<QueueName>,
    /// Prints a line of JSON for each queue
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(broker: &BrokerArguments, arguments: Arguments) -> Result<()> {
    let mut queues = broker.management()?.queues().await?;
    let name = |queue: &Value| queue.get("name").and_then(Value::as_str).map(str::to_owned);
    if !arguments.queues.is_empty() {
        for wanted in &arguments.queues {
            if !queues
                .iter()
                .any(|queue| name(queue).as_deref() == Some(wanted))
            {
                return Err(Failure::nothing_there(format!(
                    "there is no queue '{wanted}'"
                )));
            }
        }
        queues.retain(|queue| {
            let name = name(queue);
            arguments
                .queues
                .iter()
                .any(|wanted| name.as_deref() == Some(wanted))
        });
    }
    queues.sort_by_key(name);
    let lines: Vec<_> = match arguments.json {
        true => queues
            .iter()
            .map(|queue| object(queue).to_string())
            .collect(),
        false => table(&queues),
    };
    for line in lines {
        if !output::line(&line)? {
            return Ok(());
        }
    }
    Ok(())
}

/// A queue with the fields that the table has.
fn object(queue: &Value) -> Value {
    let fields = COLUMNS.iter().map(|(heading, field)| {
        let value = queue.get(field).cloned().unwrap_or(Value::Null);
        ((*heading).to_owned(), value)
    });
    Value::Object(fields.collect::<Map<_, _>>())
}

/// The queues below their headings, in columns. A number that RabbitMQ does not know yet is `-`.
fn table(queues: &[Value]) -> Vec<String> {
    let cell = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    };
    let mut rows = vec![COLUMNS.map(|(heading, _)| heading.to_owned())];
    for queue in queues {
        rows.push(COLUMNS.map(|(_, field)| cell(queue.get(field).unwrap_or(&Value::Null))));
    }
    let mut widths = [0; COLUMNS.len()];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let line = |row: &[String; COLUMNS.len()]| {
        let cells = row.iter().zip(widths).enumerate();
        let cells = cells.map(|(at, (cell, width))| match at {
            0 | 1 => format!("{cell:width$}"),
            _ => format!("{cell:>width$}"), // Numbers.
        });
        cells.collect::<Vec<_>>().join("  ")
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn table_has_a_column_for_each_field() {
        let queues = [
            json!({"name": "orders", "type": "quorum", "messages_ready": 1200, "consumers": 1}),
            json!({"name": "x", "type": "classic", "messages_ready": 0,
                   "messages_unacknowledged": 7, "consumers": 0, "node": "rabbit@here"}),
        ];
        let expected = "\
name    type     ready  unacked  consumers
orders  quorum    1200        -          1
x       classic      0        7          0";
        assert_eq!(table(&queues).join("\n"), expected);
        assert_eq!(
            object(&queues[1]),
            json!({"name": "x", "type": "classic", "ready": 0, "unacked": 7, "consumers": 0})
        );
    }
}
