//! Checks of the pages in docs/ about RabbitMQ's behaviour against the scenarios.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, thread};

use mooq_conformance::{Version, in_memory, refusals, scenarios, suite};
use mooq_integration_tests::faults::cases;

/// Variable that, set to 1, makes the tests write the pages instead of comparing them.
const UPDATE: &str = "MOOQ_UPDATE_DOCS";

/// Minimum number of errors that scenarios compare word for word.
const FEWEST_ERRORS: usize = 60;

/// A row of a table: a rule, and the scenarios that show it.
struct Rule {
    text: String,
    /// Scenarios as `file::scenario`, or `file::*` for all of a file; `faults::case` is a case of
    /// that suite.
    scenarios: Vec<String>,
}

fn page(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../docs")
        .join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(page(name)).expect("the page in docs/ can be read")
}

/// The rules of RabbitMQ, and those of mooq's own.
const PAGES: [&str; 2] = ["behaviour.md", "delivery-guarantees.md"];

/// The rules of all pages.
fn rules() -> Vec<Rule> {
    PAGES.into_iter().flat_map(rules_of).collect()
}

/// The rules of a page: the rows of its tables whose last column names scenarios.
fn rules_of(page: &str) -> Vec<Rule> {
    let page = read(page);
    let rows = page.lines().filter_map(|line| {
        let row = line.strip_prefix("| ")?.strip_suffix(" |")?;
        let (text, shown_by) = row.rsplit_once(" | ")?;
        let scenarios = shown_by.split('`').skip(1).step_by(2).map(str::to_owned);
        (text != "Rule").then(|| Rule {
            text: text.to_owned(),
            scenarios: scenarios.collect(),
        })
    });
    rows.collect()
}

/// Returns true if `named` is this scenario or stands for its file.
fn names(named: &str, scenario: &str) -> bool {
    match named.strip_suffix('*') {
        Some(file) => scenario.starts_with(file),
        None => named == scenario,
    }
}

#[test]
fn every_rule_is_shown_by_scenarios_that_exist() {
    let mut all: Vec<_> = scenarios().iter().map(|one| one.name.into()).collect();
    all.extend(
        cases::all()
            .iter()
            .map(|case| format!("faults::{}", case.name)),
    );
    let rules = rules();
    assert!(!rules.is_empty(), "the pages have no tables of rules");
    let mut wrong = Vec::new();
    for rule in &rules {
        if rule.scenarios.is_empty() {
            wrong.push(format!("no scenario shows: {}", rule.text));
        }
        for named in &rule.scenarios {
            if !all.iter().any(|scenario| names(named, scenario)) {
                wrong.push(format!("there is no scenario {named}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{PAGES:?}: {wrong:#?}");
}

#[test]
fn every_scenario_shows_a_rule() {
    let rules = rules();
    let named: Vec<_> = rules.iter().flat_map(|rule| &rule.scenarios).collect();
    let missing: Vec<_> = scenarios()
        .into_iter()
        .map(|scenario| scenario.name)
        .filter(|name| !named.iter().any(|named| names(named, name)))
        .collect();
    assert!(
        missing.is_empty(),
        "name them in one of {PAGES:?}, with the rules that they show: {missing:#?}"
    );
}

#[test]
fn rule_and_scenario_totals_are_right() {
    let all = scenarios();
    let of = |version: Version| {
        let holds = all
            .iter()
            .filter(|scenario| scenario.versions.contain(version));
        holds.count()
    };
    let expected = format!(
        "**{} rules, {} scenarios**, of which {} hold for RabbitMQ 3.10, {} for 4.0 and {} for 4.3.",
        rules_of("behaviour.md").len(),
        all.len(),
        of(Version::V3_10),
        of(Version::V4_0),
        of(Version::V4_3),
    );
    let said = read("behaviour.md");
    // The line of the totals is generated.
    let totals = said
        .lines()
        .find(|line| line.starts_with("**") && line.contains(" scenarios**"))
        .expect("docs/behaviour.md has a line of totals");
    if updates() && totals != expected {
        let written = said.replace(totals, &expected);
        fs::write(page("behaviour.md"), written).expect("the page can be written");
        return;
    }
    assert_eq!(totals, expected, "write it with {UPDATE}=1");
}

/// Returns true if the pages are to be written, and not just compared.
fn updates() -> bool {
    env::var(UPDATE).is_ok_and(|update| update == "1")
}

#[test]
fn error_page_lists_the_errors_that_scenarios_compare() {
    let backends = in_memory();
    let mut backends = backends.iter().map(|backend| &**backend);
    let backend = backends.find(|backend| backend.version() == Version::V4_0);
    let backend = backend.expect("the in-memory broker has a profile for 4.0");
    let mut scenarios = scenarios();
    scenarios.retain(|scenario| scenario.versions.contain(backend.version()));
    thread::scope(|scope| {
        for scenario in scenarios {
            scope.spawn(move || suite::run(scenario, backend));
        }
    });

    let errors = refusals::compared();
    assert!(errors.len() >= FEWEST_ERRORS, "{} errors", errors.len());
    let mut expected = format!(
        "# Errors, word for word\n\n\
         What RabbitMQ 4.0 answers when it refuses, and the in-memory broker too: **{} errors** \
         that scenarios\ncompare by code, method and exact text. Names are those of the \
         scenarios. Written by a test\n(`{UPDATE}=1 cargo test -p mooq-integration-tests --test \
         behaviour`), and compared by it.\n\n\
         | Code | Method | Text | Scenario |\n|---|---|---|---|\n",
        errors.len()
    );
    for ((code, method, text), scenario) in errors {
        let text = text.replace('|', "\\|");
        let row = writeln!(expected, "| {code} | {method} | `{text}` | `{scenario}` |");
        row.expect("writing to a string succeeds");
    }
    if updates() {
        fs::write(page("errors.md"), &expected).expect("the page can be written");
    }
    let said = read("errors.md");
    let different: Vec<_> = expected
        .lines()
        .filter(|line| !said.contains(line))
        .chain(said.lines().filter(|line| !expected.contains(line)))
        .collect();
    assert!(
        said == expected,
        "docs/errors.md is stale, write it with {UPDATE}=1: {different:#?}"
    );
}
