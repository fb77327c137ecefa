//! The line breaks in long terms, as Erlang places them
//! ([`~p`](https://www.erlang.org/doc/apps/stdlib/io.html#fwrite/3)).

use super::phash2::Term;
use super::text::{Binary, atom_text, binary, float_text, string};
use crate::profile::Profile;

/// Length of a line, of which the last column stays free.
const LINE: usize = 80;

/// A term as text that can be broken into lines.
#[derive(Debug)]
pub(crate) struct Layout {
    shape: Shape,
    /// Number of columns that the term takes on one line.
    width: usize,
}

#[derive(Debug)]
enum Shape {
    /// Text that is never broken.
    Whole(String),
    /// A binary that cannot be printed, as the numbers of its bytes.
    Bytes(Vec<String>),
    Tuple(Vec<Layout>),
    List(Vec<Layout>),
}

impl Layout {
    /// Lays out a term.
    pub(crate) fn of(term: &Term<'_>, profile: Profile) -> Self {
        let all = |elements: &[Term<'_>]| elements.iter().map(|e| Self::of(e, profile)).collect();
        match term {
            Term::Atom(name) => Self::whole(atom_text(name)),
            Term::Integer(value) => Self::whole(value.to_string()),
            Term::Float(value) => Self::whole(float_text(*value)),
            Term::Binary(bytes) => Self::binary(bytes, profile),
            Term::Tuple(elements) => Self::tuple(all(elements)),
            Term::List(elements) => Self::list(all(elements)),
        }
    }

    /// Lays out text that is never broken.
    pub(crate) fn whole(text: impl Into<String>) -> Self {
        let text = text.into();
        Self {
            width: text.chars().count(),
            shape: Shape::Whole(text),
        }
    }

    pub(crate) fn tuple(elements: Vec<Self>) -> Self {
        Self {
            width: width_of(&elements),
            shape: Shape::Tuple(elements),
        }
    }

    fn list(elements: Vec<Self>) -> Self {
        if elements.is_empty() {
            return Self::whole("[]");
        }
        Self {
            width: width_of(&elements),
            shape: Shape::List(elements),
        }
    }

    /// Lays out a binary: between quotation marks if it can be printed, else byte by byte.
    pub(crate) fn binary(bytes: &[u8], profile: Profile) -> Self {
        match binary(bytes, profile) {
            Binary::Printable { text, width } => Self {
                width,
                shape: Shape::Whole(text),
            },
            Binary::Bytes(numbers) => Self {
                width: numbers.iter().map(|number| number.len() + 1).sum::<usize>() + 3,
                shape: Shape::Bytes(numbers),
            },
        }
    }

    /// Lays out a list of bytes: as a string if all are printable characters of Latin-1, else as a
    /// list of numbers. If `is_text` is true, the bytes are written as the text that they are;
    /// otherwise each byte is written as a character of Latin-1.
    pub(crate) fn string(text: &str, is_text: bool) -> Self {
        match string(text, is_text) {
            Some((text, width)) => Self {
                width,
                shape: Shape::Whole(text),
            },
            None => Self::list(text.bytes().map(|b| Self::whole(b.to_string())).collect()),
        }
    }

    /// Appends the term to `before`, with line breaks if it does not fit on the line.
    pub(crate) fn after(&self, before: &str, profile: Profile) -> String {
        let column = column_after(before, profile);
        let fits = self.width + column < LINE;
        let indents = [Indent::BelowElements, Indent::Narrow, Indent::Least];
        let indents = indents.into_iter().filter(|_| !fits);
        for indent in indents {
            let mut page = Page {
                text: before.to_owned(),
                indent,
                total: self.width,
            };
            if page.print(self, column, 0).is_ok() {
                return page.text;
            }
        }
        let mut text = before.to_owned();
        self.write(&mut text);
        text
    }

    /// Appends the term to `text`, on one line.
    fn write(&self, text: &mut String) {
        let elements = match &self.shape {
            Shape::Whole(whole) => return text.push_str(whole),
            Shape::Bytes(numbers) => {
                *text += "<<";
                *text += &numbers.join(",");
                *text += ">>";
                return;
            }
            Shape::Tuple(elements) | Shape::List(elements) => elements,
        };
        let (opening, closing) = self.brackets();
        text.push(opening);
        for (at, element) in elements.iter().enumerate() {
            if at > 0 {
                text.push(',');
            }
            element.write(text);
        }
        text.push(closing);
    }

    fn brackets(&self) -> (char, char) {
        match self.shape {
            Shape::List(_) => ('[', ']'),
            _ => ('{', '}'),
        }
    }

    fn is_whole(&self) -> bool {
        matches!(self.shape, Shape::Whole(_))
    }

    /// True if the first element of a tuple is an atom.
    fn is_atom(&self) -> bool {
        let atom = |text: &str| text.starts_with(|first: char| first.is_ascii_lowercase());
        matches!(&self.shape, Shape::Whole(text) if atom(text))
    }
}

/// Returns the width of a tuple or list of these elements.
fn width_of(elements: &[Layout]) -> usize {
    let commas = elements.len().saturating_sub(1);
    elements.iter().map(|e| e.width).sum::<usize>() + commas + 2
}

/// Returns the column that follows a text. The first column is 1.
fn column_after(text: &str, profile: Profile) -> usize {
    let line = text.rsplit('\n').next().unwrap_or(text);
    let columns = line.chars().fold(0, |column: usize, letter| match letter {
        '\t' => (column + 8) / 8 * 8,
        _ if profile.prints_unicode() => column + 1,
        letter => column + letter.len_utf8(),
    });
    columns + 1
}

/// The indentation of lines that continue a tuple.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Indent {
    /// Below the element that follows the tuple's name.
    BelowElements,
    /// Four columns to the right of the tuple.
    Narrow,
    /// One column to the right of the tuple, wherever that is.
    Least,
}

