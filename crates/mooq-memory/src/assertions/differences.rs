//! Differences between two JSON values.

use serde_json::Value;

use super::text::shortened;

/// Every place where `found` differs from `expected`, by its JSON pointer (RFC 6901).
pub(super) fn differences(expected: &Value, found: &Value) -> Vec<String> {
    let mut all = Vec::new();
    compare(&mut String::new(), expected, found, &mut all);
    all
}

fn compare(path: &mut String, expected: &Value, found: &Value, all: &mut Vec<String>) {
    match (expected, found) {
        (Value::Object(expected), Value::Object(found)) => {
            for (key, value) in expected {
                step(path, key, Some(value), found.get(key), all);
            }
            for (key, value) in found {
                if !expected.contains_key(key) {
                    step(path, key, None, Some(value), all);
                }
            }
        }
        (Value::Array(expected), Value::Array(found)) => {
            for at in 0..expected.len().max(found.len()) {
                step(path, &at.to_string(), expected.get(at), found.get(at), all);
            }
        }
        (expected, found) if expected == found => {}
        (expected, found) => all.push(format!(
            "{}{} instead of {}",
            place(path),
            shortened(&found.to_string()),
            shortened(&expected.to_string())
        )),
    }
}

fn step(
    path: &mut String,
    key: &str,
    expected: Option<&Value>,
    found: Option<&Value>,
    all: &mut Vec<String>,
) {
    let length = path.len();
    path.push('/');
    path.push_str(&key.replace('~', "~0").replace('/', "~1"));
    match (expected, found) {
        (Some(expected), Some(found)) => compare(path, expected, found, all),
        (Some(expected), None) => all.push(format!(
            "{}nothing instead of {}",
            place(path),
            shortened(&expected.to_string())
        )),
        (None, Some(found)) => all.push(format!(
            "{}{} instead of nothing",
            place(path),
            shortened(&found.to_string())
        )),
        (None, None) => {}
    }
    path.truncate(length);
}

/// Returns the prefix that names a place. The whole value needs no prefix.
fn place(path: &str) -> String {
    if path.is_empty() {
        String::new()
    } else {
        format!("at {path}: ")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_place_that_differs_is_named() {
        let expected = json!({"a": 1, "b": [1, {"c/d": null}], "e": "same"});
        let found = json!({"a": 2, "b": [1, {"c/d": true}, 3], "e": "same", "f~": {}});
        assert_eq!(
            differences(&expected, &found),
            [
                "at /a: 2 instead of 1",
                "at /b/1/c~1d: true instead of null",
                "at /b/2: 3 instead of nothing",
                "at /f~0: {} instead of nothing",
            ]
        );
        assert_eq!(
            differences(&json!({"a": 1}), &json!({})),
            ["at /a: nothing instead of 1"]
        );
        assert_eq!(differences(&json!("x"), &json!(1)), ["1 instead of \"x\""]);
        assert_eq!(differences(&found, &found), [""; 0]);
    }
}
