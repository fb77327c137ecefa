//! Events as a sequence diagram in Mermaid's language.

use std::collections::HashMap;

use mooq_core::{ExchangeName, QueueName};
use mooq_engine::{MessageExcerpt, Settled, TimelineClient, TimelineEntry, TimelineEvent};

use super::names::{body, connection};
use super::sentence::{cause, sentence};

/// Largest size of a diagram. Mermaid draws nothing beyond 50,000 by default.
const MAX_BYTES: usize = 40_000;

/// The last entries as a sequence diagram, as many as there is room for.
pub(crate) fn mermaid(entries: &[&TimelineEntry]) -> String {
    let mut first = 0;
    loop {
        let mut diagram = Diagram::default();
        let shown = entries.get(first..).unwrap_or_default();
        for entry in shown {
            diagram.draw(entry);
        }
        let text = diagram.text();
        if text.len() <= MAX_BYTES || shown.is_empty() {
            return text;
        }
        // An eighth is left out at a time: each costs a drawing.
        first += shown.len().div_ceil(8);
    }
}

/// A diagram so far.
#[derive(Default)]
struct Diagram {
    participants: Vec<(String, String)>,
    lines: Vec<String>,
    /// Identifiers, by what they stand for.
    ids: HashMap<Participant, String>,
    /// Number of identifiers of each sort.
    counts: HashMap<char, usize>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Participant {
    /// A connection's number.
    Client(u64),
    Exchange(ExchangeName),
    Queue(QueueName),
    Broker,
}

impl Diagram {
    fn draw(&mut self, entry: &TimelineEntry) {
        let from = match &entry.client {
            Some(client) => self.client(client),
            None => String::new(),
        };
        match &entry.event {
            // So that a diagram has room for the messages.
            TimelineEvent::Requested(_) | TimelineEvent::FoundEmpty { .. } => {}
            TimelineEvent::Published {
                message,
                sequence,
                queues,
                is_reply,
                ..
            } => {
                let number = sequence.map_or_else(String::new, |number| format!(" #{number}"));
                let verb = format!("publish{number}");
                self.publish(&from, &verb, message, queues, *is_reply);
            }
            TimelineEvent::Delivered {
                queue,
                consumer_tag,
                delivery_tag,
                redelivered,
                message,
                ..
            } => {
                let verb = match consumer_tag {
                    Some(_) if *redelivered => "redeliver",
                    Some(_) => "deliver",
                    None => "get",
                };
                let queue = self.queue(queue);
                let said = format!("{verb} {delivery_tag}: {}", body(message));
                self.arrow(&queue, "->>", &from, &said);
            }
            TimelineEvent::Settled {
                queue: Some(queue),
                delivery_tag,
                outcome,
                ..
            } => {
                let (arrow, verb) = match outcome {
                    Settled::Acked => ("-->>", "ack"),
                    Settled::Requeued => ("-->>", "requeue"),
                    Settled::Rejected => ("--x", "reject"),
                    other => ("-->>", other.as_str()),
                };
                let queue = self.queue(queue);
                self.arrow(&from, arrow, &queue, &format!("{verb} {delivery_tag}"));
            }
            TimelineEvent::GivenBack { queues } => {
                for (queue, count) in queues {
                    let queue = self.queue(queue);
                    self.arrow(&from, "-->>", &queue, &format!("give back {count}"));
                }
            }
            TimelineEvent::DeadLettered {
                queue,
                reason,
                exchange,
                message,
                queues,
            } => {
                let queue = self.queue(queue);
                let cause = cause(*reason);
                match exchange {
                    Some(_) => self.publish(&queue, cause, message, queues, false),
                    None => {
                        let said = format!("dropped ({cause}): {}", body(message));
                        self.note(&queue, &said);
                    }
                }
            }
            TimelineEvent::QueueDeleted { queue, .. } => {
                let queue = self.queue(queue);
                self.note(&queue, "deleted");
            }
            event => {
                let over = match from.is_empty() {
                    true => self.id('b', Participant::Broker, "broker"),
                    false => from,
                };
                self.note(&over, &sentence(event));
            }
        }
    }

    /// Draws a message's way to its queues: the default exchange is not drawn.
    fn publish(
        &mut self,
        from: &str,
        verb: &str,
        message: &MessageExcerpt,
        queues: &[QueueName],
        is_reply: bool,
    ) {
        let said = body(message);
        if message.exchange.is_empty() && !queues.is_empty() {
            for queue in queues {
                let queue = self.queue(queue);
                self.arrow(from, "->>", &queue, &format!("{verb}: {said}"));
            }
            return;
        }
        let name = match &*message.exchange {
            "" => "default exchange".to_owned(),
            name => format!("exchange {name}"),
        };
        let exchange = Participant::Exchange(message.exchange.clone());
        let exchange = self.id('x', exchange, &name);
        let key = &message.routing_key;
        self.arrow(
            from,
            "->>",
            &exchange,
            &format!("{verb}, key {key}: {said}"),
        );
        for queue in queues {
            let queue = self.queue(queue);
            self.arrow(&exchange, "->>", &queue, "route");
        }
        if queues.is_empty() {
            let end = if is_reply { "direct reply" } else { "no queue" };
            self.note(&exchange, end);
        }
    }

    fn client(&mut self, client: &TimelineClient) -> String {
        let participant = Participant::Client(client.connection);
        self.id('c', participant, &connection(client))
    }

    fn queue(&mut self, name: &QueueName) -> String {
        let participant = Participant::Queue(name.clone());
        self.id('q', participant, &format!("queue {name}"))
    }

    /// The identifier of a participant, which appears in the diagram from here on.
    fn id(&mut self, sort: char, participant: Participant, label: &str) -> String {
        if let Some(id) = self.ids.get(&participant) {
            return id.clone();
        }
        let count = self.counts.entry(sort).or_default();
        *count += 1;
        let id = format!("{sort}{count}");
        self.participants.push((id.clone(), escaped(label)));
        self.ids.insert(participant, id.clone());
        id
    }

    fn arrow(&mut self, from: &str, arrow: &str, to: &str, said: &str) {
        let said = escaped(said);
        self.lines.push(format!("{from}{arrow}{to}: {said}"));
    }

    fn note(&mut self, over: &str, said: &str) {
        let said = escaped(said);
        self.lines.push(format!("Note over {over}: {said}"));
    }

    fn text(&self) -> String {
        let mut text = String::from("sequenceDiagram\n");
        for (id, label) in &self.participants {
            text += &format!("    participant {id} as {label}\n");
        }
        for line in &self.lines {
            text += &format!("    {line}\n");
        }
        text
    }
}

/// Text without the characters that have a meaning in Mermaid: the end of a statement, entities,
/// directives, formulas and tags. Line breaks do not come here.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for character in text.chars() {
        match character {
            '#' | ';' | '%' | '$' | '<' | '>' | '&' => {
                escaped += &format!("#{};", u32::from(character));
            }
            other if other.is_control() => escaped.push(' '),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_with_a_meaning_in_mermaid_are_escaped() {
        assert_eq!(
            escaped("a#1; %%{init}%% $$x$$ <b>&\n"),
            "a#35;1#59; #37;#37;{init}#37;#37; #36;#36;x#36;#36; #60;b#62;#38; "
        );
    }
}
