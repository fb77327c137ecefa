//! Values as text in a failure's message.

use std::fmt::Write;

use mooq_core::QueueName;

/// Number of characters of a body that are shown.
const SHOWN: usize = 200;

/// `text`, or its beginning and its length if it is too long.
pub(super) fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        None => text.to_owned(),
        Some((end, _)) => {
            let beginning = text.get(..end).unwrap_or_default();
            format!("{beginning}… ({} bytes)", text.len())
        }
    }
}

/// A body as text if it is printable text, otherwise its bytes.
pub(super) fn body(body: &[u8]) -> String {
    match std::str::from_utf8(body) {
        Ok(text) if !text.chars().any(char::is_control) => shortened(text),
        _ => {
            let mut text = String::from("0x");
            for byte in body.iter().take(SHOWN / 2) {
                // Writing to a string cannot fail.
                let _ = write!(text, "{byte:02x}");
            }
            if body.len() > SHOWN / 2 {
                let _ = write!(text, "… ({} bytes)", body.len());
            }
            text
        }
    }
}

/// A name in quotes, so that an empty name can be seen.
pub(super) fn quoted(name: &str) -> String {
    format!("{name:?}")
}

/// Names of queues, in sorted order.
pub(super) fn queues(names: &[QueueName]) -> String {
    let mut names: Vec<_> = names.iter().map(|name| quoted(name)).collect();
    names.sort_unstable();
    match names.as_slice() {
        [] => "no queue".to_owned(),
        names => names.join(", "),
    }
}

/// Lines, each indented by four spaces `depth` times.
pub(super) fn indent(depth: usize, lines: &str) -> String {
    let mut indented = String::new();
    for line in lines.lines() {
        let _ = writeln!(indented, "{:1$}{line}", "", 4 * depth);
    }
    indented
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_shown_as_text_or_as_bytes_and_not_at_any_length() {
        assert_eq!(body(b"{\"a\":1}"), "{\"a\":1}");
        assert_eq!(body(b""), "");
        assert_eq!(body(&[0, 255]), "0x00ff");
        let long = body("ä".repeat(201).as_bytes());
        assert_eq!(long, format!("{}… (402 bytes)", "ä".repeat(200)));
        assert_eq!(
            body(&[1; 101]),
            format!("0x{}… (101 bytes)", "01".repeat(100))
        );
    }
}
