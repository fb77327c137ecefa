//! The broker as a whole.

use axum::extract::{Path, State};
use serde_json::{Value, json};

use super::{Answer, EVERY, object, ok, sorted};
use crate::access::{Api, Caller};
use crate::failure::Failure;
use crate::listing::Query;
use crate::views::overview::Totals;
use crate::views::{NODE, node as node_view, overview as view, user};

pub(crate) async fn overview(State(api): State<Api>, caller: Caller, query: Query) -> Answer {
    let totals = totals(&api, &caller);
    let options = api.broker.options();
    let mut overview = view::view(&options, totals);
    if caller.is_monitor() {
        let listeners = api.broker.listeners();
        overview = view::of_monitors(overview, totals, &listeners, api.profile);
    }
    object(overview, &query)
}

fn totals(api: &Api, caller: &Caller) -> Totals {
    let mut totals = Totals::default();
    for connection in api.broker.connections(EVERY) {
        if caller.sees(&connection.user) {
            totals.connections += 1;
            totals.channels += connection.channels.len();
        }
    }
    for vhost in caller.vhosts(api) {
        totals.exchanges += api.broker.exchanges_in(&vhost, EVERY).len();
        totals.consumers += api.broker.consumers_in(&vhost, EVERY).len();
        for queue in api.broker.queues_in(&vhost, EVERY) {
            totals.queues += 1;
            totals.ready += queue.ready;
            totals.unacked += queue.unacked;
        }
    }
    totals
}

pub(crate) async fn cluster_name(_: Caller) -> Answer {
    ok(&json!({"name": NODE}))
}

pub(crate) async fn nodes(State(api): State<Api>, caller: Caller, query: Query) -> Answer {
    caller.monitor()?;
    sorted(vec![node_of(&api)], &["name"], &query)
}

pub(crate) async fn node(
    State(api): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
    query: Query,
) -> Answer {
    caller.monitor()?;
    if name != NODE {
        return Err(Failure::not_found());
    }
    object(node_of(&api), &query)
}

fn node_of(api: &Api) -> Value {
    let (alarms, listeners) = (api.broker.raised_alarms(), api.broker.listeners());
    node_view::view(&api.broker.options(), &alarms, &listeners)
}

pub(crate) async fn extensions(_: Caller) -> Answer {
    ok(&json!([]))
}

pub(crate) async fn whoami(State(api): State<Api>, caller: Caller) -> Answer {
    ok(&user::caller(&caller.name, &caller.tags, api.profile))
}

pub(crate) async fn version(State(api): State<Api>, _: Caller) -> Answer {
    ok(&api.profile.server_version().into())
}
