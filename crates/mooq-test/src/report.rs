//! The timeline of a test that fails: what is printed, and the file with all of it.

use std::env;
use std::fs;
use std::io;
use std::num::ParseIntError;
use std::path::{Path, PathBuf};

use mooq_core::{Error, ErrorKind, Result};
use mooq_memory::Timeline;

/// The variable that says what is printed.
const VARIABLE: &str = "MOOQ_TEST_TIMELINE";

/// The variable that names the directory of the files.
const DIRECTORY_VARIABLE: &str = "MOOQ_TEST_TIMELINE_DIR";

/// Number of events that are kept for each test.
pub(crate) const KEPT: usize = 1_000;

/// Number of events that are printed, unless the variable asks for another.
const PRINTED: usize = 100;

/// What is printed when a test fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Number of events; 0 for no timeline at all.
    events: usize,
    /// True if the diagram is printed too, below the text.
    diagram: bool,
}

impl Wanted {
    /// The wishes of the environment.
    ///
    /// # Errors
    /// `InvalidArgument` if the variable has an unknown value.
    pub(crate) fn from_env() -> Result<Self> {
        match env::var(VARIABLE) {
            Ok(value) => Self::parse(&value),
            Err(env::VarError::NotPresent) => Self::parse(""),
            Err(err @ env::VarError::NotUnicode(_)) => Err(invalid("not text").with_source(err)),
        }
    }

    fn parse(value: &str) -> Result<Self> {
        let events = match value {
            "" | "mermaid" => PRINTED,
            "all" => usize::MAX,
            "off" => 0,
            number => number
                .parse()
                .map_err(|err: ParseIntError| invalid(&format!("'{number}'")).with_source(err))?,
        };
        let diagram = value == "mermaid";
        Ok(Self { events, diagram })
    }

    /// True if nothing is printed, so that no timeline is kept.
    pub(crate) fn is_off(self) -> bool {
        self.events == 0
    }
}

fn invalid(what: &str) -> Error {
    Error::new(
        ErrorKind::InvalidArgument,
        format!("{VARIABLE} is {what}, expected a number of events, all, mermaid or off"),
    )
}

/// Prints a timeline to standard error, which `cargo test` shows for tests that fail. If `file`
/// names the test, writes all events and the diagram to a file, and prints its path.
pub(crate) fn print(timeline: &Timeline, wanted: Wanted, file: Option<&str>) {
    if wanted.is_off() || timeline.is_empty() {
        return;
    }
    eprint!("{}", timeline.text(wanted.events));
    if wanted.diagram {
        eprint!("{}", fenced("mermaid", &timeline.mermaid(wanted.events)));
    }
    if let Some(test) = file {
        match write(timeline, test) {
            Ok(path) => eprintln!("all of it, and as a diagram: {}", path.display()),
            Err(err) => eprintln!("the timeline cannot be written to a file: {err}"),
        }
    }
}

/// Writes a Markdown file, which many viewers show with the diagram drawn.
fn write(timeline: &Timeline, test: &str) -> io::Result<PathBuf> {
    let directory = directory()?;
    fs::create_dir_all(&directory).map_err(|err| named(&directory, &err))?;
    let name = test.replace("::", ".").replace(' ', "-");
    let path = directory.join(format!("{name}.md"));
    let content = format!(
        "# {test}\n\n{}\n{}",
        fenced("mermaid", &timeline.mermaid(usize::MAX)),
        fenced("text", &timeline.text(usize::MAX))
    );
    fs::write(&path, content).map_err(|err| named(&path, &err))?;
    Ok(path)
}

/// The directory that the environment names, or one beside the directory of the test's binary:
/// `target/debug/mooq-timelines`.
fn directory() -> io::Result<PathBuf> {
    if let Some(directory) = env::var_os(DIRECTORY_VARIABLE) {
        return Ok(directory.into());
    }
    let binary = env::current_exe()?;
    let deps = binary.parent().filter(|parent| parent.ends_with("deps"));
    let beside = match deps.and_then(Path::parent) {
        Some(profile) => profile.to_owned(),
        // A doctest's binary, for example, is in a directory that goes with it.
        None => env::temp_dir(),
    };
    Ok(beside.join("mooq-timelines"))
}

/// Adds the path to an error.
fn named(path: &Path, err: &io::Error) -> io::Error {
    io::Error::new(err.kind(), format!("{}: {err}", path.display()))
}

fn fenced(language: &str, text: &str) -> String {
    format!("```{language}\n{text}```\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeline_variable_is_a_number_of_events_or_a_word() {
        let events = |value| Wanted::parse(value).unwrap().events;
        assert_eq!(
            ["", "mermaid", "20", "0", "off"].map(events),
            [100, 100, 20, 0, 0]
        );
        assert_eq!(events("all"), usize::MAX);
        assert!(Wanted::parse("mermaid").unwrap().diagram);
        assert!(!Wanted::parse("").unwrap().diagram);
        assert_eq!(
            Wanted::parse("none").unwrap_err().to_string(),
            "MOOQ_TEST_TIMELINE is 'none', expected a number of events, all, mermaid or off"
        );
    }
}
