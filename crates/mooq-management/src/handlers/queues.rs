//! Queues, and fetching from them.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use mooq_core::{Fetched, QueueDeclare, QueueName, Settle, Settlement, VirtualHost};
use mooq_engine::{Method, Reply};
use mooq_memory::{ConnectionInfo, QueueDetails, QueueInfo};
use serde_json::Value;

use super::vhosts::of_each;
use super::{Answer, EVERY, Status, consumers, object, ok, sorted};
use crate::access::{Api, Caller};
use crate::body::{Object, name};
use crate::client::{Client, Refused, perform};
use crate::failure::Failure;
use crate::listing::Query;
use crate::versions::Rules;
use crate::views::message::Encoding;
use crate::views::{message, queue as view};

const ORDER: [&str; 2] = ["vhost", "name"];

pub(crate) async fn list(State(api): State<Api>, caller: Caller, query: Query) -> Answer {
    let vhosts = caller.vhosts(&api);
    let queues = of_each(&vhosts, |vhost| summaries(&api, vhost));
    sorted(queues, &ORDER, &query)
}

pub(crate) async fn of_vhost(
    State(api): State<Api>,
    caller: Caller,
    Path(vhost): Path<String>,
    query: Query,
) -> Answer {
    let vhost = caller.vhost(&api, &vhost)?;
    sorted(summaries(&api, &vhost), &ORDER, &query)
}

fn summaries(api: &Api, vhost: &VirtualHost) -> Vec<Value> {
    let queues = api.broker.queue_details_in(vhost, EVERY);
    let queues = queues.iter();
    queues
        .map(|details| view::summary(vhost, details, api.profile))
        .collect()
}

/// The connection that alone may use a queue.
fn owner<'a>(
    details: &QueueDetails,
    connections: &'a [ConnectionInfo],
) -> Option<&'a ConnectionInfo> {
    let number = details.owner?;
    connections
        .iter()
        .find(|connection| connection.number == number)
}

pub(crate) async fn show(
    State(api): State<Api>,
    caller: Caller,
    Path((vhost, queue)): Path<(String, String)>,
    query: Query,
) -> Answer {
    let vhost = caller.vhost(&api, &vhost)?;
    let found = api.broker.queue_details_in(&vhost, &queue).into_iter();
    let mut found = found.filter(|details| details.info.name.as_str() == queue);
    let details = found.next().ok_or_else(Failure::not_found)?;
    let connections = api.broker.connections(EVERY);
    let owner = owner(&details, &connections);
    let mut whole = view::view(&vhost, &details, owner, api.profile);
    let mut consumers = consumers::views(&api, &caller, &vhost, &connections);
    consumers.retain(|consumer| consumer["queue"]["name"] == *queue);
    whole["consumer_details"] = consumers.into();
    object(whole, &query)
}

pub(super) fn find(api: &Api, vhost: &VirtualHost, name: &str) -> Option<QueueInfo> {
    let found = api.broker.queues_in(vhost, name).into_iter();
    let mut found = found.filter(|queue| queue.name.as_str() == name);
    found.next()
}

pub(crate) async fn declare(
    State(api): State<Api>,
    caller: Caller,
    Path((vhost, queue)): Path<(String, String)>,
    body: Object,
) -> Status {
    let vhost = caller.target_vhost(&api, &vhost)?;
    let existed = find(&api, &vhost, &queue).is_some();
    let declare = QueueDeclare {
        durable: body.flag("durable")?,
        auto_delete: body.flag("auto_delete")?,
        arguments: body.arguments()?,
        ..QueueDeclare::new(name("queue", &queue)?)
    };
    perform(&api, &caller, &vhost, Method::QueueDeclare(declare)).await?;
    Ok(super::put(existed))
}

