//! Erlang's terms as text.

use std::fmt::Write as _;

use crate::profile::Profile;

/// Formats a binary as RabbitMQ's texts show it: between quotation marks if it can be printed, else
/// byte by byte.
pub(crate) fn binary_text(text: &str, profile: Profile) -> String {
    if text.is_ascii() && text.chars().all(is_printable) {
        return match text {
            "" => "<<>>".into(),
            _ => format!("<<\"{}\">>", escaped(text)),
        };
    }
    if profile.prints_unicode() {
        if text.chars().all(is_printable) {
            return format!("<<\"{}\"/utf8>>", escaped(text));
        }
    } else if text.bytes().map(char::from).all(is_printable) {
        // RabbitMQ takes the bytes for letters of Latin-1, and writes them as they are.
        return format!("<<\"{}\">>", escaped(text));
    }
    let bytes: Vec<_> = text.bytes().map(|byte| byte.to_string()).collect();
    format!("<<{}>>", bytes.join(","))
}

/// Formats an atom as RabbitMQ's texts show it: between quotation marks if its name is not one
/// plain word.
pub(crate) fn atom_text(name: &str) -> String {
    if name.bytes().all(|byte| byte.is_ascii_lowercase()) {
        name.into()
    } else {
        format!("'{name}'")
    }
}

pub(super) fn is_printable(letter: char) -> bool {
    match letter {
        '\u{8}'..='\u{d}' | '\u{1b}' => true,
        '\u{7f}'..='\u{9f}' | '\u{fffe}' | '\u{ffff}' => false,
        letter => letter >= ' ',
    }
}

pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        let short = match letter {
            '"' | '\\' => letter,
            '\u{8}' => 'b',
            '\t' => 't',
            '\n' => 'n',
            '\u{b}' => 'v',
            '\u{c}' => 'f',
            '\r' => 'r',
            '\u{1b}' => 'e',
            _ => {
                escaped.push(letter);
                continue;
            }
        };
        // Writing to a string does not fail.
        let _ = write!(escaped, "\\{short}");
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Texts from RabbitMQ 3.10.8, 4.0.5 and 4.3.6.
    #[test]
    fn binaries_are_shown_as_erlang_shows_them() {
        for (text, before, since) in [
            ("", "<<>>", "<<>>"),
            ("abc", "<<\"abc\">>", "<<\"abc\">>"),
            ("a\"b\\", "<<\"a\\\"b\\\\\">>", "<<\"a\\\"b\\\\\">>"),
            ("a\nb", "<<\"a\\nb\">>", "<<\"a\\nb\">>"),
            ("\u{1}", "<<1>>", "<<1>>"),
            ("é", "<<\"é\">>", "<<\"é\"/utf8>>"),
            ("ÿ", "<<\"ÿ\">>", "<<\"ÿ\"/utf8>>"),
            ("日", "<<230,151,165>>", "<<\"日\"/utf8>>"),
            ("é日", "<<195,169,230,151,165>>", "<<\"é日\"/utf8>>"),
        ] {
            assert_eq!(binary_text(text, Profile::V3_10), before);
            assert_eq!(binary_text(text, Profile::V4_0), since);
            assert_eq!(binary_text(text, Profile::V4_3), since);
        }
    }
}
