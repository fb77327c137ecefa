//! Erlang terms in RabbitMQ's texts, where Erlang chooses the layout
//! ([`~p`](https://www.erlang.org/doc/apps/stdlib/io.html#fwrite/3)).

use super::text::{escaped, is_printable};

/// Number of columns that Erlang fills, and the first column that has to stay free after a term.
const COLUMNS: usize = 79;

/// Appends `term` to `before`. A tuple of a name and a value is broken between the two if it does
/// not fit on the line, and goes on below the name. Erlang breaks terms so if they begin as far to
/// the right as RabbitMQ's do; elsewhere Erlang has better ways.
pub(crate) fn behind(before: &str, term: &str) -> String {
    let column = before.rsplit('\n').next().unwrap_or(before).chars().count();
    let broken = term.split_once(',').filter(|_| term.starts_with('{'));
    match broken {
        Some((name, value)) if column + term.chars().count() >= COLUMNS => {
            format!("{before}{name},\n{:1$}{value}", "", column + 1)
        }
        _ => format!("{before}{term}"),
    }
}

/// Appends tuples to `before`, each within the one before as its last element. A rest that does not
/// fit on the line goes on in the next line, four columns to the right of its tuple.
pub(crate) fn nested(before: &str, parts: &[&str]) -> String {
    let mut text = before.to_owned();
    // Column of the tuple whose elements come next.
    let mut column = before.chars().count();
    for (at, part) in parts.iter().enumerate() {
        let last_line = text.rsplit('\n').next().unwrap_or(&text).chars().count();
        let rest: usize = parts[at..].iter().map(|part| part.chars().count()).sum();
        if at > 0 && last_line + rest >= COLUMNS {
            text += &format!("\n{:1$}", "", column + 4);
            column += 4;
        } else {
            column = last_line;
        }
        text += part;
    }
    text
}

/// Formats bytes as a string: in quotes if all can be printed, as those of Latin-1 can, or else as
/// a list of numbers. If `is_text` is true, the bytes are written as the text that they are;
/// otherwise each byte is written as a character of Latin-1.
pub(crate) fn string(text: &str, is_text: bool) -> String {
    let latin = text.bytes().map(char::from);
    if !latin.clone().all(is_printable) {
        let numbers: Vec<_> = text.bytes().map(|byte| byte.to_string()).collect();
        return format!("[{}]", numbers.join(","));
    }
    let shown = if is_text {
        escaped(text)
    } else {
        escaped(&latin.collect::<String>())
    };
    format!("\"{shown}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tuple_that_ends_before_column_79_is_not_broken() {
        let before = "n".repeat(78 - "{value_negative,-1}".len());
        let whole = behind(&before, "{value_negative,-1}");
        assert_eq!(whole, format!("{before}{{value_negative,-1}}"));
        let before = format!("{before}n");
        let broken = behind(&before, "{value_negative,-1}");
        let indent = " ".repeat(before.len() + 1);
        assert_eq!(broken, format!("{before}{{value_negative,\n{indent}-1}}"));
    }

    #[test]
    fn nested_tuples_are_broken_where_the_rest_does_not_fit() {
        let of = |name: &str| {
            let name = format!("<<\"{name}\">>}}}}");
            let parts = ["{not_found,", "{resource,<<\"/\">>,queue,", &name];
            nested("failed to deliver message: ", &parts)
        };
        assert_eq!(
            of("ga"),
            r#"failed to deliver message: {not_found,{resource,<<"/">>,queue,<<"ga">>}}"#
        );
        // Texts from RabbitMQ 4.3.
        let indent = " ".repeat(31);
        assert_eq!(
            of("tx-classic-True"),
            format!(
                "failed to deliver message: {{not_found,\n{indent}\
                 {{resource,<<\"/\">>,queue,<<\"tx-classic-True\">>}}}}"
            )
        );
        assert_eq!(
            of("tx-classic-False"),
            format!(
                "failed to deliver message: {{not_found,\n{indent}\
                 {{resource,<<\"/\">>,queue,\n{indent}    <<\"tx-classic-False\">>}}}}"
            )
        );
    }

    #[test]
    fn columns_are_counted_from_the_last_line_break() {
        let before = format!("{}\nb: ", "a".repeat(100));
        assert_eq!(behind(&before, "{x,1}"), format!("{before}{{x,1}}"));
        let before = "a".repeat(100);
        assert_eq!(behind(&before, "no_integer"), format!("{before}no_integer"));
    }

    #[test]
    fn what_cannot_be_printed_makes_a_list_of_a_string() {
        assert_eq!(string("x\t\"\\", true), r#""x\t\"\\""#);
        assert_eq!(string("\u{1}a", true), "[1,97]");
        assert_eq!(string("é", true), "\"é\"");
        assert_eq!(string("é", false), "\"Ã©\"");
        assert_eq!(string("À", false), "[195,128]");
    }
}
