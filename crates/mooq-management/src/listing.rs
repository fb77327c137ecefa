//! What all lists have in common: order, pages, and columns
//! ([pagination](https://www.rabbitmq.com/docs/management#http-api-pagination)).

use std::cmp::Ordering;
use std::collections::HashMap;
use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use regex_lite::RegexBuilder;
use serde_json::{Map, Value, json};
use url::form_urlencoded;

use crate::failure::Failure;

/// The parameters of a request's query, by name. Of two with the same name the last one counts.
#[derive(Debug, Default)]
pub(crate) struct Query(HashMap<String, String>);

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::parse(parts.uri.query().unwrap_or_default()))
    }
}

impl Query {
    fn parse(query: &str) -> Self {
        let entries = form_urlencoded::parse(query.as_bytes());
        Self(
            entries
                .map(|(key, value)| (key.into(), value.into()))
                .collect(),
        )
    }

    /// The parameter of this name, unless it is missing or empty.
    fn get(&self, key: &str) -> Option<&str> {
        let value = self.0.get(key).map(String::as_str);
        value.filter(|value| !value.is_empty())
    }

    /// True if the parameter of this name is `true`.
    pub(crate) fn is_set(&self, key: &str) -> bool {
        self.get(key) == Some("true")
    }
}

/// Number of objects on a page, unless the query says another.
const PAGE_SIZE: usize = 100;
/// The largest number of objects on a page.
const LARGEST_PAGE: usize = 500;

/// Like [`list`], for objects without statistics: RabbitMQ sorts these by the columns that the query
/// asks for, and by no others.
pub(crate) fn list_by_columns(
    objects: Vec<Value>,
    order: &[&str],
    query: &Query,
) -> Result<Value, Failure> {
    let objects = objects.into_iter().map(|object| columns_of(object, query));
    list(objects.collect(), order, query)
}

/// Sorts a list, by the query's columns first and then by `order`, and returns what the query asks
/// for.
pub(crate) fn list(
    mut objects: Vec<Value>,
    order: &[&str],
    query: &Query,
) -> Result<Value, Failure> {
    let columns: Vec<&str> = query.get("sort").into_iter().collect();
    let columns = [columns.as_slice(), order].concat();
    objects.sort_by(|a, b| {
        let by_column = columns
            .iter()
            .map(|column| compare(at_path(a, column), at_path(b, column)));
        let mut by_column = by_column.filter(|order| order.is_ne());
        by_column.next().unwrap_or(Ordering::Equal)
    });
    if query.is_set("sort_reverse") {
        objects.reverse();
    }
    let page = Page::of(query)?;
    let total = objects.len();
    let Some(page) = page else {
        return Ok(objects.into_iter().map(|o| columns_of(o, query)).collect());
    };
    let filtered = page.filter(objects)?;
    page.cut(&filtered, total, query)
}

/// Returns an object with the columns that the query asks for.
pub(crate) fn columns_of(object: Value, query: &Query) -> Value {
    let Some(columns) = query.get("columns") else {
        return object;
    };
    let columns = columns.split(',').filter(|column| !column.is_empty());
    let columns: Vec<Vec<&str>> = columns.map(|column| column.split('.').collect()).collect();
    let paths: Vec<&[&str]> = columns.iter().map(Vec::as_slice).collect();
    select(object, &paths)
}

/// Keeps the entries of an object to which a path leads.
fn select(value: Value, paths: &[&[&str]]) -> Value {
    let entries = match value {
        Value::Object(entries) => entries,
        Value::Array(values) => {
            return values
                .into_iter()
                .map(|value| select(value, paths))
                .collect();
        }
        other => return other,
    };
    let mut kept = Map::new();
    for (key, value) in entries {
        let rests = paths.iter().filter_map(|path| match path.split_first() {
            Some((first, rest)) if *first == key => Some(rest),
            _ => None,
        });
        let rests: Vec<_> = rests.collect();
        if rests.is_empty() {
            continue;
        }
        let whole = rests.iter().any(|rest| rest.is_empty());
        let value = if whole { value } else { select(value, &rests) };
        kept.insert(key, value);
    }
    Value::Object(kept)
}

/// A missing value, which is before all others.
static NOTHING: Value = Value::Null;

fn at_path<'a>(object: &'a Value, path: &str) -> &'a Value {
    let found = path
        .split('.')
        .try_fold(object, |value, key| value.get(key));
    found.unwrap_or(&NOTHING)
}

/// Orders values of different types as Erlang does.
fn compare(a: &Value, b: &Value) -> Ordering {
    let rank = |value: &Value| match value {
        Value::Null => 0,
        Value::Number(_) => 1,
        Value::Bool(_) => 2,
        Value::Object(_) => 3,
        Value::Array(_) => 4,
        Value::String(_) => 5,
    };
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => {
            let (a, b) = (a.as_f64(), b.as_f64());
            a.partial_cmp(&b).unwrap_or(Ordering::Equal)
        }
        (Value::String(a), Value::String(b)) => a.cmp(b),
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        _ => rank(a).cmp(&rank(b)),
    }
}

/// The page that a query asks for.
struct Page<'a> {
    number: usize,
    size: usize,
    /// Part of the names of the objects.
    name: Option<&'a str>,
    /// True if the name is a regular expression.
    is_regex: bool,
}