impl Indent {
    /// Returns the width of the indentation for a tuple whose elements begin `elements` columns to
    /// its right, if the elements do not decide.
    fn fixed(self, elements: usize) -> Option<usize> {
        let width = match self {
            Self::BelowElements => return None,
            Self::Narrow => 4,
            Self::Least => 1,
        };
        (elements > width).then_some(width)
    }
}

/// Too little room to the right of an indentation.
struct NoRoom;

/// The text of a term that does not fit on one line.
struct Page {
    text: String,
    indent: Indent,
    /// Width of the whole term.
    total: usize,
}

impl Page {
    /// Appends a term that begins in `column` and is followed by so many closing brackets.
    fn print(&mut self, term: &Layout, column: usize, closing: usize) -> Result<(), NoRoom> {
        if term.width + column + closing < LINE {
            term.write(&mut self.text);
            return Ok(());
        }
        let (opening, end) = term.brackets();
        match &term.shape {
            Shape::Whole(text) => self.text.push_str(text),
            Shape::Bytes(numbers) => self.bytes(numbers, column + 2, closing),
            Shape::Tuple(elements) | Shape::List(elements) => {
                self.text.push(opening);
                match elements.split_first() {
                    Some((tag, rest)) if opening == '{' && tag.is_atom() && !rest.is_empty() => {
                        self.tagged(tag, rest, column, closing)?;
                    }
                    _ => self.elements(elements, column + 1, closing)?,
                }
                self.text.push(end);
            }
        }
        Ok(())
    }

    /// Appends the elements of a tuple that begins in `column` with an atom.
    fn tagged(
        &mut self,
        tag: &Layout,
        rest: &[Layout],
        column: usize,
        closing: usize,
    ) -> Result<(), NoRoom> {
        tag.write(&mut self.text);
        let elements = tag.width + 2;
        if let Some(width) = self.indent.fixed(elements) {
            let left = column + width;
            self.check_room(self.total + left <= LINE || left <= LINE / 2)?;
            return self.tail(rest, left, column + elements, closing);
        }
        let left = column + elements;
        self.check_room(self.total + left < LINE || left < LINE / 2)?;
        self.text.push(',');
        self.elements(rest, left, closing)
    }

    fn check_room(&self, is_there: bool) -> Result<(), NoRoom> {
        if is_there || self.indent == Indent::Least {
            Ok(())
        } else {
            Err(NoRoom)
        }
    }

    /// Appends elements that begin in `left`, all of them with commas between them.
    fn elements(&mut self, all: &[Layout], left: usize, closing: usize) -> Result<(), NoRoom> {
        let Some((first, rest)) = all.split_first() else {
            return Ok(());
        };
        let last = if rest.is_empty() { closing + 1 } else { 0 };
        let width = self.element(first, left, last)?;
        self.tail(rest, left, left + width, closing)
    }

    /// Appends elements that follow others up to `column`. New lines begin in `left`.
    fn tail(
        &mut self,
        rest: &[Layout],
        left: usize,
        mut column: usize,
        closing: usize,
    ) -> Result<(), NoRoom> {
        for (at, element) in rest.iter().enumerate() {
            let is_last = at + 1 == rest.len();
            let last = if is_last { closing + 1 } else { 0 };
            self.text.push(',');
            if element.is_whole() && 1 + element.width + column + last.max(1) < LINE {
                element.write(&mut self.text);
                column += 1 + element.width;
            } else {
                self.break_line(left);
                column = left + self.element(element, left, last)?;
            }
        }
        Ok(())
    }

    /// Appends an element, and returns its width. Nothing follows a tuple or a list on its line.
    fn element(
        &mut self,
        element: &Layout,
        column: usize,
        closing: usize,
    ) -> Result<usize, NoRoom> {
        self.print(element, column, closing)?;
        let ends_line = !element.is_whole() || element.width + column + closing >= LINE;
        Ok(if ends_line { LINE } else { element.width })
    }

