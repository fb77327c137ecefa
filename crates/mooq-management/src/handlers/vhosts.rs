//! Virtual hosts.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use mooq_core::VirtualHost;
use serde_json::{Value, json};

use super::{Answer, Status, import, object, sorted};
use crate::access::{Api, Caller};
use crate::body::{self, Object};
use crate::failure::Failure;
use crate::listing::Query;
use crate::views::vhost as view;

pub(crate) async fn list(State(api): State<Api>, caller: Caller, query: Query) -> Answer {
    let mut vhosts = api.broker.vhosts();
    if !caller.is_monitor() {
        let own = caller.vhosts(&api);
        vhosts.retain(|vhost| own.contains(&vhost.name));
    }
    let vhosts = vhosts.iter().map(|vhost| view::view(vhost, api.profile));
    sorted(vhosts.collect(), &["name"], &query)
}

pub(crate) async fn show(
    State(api): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
    query: Query,
) -> Answer {
    let vhost = api.find_vhost(&name).ok_or_else(Failure::not_found)?;
    if !caller.is_monitor() {
        caller.vhost(&api, &name)?;
    }
    object(view::view(&vhost, api.profile), &query)
}

pub(crate) async fn put(
    State(api): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
    body: Object,
) -> Status {
    caller.administrator()?;
    let vhost: VirtualHost = body::name("vhost", &name)?;
    if let Some(kind) = body.text("default_queue_type")?
        && !matches!(kind, "" | "classic" | "undefined")
    {
        return Err(Failure::bad_request(format!(
            "the in-memory broker has no default queue type '{kind}'"
        )));
    }
    let existed = api.find_vhost(&name).is_some();
    let mut described = json!({"name": name});
    for key in ["description", "tags"] {
        if let Some(value) = body.get(key) {
            described[key] = value.clone();
        }
    }
    import(&api, "vhosts", &described)?;
    if !existed {
        grant_all(&api, &caller.name, &vhost)?;
    }
    Ok(super::put(existed))
}

/// Gives the user who creates a virtual host full permissions in it.
fn grant_all(api: &Api, user: &str, vhost: &VirtualHost) -> Result<(), Failure> {
    let all = ".*";
    Ok(api
        .broker
        .set_permissions(user, vhost.clone(), all, all, all)?)
}

pub(crate) async fn delete(
    State(api): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
) -> Status {
    caller.administrator()?;
    let vhost = api.find_vhost(&name).ok_or_else(Failure::not_found)?;
    api.broker.delete_vhost(vhost.name)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Objects of several virtual hosts, in the order of the virtual hosts.
pub(super) fn of_each(
    vhosts: &[VirtualHost],
    objects: impl Fn(&VirtualHost) -> Vec<Value>,
) -> Vec<Value> {
    vhosts.iter().flat_map(objects).collect()
}
