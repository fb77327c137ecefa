//! Topic exchanges: which pattern matches which key.

use std::collections::BTreeMap;

use mooq_core::ExchangeKind;

use crate::Fixture;
use crate::raw::binding;
use crate::scenario;

/// Keys, each with all the patterns of [`PATTERNS`] that match it.
const MATCHES: &[(&str, &[&str])] = &[
    ("", &["", "#", "#.#"]),
    (".", &["#", "#.#", "*.*", "*.#", "#.*", "."]),
    (
        "a",
        &["#", "#.#", "*", "*.#", "#.*", "a", "a.#", "#.a", "#.a.#"],
    ),
    ("b", &["#", "#.#", "*", "*.#", "#.*"]),
    ("*", &["#", "#.#", "*", "*.#", "#.*"]),
    ("##", &["#", "#.#", "*", "*.#", "#.*", "##"]),
    ("a*", &["#", "#.#", "*", "*.#", "#.*", "a*"]),
    ("ab", &["#", "#.#", "*", "*.#", "#.*"]),
    ("A", &["#", "#.#", "*", "*.#", "#.*"]),
    (
        "a.",
        &["#", "#.#", "*.*", "*.#", "#.*", "a.*", "a.#", "a.", "#.a.#"],
    ),
    (
        ".a",
        &["#", "#.#", "*.*", "*.#", "#.*", "*.a", "#.a", "#.a.#", ".a"],
    ),
    (
        "a.b",
        &[
            "#", "#.#", "*.*", "*.#", "#.*", "a.*", "a.#", "a.b", "a.#.b", "#.a.#", "a.#.#.b",
        ],
    ),
    (
        "b.a",
        &["#", "#.#", "*.*", "*.#", "#.*", "*.a", "#.a", "#.a.#"],
    ),
    (
        "a..b",
        &[
            "#", "#.#", "*.#", "#.*", "*.*.*", "a.#", "a.*.b", "a.#.b", "#.a.#", "a.#.#.b", "a..b",
        ],
    ),
    (
        "a.x.b",
        &[
            "#", "#.#", "*.#", "#.*", "*.*.*", "a.#", "a.*.b", "a.#.b", "#.a.#", "a.#.#.b",
        ],
    ),
    (
        "a.x.y.b",
        &["#", "#.#", "*.#", "#.*", "a.#", "a.#.b", "#.a.#", "a.#.#.b"],
    ),
    (
        "x.a.y",
        &["#", "#.#", "*.#", "#.*", "*.*.*", "#.a.#", "*.a.*"],
    ),
    ("x.a.y.z", &["#", "#.#", "*.#", "#.*", "#.a.#"]),
    ("[a]", &["#", "#.#", "*", "*.#", "#.*", "[a]"]),
    ("{a,b}", &["#", "#.#", "*", "*.#", "#.*", "{a,b}"]),
    ("a?", &["#", "#.#", "*", "*.#", "#.*", "a?"]),
    ("!a", &["#", "#.#", "*", "*.#", "#.*", "!a"]),
    ("a/b", &["#", "#.#", "*", "*.#", "#.*", "a/b"]),
    ("a\\b", &["#", "#.#", "*", "*.#", "#.*", "a\\b"]),
];

/// Every pattern of the table, and some that match none of its keys.
const PATTERNS: &[&str] = &[
    "",
    "#",
    "#.#",
    "*",
    "*.*",
    "*.*.*",
    "*.#",
    "#.*",
    ".",
    "a",
    "a.",
    ".a",
    "a.*",
    "*.a",
    "a.#",
    "#.a",
    "#.a.#",
    "*.a.*",
    "a.b",
    "a..b",
    "a.*.b",
    "a.#.b",
    "a.#.#.b",
    "##",
    "a*",
    "[a]",
    "{a,b}",
    "a?",
    "!a",
    "a/b",
    "a\\b",
    "a.b.c.d.e",
    "*.*.*.*.*",
    "a#",
    "[ab]",
    "?",
    "a.*.*.c",
];

#[scenario]
async fn patterns_match_the_keys_of_the_table_and_no_others(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let x = fixture.name("x");
    raw.declare_exchange(&x, ExchangeKind::Topic).await;
    let mut queues = BTreeMap::new();
    for (number, pattern) in PATTERNS.iter().enumerate() {
        let q = fixture.name(&number.to_string());
        raw.declare(&q).await;
        raw.bind(&q, &x, pattern).await;
        queues.insert(pattern, q);
    }
    for (key, _) in MATCHES {
        raw.put(&x, key, key).await;
    }
    for (pattern, q) in queues {
        let expected: Vec<&str> = MATCHES
            .iter()
            .filter(|(_, patterns)| patterns.contains(pattern))
            .map(|(key, _)| *key)
            .collect();
        assert_eq!(raw.drain(&q).await, expected, "pattern '{pattern}'");
    }
}

#[scenario]
async fn a_pattern_that_is_unbound_leaves_those_beside_it(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let (x, q) = (fixture.name("x"), fixture.name("q"));
    raw.declare_exchange(&x, ExchangeKind::Topic).await;
    raw.declare(&q).await;
    for pattern in ["a.*", "a.#", "a.b.c", "a.b"] {
        raw.bind(&q, &x, pattern).await;
    }
    raw.remove(binding(&q, &x, "a.#")).await;
    raw.remove(binding(&q, &x, "a.b")).await;
    for key in ["a", "a.b", "a.b.c", "a.b.d"] {
        raw.put(&x, key, key).await;
    }
    assert_eq!(raw.drain(&q).await, ["a.b", "a.b.c"]);

    raw.remove(binding(&q, &x, "a.*")).await;
    raw.put(&x, "a.b", "no longer").await;
    raw.put(&x, "a.b.c", "still").await;
    assert_eq!(raw.drain(&q).await, ["still"]);
}

#[scenario]
async fn a_key_of_many_words_is_matched(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let x = fixture.name("x");
    raw.declare_exchange(&x, ExchangeKind::Topic).await;
    let key = vec!["w"; 100].join(".");
    for (what, pattern) in [
        ("same", key.clone()),
        ("stars", vec!["*"; 100].join(".")),
        ("one too few", vec!["*"; 99].join(".")),
        ("one too many", vec!["*"; 101].join(".")),
        ("ends", "w.#.w".into()),
    ] {
        raw.declare(&fixture.name(what)).await;
        raw.bind(&fixture.name(what), &x, &pattern).await;
    }
    raw.put(&x, &key, "m").await;
    for (what, expected) in [
        ("same", 1),
        ("stars", 1),
        ("one too few", 0),
        ("one too many", 0),
        ("ends", 1),
    ] {
        let copies = raw.drain(&fixture.name(what)).await.len();
        assert_eq!(copies, expected, "{what}");
    }
}
