//! What each request does: a file per noun.

pub(crate) mod bindings;
pub(crate) mod connections;
pub(crate) mod consumers;
pub(crate) mod definitions;
pub(crate) mod exchanges;
pub(crate) mod health;
pub(crate) mod overview;
pub(crate) mod permissions;
pub(crate) mod policies;
pub(crate) mod queues;
pub(crate) mod users;
pub(crate) mod vhosts;

use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use crate::access::Api;
use crate::failure::{Failure, json_response};
use crate::listing::{Query, columns_of, list, list_by_columns};

/// The glob of every name. `*` leaves out names with a slash.
const EVERY: &str = "**";

/// The answer to a request.
type Answer = Result<Response, Failure>;

/// The answer to a request without content.
type Status = Result<StatusCode, Failure>;

/// Answers with a JSON value.
fn ok(value: &Value) -> Answer {
    Ok(json_response(StatusCode::OK, value))
}

/// Answers with an object, or with its columns that the query asks for.
fn object(value: Value, query: &Query) -> Answer {
    ok(&columns_of(value, query))
}

/// Answers with a list, in this order unless the query asks for another.
fn sorted(objects: Vec<Value>, order: &[&str], query: &Query) -> Answer {
    ok(&list(objects, order, query)?)
}

/// Answers with a list of objects without statistics.
fn sorted_by_columns(objects: Vec<Value>, order: &[&str], query: &Query) -> Answer {
    ok(&list_by_columns(objects, order, query)?)
}

/// Answers a request that creates or changes an object.
fn put(existed: bool) -> StatusCode {
    if existed {
        StatusCode::NO_CONTENT
    } else {
        StatusCode::CREATED
    }
}

/// Imports objects as definitions have them, one way for all of them.
fn import(api: &Api, kind: &str, object: &Value) -> Result<(), Failure> {
    let definitions = json!({kind: [object]}).to_string();
    let imported = api.broker.import_definitions(&definitions);
    let left_out = imported.map_err(|error| {
        // The error names the object, which the path has named already.
        let own = std::error::Error::source(&error).map(ToString::to_string);
        Failure::bad_request(own.unwrap_or_else(|| error.to_string()))
    })?;
    match left_out.first() {
        None => Ok(()),
        Some(_) => Err(Failure::bad_request(format!(
            "the in-memory broker does not have: {}",
            left_out.join(", ")
        ))),
    }
}
