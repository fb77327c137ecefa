//! Permissions and topic permissions.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use mooq_memory::{PermissionsInfo, TopicPermissionsInfo};
use serde_json::{Value, json};

use super::{Answer, Status, import, ok, sorted_by_columns};
use crate::access::{Api, Caller};
use crate::body::Object;
use crate::failure::Failure;
use crate::listing::Query;
use crate::views::permissions as view;

const ORDER: [&str; 2] = ["vhost", "user"];

pub(crate) async fn list(State(api): State<Api>, caller: Caller, query: Query) -> Answer {
    caller.administrator()?;
    sorted_by_columns(matching(&api, |_| true), &ORDER, &query)
}

pub(crate) async fn of_vhost(
    State(api): State<Api>,
    caller: Caller,
    Path(vhost): Path<String>,
    query: Query,
) -> Answer {
    caller.administrator()?;
    api.find_vhost(&vhost).ok_or_else(Failure::not_found)?;
    let found = matching(&api, |of| of.vhost.as_str() == vhost);
    sorted_by_columns(found, &ORDER, &query)
}

pub(crate) async fn of_user(
    State(api): State<Api>,
    caller: Caller,
    Path(user): Path<String>,
    query: Query,
) -> Answer {
    caller.administrator()?;
    api.user(&user)?;
    sorted_by_columns(matching(&api, |of| of.user == user), &ORDER, &query)
}

fn matching(api: &Api, which: impl Fn(&PermissionsInfo) -> bool) -> Vec<Value> {
    let all = api.broker.permissions();
    all.iter().filter(|of| which(of)).map(view::view).collect()
}

pub(crate) async fn show(
    State(api): State<Api>,
    caller: Caller,
    Path((vhost, user)): Path<(String, String)>,
) -> Answer {
    caller.administrator()?;
    match find(&api, &vhost, &user) {
        Some(permissions) => ok(&permissions),
        None => Err(Failure::not_found()),
    }
}

fn find(api: &Api, vhost: &str, user: &str) -> Option<Value> {
    matching(api, |of| of.vhost.as_str() == vhost && of.user == user).pop()
}

pub(crate) async fn put(
    State(api): State<Api>,
    caller: Caller,
    Path((vhost, user)): Path<(String, String)>,
    body: Object,
) -> Status {
    caller.administrator()?;
    let keys = ["configure", "write", "read"];
    let permissions = granted(&api, &vhost, &user, &body, &keys)?;
    let existed = find(&api, &vhost, &user).is_some();
    import(&api, "permissions", &permissions)?;
    Ok(super::put(existed))
}

/// The permissions in a body, with their virtual host and user, which exist, as definitions have
/// them.
fn granted(
    api: &Api,
    vhost: &str,
    user: &str,
    body: &Object,
    keys: &[&str],
) -> Result<Value, Failure> {
    if api.find_vhost(vhost).is_none() || api.user(user).is_err() {
        return Err(Failure::bad_request("vhost_or_user_not_found"));
    }
    body.require(keys)?;
    let mut permissions = json!({"vhost": vhost, "user": user});
    for key in keys {
        permissions[*key] = body.text_or_empty(key)?.into();
    }
    Ok(permissions)
}

pub(crate) async fn delete(
    State(api): State<Api>,
    caller: Caller,
    Path((vhost, user)): Path<(String, String)>,
) -> Status {
    caller.administrator()?;
    find(&api, &vhost, &user).ok_or_else(Failure::not_found)?;
    api.broker.clear_permissions(&user, vhost.as_str())?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn topics(State(api): State<Api>, caller: Caller, query: Query) -> Answer {
    caller.administrator()?;
    sorted_by_columns(views(&matching_topics(&api, |_| true)), &ORDER, &query)
}

pub(crate) async fn topics_of_vhost(
    State(api): State<Api>,
    caller: Caller,
    Path(vhost): Path<String>,
    query: Query,
) -> Answer {
    caller.administrator()?;
    api.find_vhost(&vhost).ok_or_else(Failure::not_found)?;
    let found = matching_topics(&api, |of| of.vhost.as_str() == vhost);
    sorted_by_columns(views(&found), &ORDER, &query)
}

pub(crate) async fn topics_of_user(
    State(api): State<Api>,
    caller: Caller,
    Path(user): Path<String>,
    query: Query,
) -> Answer {
    caller.administrator()?;
    api.user(&user)?;
    let found = matching_topics(&api, |of| of.user == user);
    sorted_by_columns(views(&found), &ORDER, &query)
}

pub(crate) async fn show_topics(
    State(api): State<Api>,
    caller: Caller,
    Path((vhost, user)): Path<(String, String)>,
    query: Query,
) -> Answer {
    caller.administrator()?;
    let found = topics_between(&api, &vhost, &user)?;
    sorted_by_columns(views(&found), &ORDER, &query)
}

/// A user's topic permissions in a virtual host, of which there is at least one.
fn topics_between(
    api: &Api,
    vhost: &str,
    user: &str,
) -> Result<Vec<TopicPermissionsInfo>, Failure> {
    let found = matching_topics(api, |of| of.vhost.as_str() == vhost && of.user == user);
    if found.is_empty() {
        return Err(Failure::not_found());
    }
    Ok(found)
}

fn matching_topics(
    api: &Api,
    which: impl Fn(&TopicPermissionsInfo) -> bool,
) -> Vec<TopicPermissionsInfo> {
    let mut all = api.broker.topic_permissions();
    all.retain(|of| which(of));
    all
}

fn views(found: &[TopicPermissionsInfo]) -> Vec<Value> {
    found.iter().map(view::topic).collect()
}

pub(crate) async fn put_topic(
    State(api): State<Api>,
    caller: Caller,
    Path((vhost, user)): Path<(String, String)>,
    body: Object,
) -> Status {
    caller.administrator()?;
    let keys = ["exchange", "write", "read"];
    let permissions = granted(&api, &vhost, &user, &body, &keys)?;
    let existed = topics_between(&api, &vhost, &user).is_ok();
    import(&api, "topic_permissions", &permissions)?;
    Ok(super::put(existed))
}

pub(crate) async fn delete_topics(
    State(api): State<Api>,
    caller: Caller,
    Path((vhost, user)): Path<(String, String)>,
) -> Status {
    caller.administrator()?;
    for of in topics_between(&api, &vhost, &user)? {
        api.broker
            .clear_topic_permissions(&user, of.vhost, of.exchange)?;
    }
    Ok(StatusCode::NO_CONTENT)
}
