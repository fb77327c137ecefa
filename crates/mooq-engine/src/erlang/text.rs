//! Erlang's terms as text.

use std::fmt::Write as _;

use crate::profile::Profile;

/// A binary as RabbitMQ's texts show it.
#[derive(Debug)]
pub(super) enum Binary {
    /// Text between quotation marks, and the number of columns that Erlang counts for it.
    Printable { text: String, width: usize },
    /// The numbers of the bytes.
    Bytes(Vec<String>),
}

/// Formats a binary: between quotation marks if it can be printed, else byte by byte.
pub(super) fn binary(bytes: &[u8], profile: Profile) -> Binary {
    let latin = || bytes.iter().copied().map(char::from);
    let text = std::str::from_utf8(bytes).ok();
    let unicode = text.filter(|text| profile.prints_unicode() && text.chars().all(is_printable));
    let (quoted, width) = match unicode {
        _ if bytes.is_empty() => ("<<>>".into(), 4),
        Some(text) => {
            let encoding = if text.is_ascii() { "" } else { "/utf8" };
            let text = format!("<<\"{}\"{encoding}>>", escaped(text));
            let width = text.chars().count();
            (text, width)
        }
        None if latin().all(is_printable) => {
            let escaped_latin = escaped(&latin().collect::<String>());
            let width = escaped_latin.chars().count() + 6;
            // RabbitMQ takes the bytes for letters of Latin-1. Formerly it writes them as they are.
            let text = if profile.prints_unicode() {
                escaped_latin
            } else {
                escaped(&String::from_utf8_lossy(bytes))
            };
            (format!("<<\"{text}\">>"), width)
        }
        None => return Binary::Bytes(bytes.iter().map(u8::to_string).collect()),
    };
    Binary::Printable {
        text: quoted,
        width,
    }
}

/// Formats a list of bytes as a string between quotation marks, with the number of columns that
/// Erlang counts for it, if each byte is a printable character of Latin-1. If `is_text` is true,
/// the bytes are written as the text that they are; otherwise each byte is written as a character
/// of Latin-1.
pub(super) fn string(text: &str, is_text: bool) -> Option<(String, usize)> {
    let latin: String = text.bytes().map(char::from).collect();
    if !latin.chars().all(is_printable) {
        return None;
    }
    let latin = escaped(&latin);
    let width = latin.chars().count() + 2;
    let shown = if is_text { escaped(text) } else { latin };
    Some((format!("\"{shown}\""), width))
}

/// Formats a string: between quotation marks if all of its characters are printable and of Latin-1,
/// else as a list of numbers. Formerly each byte counts as a character.
pub(crate) fn string_text(text: &str, profile: Profile) -> String {
    let is_latin = |letter: char| letter <= '\u{ff}' && is_printable(letter);
    let numbers: Vec<_> = if profile.prints_unicode() {
        if text.chars().all(is_latin) {
            return format!("\"{}\"", escaped(text));
        }
        text.chars().map(|c| u32::from(c).to_string()).collect()
    } else {
        if let Some((text, _)) = string(text, true) {
            return text;
        }
        text.bytes().map(|byte| byte.to_string()).collect()
    };
    format!("[{}]", numbers.join(","))
}

/// Formats a float with as few digits as tell it from others: as a decimal fraction or with an
/// exponent, whichever is shorter.
pub(super) fn float_text(value: f64) -> String {
    /// From here on neighbouring floats are more than one apart.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let scientific = format!("{value:e}");
    let (number, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let dot = if number.contains('.') { "" } else { ".0" };
    let scientific = format!("{number}{dot}e{exponent}");
    let plain = format!("{value:?}");
    let is_shorter = plain.len() <= scientific.len() && !plain.contains('e');
    if value.abs() < EXACT && (is_shorter || exponent == "0") {
        plain
    } else {
        scientific
    }
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
    use super::super::layout::Layout;
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
            for (profile, shown) in [
                (Profile::V3_10, before),
                (Profile::V4_0, since),
                (Profile::V4_3, since),
            ] {
                let binary = Layout::binary(text.as_bytes(), profile);
                assert_eq!(binary.after("", profile), shown);
            }
        }
    }

    #[test]
    fn floats_are_as_short_as_can_be() {
        // Texts from RabbitMQ 3.10.8, 4.0.5 and 4.3.6.
        for (value, text) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (10.0, "10.0"),
            (100.0, "100.0"),
            (1000.0, "1.0e3"),
            (99_999.0, "99999.0"),
            (120_000.0, "1.2e5"),
            (1_234_567.5, "1234567.5"),
            (123_456_780_000_000.0, "1.2345678e14"),
            (4_503_599_627_370_496.0, "4503599627370496.0"),
            (9_007_199_254_740_991.0, "9007199254740991.0"),
            (9_007_199_254_740_992.0, "9.007199254740992e15"),
            (1e21, "1.0e21"),
            (0.01, "0.01"),
            (0.0003, "0.0003"),
            (0.012_345, "0.012345"),
            (0.000_01, "1.0e-5"),
            (0.000_012_34, "1.234e-5"),
            (f64::from(0.1_f32), "0.10000000149011612"),
        ] {
            assert_eq!(float_text(value), text);
        }
    }
}
