//! Users.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use mooq_memory::UserInfo;
use serde_json::{Value, json};

use super::{Answer, Status, import, object, sorted_by_columns};
use crate::access::{Api, Caller};
use crate::body::{Object, base64};
use crate::failure::Failure;
use crate::listing::Query;
use crate::views::user as view;

pub(crate) async fn list(State(api): State<Api>, caller: Caller, query: Query) -> Answer {
    caller.administrator()?;
    views(&api.broker.users(), &query)
}

pub(crate) async fn without_permissions(
    State(api): State<Api>,
    caller: Caller,
    query: Query,
) -> Answer {
    caller.administrator()?;
    let permissions = api.broker.permissions();
    let mut users = api.broker.users();
    users.retain(|user| permissions.iter().all(|of| of.user != user.name));
    views(&users, &query)
}

fn views(users: &[UserInfo], query: &Query) -> Answer {
    sorted_by_columns(users.iter().map(view::view).collect(), &["name"], query)
}

pub(crate) async fn show(
    State(api): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
    query: Query,
) -> Answer {
    caller.administrator()?;
    object(view::view(&api.user(&name)?), &query)
}

pub(crate) async fn put(
    State(api): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
    body: Object,
) -> Status {
    caller.administrator()?;
    let tags = body.get("tags");
    let tags = tags.ok_or_else(|| Failure::bad_request("tags_not_present"))?;
    let mut user = json!({"name": name, "tags": tags});
    match (body.text("password")?, body.text("password_hash")?) {
        // RabbitMQ lets nobody in with an empty password.
        (Some(password), _) if !password.is_empty() => user["password"] = password.into(),
        (_, Some(hash)) => {
            base64(hash)?;
            user["password_hash"] = hash.into();
            if let Some(algorithm) = body.text("hashing_algorithm")? {
                user["hashing_algorithm"] = algorithm.into();
            }
        }
        _ => user["password_hash"] = "".into(),
    }
    let existed = api.user(&name).is_ok();
    import(&api, "users", &user)?;
    Ok(super::put(existed))
}

pub(crate) async fn delete(
    State(api): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
) -> Status {
    caller.administrator()?;
    let user = api.user(&name)?;
    api.broker.delete_user(&user.name);
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn delete_several(State(api): State<Api>, caller: Caller, body: Object) -> Status {
    caller.administrator()?;
    body.require(&["users"])?;
    let users = body.get("users").and_then(Value::as_array);
    let users = users.ok_or_else(|| Failure::bad_request(json!(["not_a_list", "users"])))?;
    for user in users.iter().filter_map(Value::as_str) {
        api.broker.delete_user(user);
    }
    Ok(StatusCode::NO_CONTENT)
}
