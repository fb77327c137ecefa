use glob_match::glob_match;
use proptest::prelude::*;

use super::*;

use slotmap::SlotMap;

/// Matching rules, written as plainly as possible.
fn matches(pattern: &[&str], key: &[&str]) -> bool {
    match (pattern.split_first(), key.split_first()) {
        (None, None) => true,
        (None, Some(_)) => false,
        (Some((&"#", rest)), None) => matches(rest, key),
        (Some((&"#", rest)), Some((_, key_rest))) => {
            matches(rest, key) || matches(pattern, key_rest)
        }
        (Some(_), None) => false,
        (Some((word, rest)), Some((key_word, key_rest))) => {
            (*word == "*" || word == key_word) && matches(rest, key_rest)
        }
    }
}

fn split(key: &str) -> Vec<&str> {
    words(key).collect()
}

fn one_route(pattern: &str, key: &str) -> bool {
    let mut index = TopicIndex::default();
    index.add(pattern, Destination::Queue(SlotMap::with_key().insert(())));
    let mut found = Vec::new();
    index.route(key, &mut found);
    !found.is_empty()
}

#[test]
fn rabbitmqs_own_corner_cases() {
    for (pattern, key, expected) in [
        ("", "", true),
        ("#", "", true),
        ("#.#", "", true),
        ("*", "", false),
        ("*", ".", false),
        ("*.*", ".", true),
        ("a.*", "a.", true),
        ("a.", "a.", true),
        ("a", "a.", false),
        ("#.a.#", "a", true),
        ("#.a.#", "b.a.c", true),
        ("#.a.#", "b.c", false),
        ("a.#.b", "a.b", true),
        ("a.#.b", "a.x.y.b", true),
        ("foo*", "foobar", false),
        ("foo*", "foo*", true),
        ("##", "##", true),
        ("##", "a.b", false),
        ("[ab].{c,d}", "a.c", false),
        ("[ab].{c,d}", "[ab].{c,d}", true),
        ("*.*", "ball.red", true),
        ("ball.*", "apple.red", false),
    ] {
        assert_eq!(one_route(pattern, key), expected, "'{pattern}' on '{key}'");
        assert_eq!(
            matches(&split(pattern), &split(key)),
            expected,
            "the reference"
        );
    }
}

#[test]
fn many_hashes_do_not_make_a_route_slow() {
    let pattern = vec!["#"; 60].join(".a.");
    let key = vec!["a"; 127].join(".");
    assert!(one_route(&pattern, &key));
}

fn pattern() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        4 => "[ab]{0,2}",
        2 => Just("*".to_owned()),
        2 => Just("#".to_owned()),
    ];
    prop::collection::vec(word, 0..6).prop_map(|words| words.join("."))
}

fn key() -> impl Strategy<Value = String> {
    prop::collection::vec("[ab]{0,2}", 0..6).prop_map(|words| words.join("."))
}

proptest! {
    /// Any patterns, some of them removed again, on any keys.
    #[test]
    fn the_trie_agrees_with_the_rules(
        patterns in prop::collection::vec((pattern(), any::<bool>()), 0..12),
        keys in prop::collection::vec(key(), 1..6),
    ) {
        let mut queues = SlotMap::with_key();
        let mut index = TopicIndex::default();
        let bound: Vec<_> = patterns
            .iter()
            .map(|(pattern, stays)| {
                let queue = Destination::Queue(queues.insert(()));
                index.add(pattern, queue);
                (pattern, *stays, queue)
            })
            .collect();
        for (pattern, stays, queue) in &bound {
            if !stays {
                index.remove(pattern, *queue);
            }
        }
        for key in &keys {
            let mut found = Vec::new();
            index.route(key, &mut found);
            for (pattern, stays, queue) in &bound {
                let expected = *stays && matches(&split(pattern), &split(key));
                prop_assert_eq!(found.contains(queue), expected, "'{}' on '{}'", pattern, key);
            }
        }
        for (pattern, stays, queue) in &bound {
            if *stays {
                index.remove(pattern, *queue);
            }
        }
        prop_assert!(index.words.is_empty() && index.children.is_empty());
        prop_assert_eq!(index.nodes.len() - index.free.len(), 1, "only the root is left");
    }

    /// Provided that words are not empty, a pattern without `#` is a glob over paths, and one with
    /// `#` for a whole tail of at least one word is `**`.
    #[test]
    fn the_trie_agrees_with_globs_where_both_say_the_same(
        pattern in prop::collection::vec(prop_oneof!["[ab]{1,2}", Just("*".to_owned())], 1..5),
        tail in any::<bool>(),
        key in prop::collection::vec("[ab]{1,2}", 1..6),
    ) {
        prop_assume!(!tail || key.len() > pattern.len());
        let end = |hash: &str| if tail { format!("{}{hash}", if hash == "#" { "." } else { "/" }) } else { String::new() };
        let amqp = pattern.join(".") + &end("#");
        let glob = pattern.join("/") + &end("**");
        prop_assert_eq!(one_route(&amqp, &key.join(".")), glob_match(&glob, &key.join("/")));
    }
}