pub(crate) async fn delete(
    State(api): State<Api>,
    caller: Caller,
    Path((vhost, queue)): Path<(String, String)>,
    query: Query,
) -> Status {
    let vhost = caller.vhost(&api, &vhost)?;
    let found = find(&api, &vhost, &queue);
    let method = Method::QueueDelete {
        name: found.ok_or_else(Failure::not_found)?.name,
        if_unused: query.is_set("if-unused"),
        if_empty: query.is_set("if-empty"),
    };
    perform(&api, &caller, &vhost, method).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn purge(
    State(api): State<Api>,
    caller: Caller,
    Path((vhost, queue)): Path<(String, String)>,
) -> Status {
    let vhost = caller.vhost(&api, &vhost)?;
    let found = find(&api, &vhost, &queue);
    let name = found.ok_or_else(Failure::not_found)?.name;
    perform(&api, &caller, &vhost, Method::QueuePurge { name }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What becomes of fetched messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AckMode {
    /// They are acknowledged as they are sent.
    Ack,
    /// They are requeued as the channel ends.
    Requeue,
    /// They are rejected, and requeued or not.
    Reject { requeue: bool },
}

impl AckMode {
    fn parse(name: &str) -> Result<Self, Failure> {
        Ok(match name {
            "ack_requeue_false" => Self::Ack,
            "ack_requeue_true" => Self::Requeue,
            "reject_requeue_false" => Self::Reject { requeue: false },
            "reject_requeue_true" => Self::Reject { requeue: true },
            other => {
                return Err(Failure::bad_request(format!(
                    "Invalid ackmode value: {other}. Valid values are: ack_requeue_true, \
                     ack_requeue_false, reject_requeue_true, reject_requeue_false"
                )));
            }
        })
    }
}

/// Fetches messages. Whatever the mode, each message is told once.
pub(crate) async fn fetch(
    State(api): State<Api>,
    caller: Caller,
    Path((vhost, queue)): Path<(String, String)>,
    body: Object,
) -> Answer {
    let vhost = caller.vhost(&api, &vhost)?;
    if find(&api, &vhost, &queue).is_none() {
        return Err(Failure::missing(if api.profile.names_what_is_missing() {
            "queue_not_found".to_owned()
        } else {
            format!("NOT_FOUND - no queue '{queue}' in vhost '{vhost}'")
        }));
    }
    body.require(&["ackmode", "count", "encoding"])?;
    let mode = AckMode::parse(body.text_or_empty("ackmode")?)?;
    let encoding = match body.text_or_empty("encoding")? {
        "auto" => Encoding::Auto,
        "base64" => Encoding::Base64,
        _ => {
            let text = "Unsupported encoding. Please use auto or base64.";
            return Err(Failure::bad_request(text));
        }
    };
    let count = body.integer("count")?.unwrap_or(0);
    let truncate = body.integer("truncate")?;
    let truncate = truncate.map(|bytes| usize::try_from(bytes).unwrap_or(0));
    let mut client = Client::open(&api, &caller, &vhost).await?;
    let fetched = get(&mut client, &name("queue", &queue)?, count, mode).await?;
    let views = fetched
        .iter()
        .map(|one| message::view(one, encoding, truncate));
    ok(&views.collect())
}

/// Fetches up to `count` messages; a negative count stands for all of them, as in RabbitMQ.
async fn get(
    client: &mut Client,
    queue: &QueueName,
    count: i64,
    mode: AckMode,
) -> Result<Vec<Fetched>, Failure> {
    let mut fetched = Vec::new();
    let enough = usize::try_from(count).unwrap_or(usize::MAX);
    while fetched.len() < enough {
        let get = Method::BasicGet {
            queue: queue.clone(),
            no_ack: mode == AckMode::Ack,
        };
        let reply = client.call(get).await.map_err(|refused| match refused {
            Refused::ByBroker(reason) if ![403, 404].contains(&reason.code) => {
                Failure::of_channel(&reason)
            }
            other => other.of_method(),
        })?;
        match reply {
            Reply::Fetched(Some(one)) => fetched.push(one),
            _ => break,
        }
    }
    // Only now, or the same message would come again and again.
    if let AckMode::Reject { requeue } = mode {
        for one in &fetched {
            client.send(Method::BasicSettle(Settle {
                delivery_tag: one.delivery_tag,
                multiple: false,
                settlement: Settlement::Reject { requeue },
            }));
        }
    }
    Ok(fetched)
}

/// Names of the queues of a virtual host, sorted.
pub(super) fn names(api: &Api, vhost: &VirtualHost) -> Vec<QueueName> {
    let queues = api.broker.queues_in(vhost, EVERY).into_iter();
    queues.map(|queue| queue.name).collect()
}
