//! Consumers.

use axum::extract::{Path, State};
use mooq_core::VirtualHost;
use mooq_memory::ConnectionInfo;
use serde_json::Value;

use super::vhosts::of_each;
use super::{Answer, EVERY, sorted_by_columns};
use crate::access::{Api, Caller};
use crate::listing::Query;
use crate::views::consumer as view;

const ORDER: [&str; 3] = ["queue.vhost", "queue.name", "consumer_tag"];

pub(crate) async fn list(State(api): State<Api>, caller: Caller, query: Query) -> Answer {
    let connections = api.broker.connections(EVERY);
    let consumers = of_each(&api.vhost_names(), |vhost| {
        views(&api, &caller, vhost, &connections)
    });
    sorted_by_columns(consumers, &ORDER, &query)
}

pub(crate) async fn of_vhost(
    State(api): State<Api>,
    caller: Caller,
    Path(vhost): Path<String>,
    query: Query,
) -> Answer {
    let vhost = caller.vhost(&api, &vhost)?;
    let connections = api.broker.connections(EVERY);
    sorted_by_columns(views(&api, &caller, &vhost, &connections), &ORDER, &query)
}

/// The consumers of a virtual host on connections that the user sees.
pub(super) fn views(
    api: &Api,
    caller: &Caller,
    vhost: &VirtualHost,
    connections: &[ConnectionInfo],
) -> Vec<Value> {
    let consumers = api.broker.consumers_in(vhost, EVERY);
    let seen = consumers.iter().filter_map(|info| {
        let mut connections = connections.iter();
        let connection = connections.find(|of| of.number == info.connection)?;
        let is_seen = caller.sees(&connection.user);
        is_seen.then(|| view::view(vhost, info, connection, api.profile))
    });
    seen.collect()
}