    /// Appends the bytes of a binary, from `left` on.
    fn bytes(&mut self, numbers: &[String], left: usize, closing: usize) {
        let room = LINE.saturating_sub(left + closing).max(8);
        let mut free = room;
        self.text += "<<";
        for (at, number) in numbers.iter().enumerate() {
            let is_last = at + 1 == numbers.len();
            let width = number.len() + usize::from(!is_last);
            if width > free {
                self.break_line(left);
                free = room;
            }
            free = free.saturating_sub(width);
            self.text += number;
            if !is_last {
                self.text.push(',');
            }
        }
        self.text += ">>";
    }

    /// Begins a new line, whose first character goes to `column`.
    fn break_line(&mut self, column: usize) {
        self.text.push('\n');
        self.text.extend(std::iter::repeat_n(' ', column - 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn atom(name: &str) -> Layout {
        Layout::whole(name)
    }

    fn after(column: usize, layout: &Layout) -> String {
        let before = "n".repeat(column);
        let text = layout.after(&before, Profile::V4_3);
        text[column..].to_owned()
    }

    #[test]
    fn a_tuple_that_ends_before_column_79_is_not_broken() {
        let tuple = Layout::tuple(vec![atom("value_negative"), atom("-1")]);
        let width = "{value_negative,-1}".len();
        assert_eq!(after(78 - width, &tuple), "{value_negative,-1}");
        let indent = " ".repeat(79 - width + 1);
        assert_eq!(
            after(79 - width, &tuple),
            format!("{{value_negative,\n{indent}-1}}")
        );
    }

    #[test]
    fn nested_tuples_are_broken_where_the_rest_does_not_fit() {
        let of = |name: &str| {
            let binary = |text: &str| Layout::binary(text.as_bytes(), Profile::V4_3);
            let resource = vec![atom("resource"), binary("/"), atom("queue"), binary(name)];
            let term = Layout::tuple(vec![atom("not_found"), Layout::tuple(resource)]);
            term.after("failed to deliver message: ", Profile::V4_3)
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
    fn numbers_fill_lines_and_tuples_have_lines_of_their_own() {
        // Texts from RabbitMQ 3.10.8, 4.0.5 and 4.3.6.
        let ones = Layout::string(&"\u{1}".repeat(20), false);
        let leftover = Layout::tuple(vec![atom("leftover_string"), ones]);
        assert_eq!(
            after(44, &leftover),
            format!(
                "{{leftover_string,\n{0}[{1}\n{0} 1,1,1,1]}}",
                " ".repeat(45),
                "1,".repeat(16)
            )
        );
        let bytes = Layout::tuple(vec![
            atom("binary"),
            Layout::binary(&[0; 40], Profile::V4_3),
        ]);
        assert_eq!(
            after(11, &Layout::list(vec![bytes])),
            format!(
                "[{{binary,<<{}\n{:22}{}0>>}}]",
                "0,".repeat(27),
                "",
                "0,".repeat(12)
            )
        );
        let text = || Layout::tuple(vec![atom("longstr"), atom("<<\"xxxxxxxxxx\">>")]);
        let array = Layout::tuple(vec![
            atom("array"),
            Layout::list(vec![text(), text(), text()]),
        ]);
        let below = format!("\n{:20}", "");
        assert_eq!(
            after(11, &Layout::list(vec![array])),
            format!(
                "[{{array,[{0},{below}{0},{below}{0}]}}]",
                "{longstr,<<\"xxxxxxxxxx\">>}"
            )
        );
    }

    #[test]
    fn columns_are_counted_from_the_last_line_break() {
        let tuple = Layout::tuple(vec![atom("x"), atom("1")]);
        let before = format!("{}\nb: ", "a".repeat(100));
        assert_eq!(
            tuple.after(&before, Profile::V4_3),
            format!("{before}{{x,1}}")
        );
        let before = "a".repeat(100);
        let whole = atom("no_integer").after(&before, Profile::V4_3);
        assert_eq!(whole, format!("{before}no_integer"));
    }

    #[test]
    fn letters_formerly_count_as_their_bytes() {
        let before = "é".repeat(40);
        let tuple = Layout::tuple(vec![atom("x"), atom("1")]);
        let broken = format!("{before}{{x,\n{:81}1}}", "");
        assert_eq!(tuple.after(&before, Profile::V3_10), broken);
        assert_eq!(
            tuple.after(&before, Profile::V4_0),
            format!("{before}{{x,1}}")
        );
    }

    #[test]
    fn unprintable_characters_make_a_list_of_a_string() {
        let string = |text, is_text| Layout::string(text, is_text).after("", Profile::V4_3);
        assert_eq!(string("x\t\"\\", true), r#""x\t\"\\""#);
        assert_eq!(string("\u{1}a", true), "[1,97]");
        assert_eq!(string("é", true), "\"é\"");
        assert_eq!(string("é", false), "\"Ã©\"");
        assert_eq!(string("À", false), "[195,128]");
    }
}
