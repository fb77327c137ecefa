//! Connections and their channels.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use mooq_memory::ConnectionInfo;
use serde_json::Value;

use super::{Answer, EVERY, Status, consumers, object, sorted, vhosts};
use crate::access::{Api, Caller};
use crate::failure::Failure;
use crate::listing::Query;
use crate::views::{channel as channel_view, connection as view};

const ORDER: [&str; 3] = ["vhost", "name", "number"];

/// The reason that a client is sent, unless the request has another.
const REASON: &str = "Closed via management plugin";

pub(crate) async fn list(State(api): State<Api>, caller: Caller, query: Query) -> Answer {
    let connections = seen(&api, &caller, |_| true);
    sorted(connections.iter().map(view::view).collect(), &ORDER, &query)
}

pub(crate) async fn of_vhost(
    State(api): State<Api>,
    caller: Caller,
    Path(vhost): Path<String>,
    query: Query,
) -> Answer {
    let vhost = caller.vhost(&api, &vhost)?;
    let connections = seen(&api, &caller, |connection| connection.vhost == vhost);
    sorted(connections.iter().map(view::view).collect(), &ORDER, &query)
}

pub(crate) async fn of_user(
    State(api): State<Api>,
    caller: Caller,
    Path(user): Path<String>,
    query: Query,
) -> Answer {
    let connections = seen(&api, &caller, |connection| connection.user == user);
    sorted(
        connections.iter().map(view::tracked).collect(),
        &ORDER,
        &query,
    )
}

/// Connections that the user sees.
fn seen(
    api: &Api,
    caller: &Caller,
    which: impl Fn(&ConnectionInfo) -> bool,
) -> Vec<ConnectionInfo> {
    let mut connections = api.broker.connections(EVERY);
    connections.retain(|connection| caller.sees(&connection.user) && which(connection));
    connections
}

pub(crate) async fn show(
    State(api): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
    query: Query,
) -> Answer {
    object(view::view(&find(&api, &caller, &name)?), &query)
}

fn find(api: &Api, caller: &Caller, name: &str) -> Result<ConnectionInfo, Failure> {
    let mut connections = api.broker.connections(EVERY).into_iter();
    let found = connections.find(|connection| view::name(connection) == name);
    let connection = found.ok_or_else(Failure::not_found)?;
    if !caller.sees(&connection.user) {
        let text = "User not authorised to access object";
        return Err(Failure::not_authorised(text));
    }
    Ok(connection)
}

pub(crate) async fn close(
    State(api): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Status {
    let connection = find(&api, &caller, &name)?;
    close_all(&api, &caller, &[connection], &headers)
}

pub(crate) async fn close_of_user(
    State(api): State<Api>,
    caller: Caller,
    Path(user): Path<String>,
    headers: HeaderMap,
) -> Status {
    let connections = seen(&api, &caller, |connection| connection.user == user);
    close_all(&api, &caller, &connections, &headers)
}

/// Closes connections. Monitors see those of others, but only administrators close them.
fn close_all(
    api: &Api,
    caller: &Caller,
    connections: &[ConnectionInfo],
    headers: &HeaderMap,
) -> Status {
    let mut users = connections.iter().map(|connection| &connection.user);
    if !caller.is_administrator() && users.any(|user| *user != caller.name) {
        let text = "User not authorised to access object";
        return Err(Failure::not_authorised(text));
    }
    let reason = headers.get("x-reason").and_then(|text| text.to_str().ok());
    for connection in connections {
        let why = reason.unwrap_or(REASON);
        api.broker.close_connection(connection.number, why);
    }
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn channels_of(
    State(api): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
    query: Query,
) -> Answer {
    let connection = find(&api, &caller, &name)?;
    sorted(channel_views(&api, &[connection]), &ORDER, &query)
}

pub(crate) async fn channels(State(api): State<Api>, caller: Caller, query: Query) -> Answer {
    let connections = seen(&api, &caller, |_| true);
    sorted(channel_views(&api, &connections), &ORDER, &query)
}

pub(crate) async fn channels_of_vhost(
    State(api): State<Api>,
    caller: Caller,
    Path(vhost): Path<String>,
    query: Query,
) -> Answer {
    let vhost = caller.vhost(&api, &vhost)?;
    let connections = seen(&api, &caller, |connection| connection.vhost == vhost);
    sorted(channel_views(&api, &connections), &ORDER, &query)
}

fn channel_views(api: &Api, connections: &[ConnectionInfo]) -> Vec<Value> {
    let all = connections.iter();
    all.flat_map(|connection| {
        let channels = connection.channels.iter();
        channels.map(|info| channel_view::view(connection, info, api.profile))
    })
    .collect()
}

pub(crate) async fn channel(
    State(api): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
    query: Query,
) -> Answer {
    let connections = seen(&api, &caller, |_| true);
    let mut channels = channel_views(&api, &connections).into_iter();
    let found = channels.find(|channel| channel["name"] == *name);
    let mut channel = found.ok_or_else(Failure::not_found)?;
    let mut consumers = vhosts::of_each(&api.vhost_names(), |vhost| {
        consumers::views(&api, &caller, vhost, &connections)
    });
    consumers.retain(|consumer| consumer["channel_details"]["name"] == *name);
    channel["consumer_details"] = consumers.into();
    object(channel, &query)
}
