//! Clients, messages and lists of queues in words.

use std::fmt::Write;
use std::str;

use mooq_core::QueueName;
use mooq_engine::{MessageExcerpt, TimelineClient, TimelineEntry};

/// Number of characters of a body that are shown.
const SHOWN: usize = 48;

/// The client of an entry with its channel, or the broker.
pub(super) fn label(entry: &TimelineEntry) -> String {
    match &entry.client {
        Some(client) if client.channel == 0 => connection(client),
        Some(client) => format!("{} ch {}", connection(client), client.channel),
        None => "broker".to_owned(),
    }
}

/// A connection by its name and number. Its name alone would not do: a client that reconnects has
/// the same name.
pub(super) fn connection(client: &TimelineClient) -> String {
    let name = client.name.as_deref().filter(|name| !name.is_empty());
    let name = one_line(name.unwrap_or("client"));
    match client.connection {
        0 => name, // Its login was refused.
        number => format!("{name}#{number}"),
    }
}

/// The beginning of a body, the size of the body if that is not all, and the message's id.
pub(super) fn body(message: &MessageExcerpt) -> String {
    let (mut text, is_whole) = beginning(message);
    if !is_whole {
        let _ = write!(text, "… ({} bytes)", message.size); // Writing to a string cannot fail.
    }
    if let Some(id) = &message.message_id {
        let _ = write!(text, ", id {}", quoted(id));
    }
    text
}

/// A body's first characters if it is text, otherwise its first bytes, and true if that is all.
fn beginning(message: &MessageExcerpt) -> (String, bool) {
    let body = &*message.body;
    let is_cut = body.len() < message.size;
    let text = match str::from_utf8(body) {
        Ok(text) => text,
        // The last character is cut in two.
        Err(cut) if is_cut && cut.error_len().is_none() => {
            let whole = body.get(..cut.valid_up_to()).unwrap_or_default();
            str::from_utf8(whole).unwrap_or_default()
        }
        Err(_) => {
            let mut text = String::from("0x");
            for byte in body.iter().take(SHOWN / 2) {
                let _ = write!(text, "{byte:02x}");
            }
            return (text, !is_cut && body.len() <= SHOWN / 2);
        }
    };
    let shown: String = text.chars().take(SHOWN).collect();
    let is_whole = !is_cut && shown.len() == text.len();
    (one_line(&shown), is_whole)
}

/// Text without line breaks and other control characters, which would break the table.
fn one_line(text: &str) -> String {
    let mut line = String::new();
    for character in text.chars() {
        match character.is_control() {
            true => line.extend(character.escape_default()),
            false => line.push(character),
        }
    }
    line
}

/// A name in quotes, so that an empty name can be seen.
pub(super) fn quoted(name: &str) -> String {
    format!("{name:?}")
}

/// Names of queues, in the order of the routing.
pub(super) fn queues(names: &[QueueName]) -> String {
    let names: Vec<_> = names.iter().map(|name| quoted(name)).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use mooq_core::Message;

    use super::*;

    fn shown(bytes: impl Into<Bytes>) -> String {
        body(&MessageExcerpt::of(&Message {
            exchange: Default::default(),
            routing_key: Default::default(),
            properties: Default::default(),
            body: bytes.into(),
        }))
    }

    #[test]
    fn body_is_shown_on_one_line_with_its_size_if_it_is_cut() {
        assert_eq!(shown("a\nb\u{1b}"), "a\\nb\\u{1b}");
        assert_eq!(shown(""), "");
        assert_eq!(shown("x".repeat(48)), "x".repeat(48));
        let cut = format!("{}… (49 bytes)", "x".repeat(48));
        assert_eq!(shown("x".repeat(49)), cut);
    }

    #[test]
    fn body_that_is_cut_within_a_character_is_still_text() {
        // 64 bytes are kept: 21 characters of three bytes, and a third of the next.
        let cut = format!("{}… (90 bytes)", "€".repeat(21));
        assert_eq!(shown("€".repeat(30)), cut);
    }

    #[test]
    fn body_that_is_no_text_is_shown_as_bytes() {
        assert_eq!(shown(vec![0, 255]), "0x00ff");
        let cut = format!("0x{}… (25 bytes)", "ff".repeat(24));
        assert_eq!(shown(vec![255; 25]), cut);
        // A body that ends within a character is no text, unless it was cut there.
        assert_eq!(shown(vec![b'a', 0xe2]), "0x61e2");
    }
}