impl<'a> Page<'a> {
    /// Returns the page; none if the query asks for the whole list.
    fn of(query: &'a Query) -> Result<Option<Self>, Failure> {
        let Some(number) = number(query, "page")? else {
            return Ok(None);
        };
        let size = self::number(query, "page_size")?;
        let page = Self {
            number: usize::try_from(number).unwrap_or(0),
            size: size.map_or(PAGE_SIZE, |size| usize::try_from(size).unwrap_or(0)),
            name: query.get("name"),
            is_regex: query.is_set("use_regex"),
        };
        if page.number == 0 || !(1..=LARGEST_PAGE).contains(&page.size) {
            let size = size.map_or_else(|| "undefined".into(), |size| size.to_string());
            return Err(Failure::bad_list(
                "invalid_pagination_parameters",
                format!("Invalid pagination parameters: page number {number}, page size {size}"),
            ));
        }
        Ok(Some(page))
    }

    fn filter(&self, mut objects: Vec<Value>) -> Result<Vec<Value>, Failure> {
        let Some(part) = self.name else {
            return Ok(objects);
        };
        let name_of = |object: &Value| {
            let name = object.get("name").and_then(Value::as_str);
            name.unwrap_or_default().to_owned()
        };
        if self.is_regex {
            let regex = RegexBuilder::new(part).case_insensitive(true).build();
            let regex = regex.map_err(|_| {
                Failure::bad_request(format!("'{part}' is not a regular expression"))
            })?;
            objects.retain(|object| regex.is_match(&name_of(object)));
        } else {
            let part = part.to_lowercase();
            objects.retain(|object| name_of(object).to_lowercase().contains(&part));
        }
        Ok(objects)
    }

    fn cut(&self, filtered: &[Value], total: usize, query: &Query) -> Result<Value, Failure> {
        let (number, size, length) = (self.number, self.size, filtered.len());
        let from = (number - 1).saturating_mul(size);
        let Some(rest) = filtered.get(from..) else {
            return Err(Failure::bad_list(
                "page_out_of_range",
                format!("Page out of range, page: {number} page size: {size}, len: {length}"),
            ));
        };
        let items = rest.iter().take(size).cloned();
        let items: Vec<_> = items.map(|object| columns_of(object, query)).collect();
        Ok(json!({
            "total_count": total,
            "item_count": items.len(),
            "filtered_count": length,
            "page": number,
            "page_size": size,
            "page_count": length.div_ceil(size),
            "items": items,
        }))
    }
}

fn number(query: &Query, key: &str) -> Result<Option<i64>, Failure> {
    let Some(text) = query.get(key) else {
        return Ok(None);
    };
    let number = text.parse();
    number
        .map(Some)
        .map_err(|_| Failure::bad_request("Pagination parameters are invalid"))
}

#[cfg(test)]
mod tests {
    // A failed expectation is meant to panic.
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn query(text: &str) -> Query {
        Query::parse(text)
    }

    fn queues() -> Vec<Value> {
        let queues = [("b", 2), ("a", 10), ("C", 1)].into_iter();
        queues
            .map(|(name, messages)| json!({"name": name, "messages": messages}))
            .collect()
    }

    fn names(list: &Value) -> Vec<&str> {
        let list = list.as_array().unwrap().iter();
        list.map(|object| object["name"].as_str().unwrap())
            .collect()
    }

    #[test]
    fn lists_are_sorted_by_the_query_and_then_by_default() {
        let sorted = list(queues(), &["name"], &query("")).unwrap();
        assert_eq!(names(&sorted), ["C", "a", "b"]);
        let by_messages = query("sort=messages&sort_reverse=true");
        let sorted = list(queues(), &["name"], &by_messages).unwrap();
        assert_eq!(names(&sorted), ["a", "b", "C"]);
    }

    #[test]
    fn columns_reach_into_objects() {
        let object = json!({"name": "q", "stats": {"publish": 1, "ack": 2}, "other": 3});
        let columns = query("columns=name,stats.publish,missing");
        let expected = json!({"name": "q", "stats": {"publish": 1}});
        assert_eq!(columns_of(object.clone(), &columns), expected);
        assert_eq!(columns_of(object.clone(), &query("")), object);
    }

    #[test]
    fn page_tells_what_is_on_it_and_what_is_not() {
        let second = query("page=2&page_size=2&columns=name");
        let page = list(queues(), &["name"], &second).unwrap();
        let expected = json!({
            "total_count": 3, "item_count": 1, "filtered_count": 3, "page": 2, "page_size": 2,
            "page_count": 2, "items": [{"name": "b"}],
        });
        assert_eq!(page, expected);

        let named = query("page=1&name=c");
        let page = list(queues(), &["name"], &named).unwrap();
        assert_eq!(page["filtered_count"], 1);
        let matching = query("page=1&name=%5E%5Bab%5D%24&use_regex=true");
        let page = list(queues(), &["name"], &matching).unwrap();
        assert_eq!(names(&page["items"]), ["a", "b"]);
    }

    #[test]
    fn pages_that_do_not_exist_are_refused() {
        let refusal = |text: &str| list(queues(), &["name"], &query(text)).unwrap_err();
        assert_eq!(
            refusal("page=9&page_size=2"),
            Failure::bad_list(
                "page_out_of_range",
                "Page out of range, page: 9 page size: 2, len: 3"
            )
        );
        assert_eq!(
            refusal("page=1&page_size=501"),
            Failure::bad_list(
                "invalid_pagination_parameters",
                "Invalid pagination parameters: page number 1, page size 501"
            )
        );
        assert_eq!(
            refusal("page=x&page_size=2"),
            Failure::bad_request("Pagination parameters are invalid")
        );
    }
}
