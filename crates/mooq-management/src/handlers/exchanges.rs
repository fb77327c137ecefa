//! Exchanges, and publishing to them.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use bytes::Bytes;
use mooq_core::{
    ChannelEvent, ExchangeDeclare, ExchangeKind, ExchangeName, Message, Publish, VirtualHost,
};
use mooq_engine::{Effect, Method};
use mooq_memory::ExchangeInfo;
use serde_json::{Value, json};

use super::vhosts::of_each;
use super::{Answer, EVERY, Status, object, ok, sorted};
use crate::access::{Api, Caller};
use crate::body::{Object, base64, name};
use crate::client::{Client, Refused, perform};
use crate::failure::Failure;
use crate::listing::Query;
use crate::versions::Rules;
use crate::views::{exchange as view, properties};

const ORDER: [&str; 2] = ["vhost", "name"];

pub(crate) async fn list(State(api): State<Api>, caller: Caller, query: Query) -> Answer {
    let vhosts = caller.vhosts(&api);
    let exchanges = of_each(&vhosts, |vhost| views(&api, vhost));
    sorted(exchanges, &ORDER, &query)
}

pub(crate) async fn of_vhost(
    State(api): State<Api>,
    caller: Caller,
    Path(vhost): Path<String>,
    query: Query,
) -> Answer {
    let vhost = caller.vhost(&api, &vhost)?;
    sorted(views(&api, &vhost), &ORDER, &query)
}

fn views(api: &Api, vhost: &VirtualHost) -> Vec<Value> {
    let exchanges = api.broker.exchanges_in(vhost, EVERY);
    exchanges
        .iter()
        .map(|info| view::view(vhost, info))
        .collect()
}

pub(crate) async fn show(
    State(api): State<Api>,
    caller: Caller,
    Path((vhost, exchange)): Path<(String, String)>,
    query: Query,
) -> Answer {
    let vhost = caller.vhost(&api, &vhost)?;
    let found = find(&api, &vhost, &exchange);
    let info = found.ok_or_else(Failure::not_found)?;
    object(view::view(&vhost, &info), &query)
}

/// The exchange that a path names.
pub(super) fn find(api: &Api, vhost: &VirtualHost, in_path: &str) -> Option<ExchangeInfo> {
    let name = named(in_path);
    let found = api.broker.exchanges_in(vhost, name).into_iter();
    let mut found = found.filter(|exchange| exchange.name.as_str() == name);
    found.next()
}

/// The name that a path gives an exchange: the default exchange's name is empty.
pub(super) fn named(in_path: &str) -> &str {
    if in_path == "amq.default" {
        ""
    } else {
        in_path
    }
}

pub(crate) async fn declare(
    State(api): State<Api>,
    caller: Caller,
    Path((vhost, exchange)): Path<(String, String)>,
    body: Object,
) -> Status {
    let vhost = caller.target_vhost(&api, &vhost)?;
    let existed = find(&api, &vhost, &exchange).is_some();
    let kind = body.text("type")?.unwrap_or("direct");
    let kind: ExchangeKind = name("exchange type", kind)?;
    let exchange: ExchangeName = name("exchange", named(&exchange))?;
    let declare = ExchangeDeclare {
        durable: body.flag("durable")?,
        auto_delete: body.flag("auto_delete")?,
        internal: body.flag("internal")?,
        arguments: body.arguments()?,
        ..ExchangeDeclare::new(exchange, kind)
    };
    let method = Method::ExchangeDeclare(declare);
    perform(&api, &caller, &vhost, method).await?;
    Ok(super::put(existed))
}

pub(crate) async fn delete(
    State(api): State<Api>,
    caller: Caller,
    Path((vhost, exchange)): Path<(String, String)>,
    query: Query,
) -> Status {
    let vhost = caller.vhost(&api, &vhost)?;
    let found = find(&api, &vhost, &exchange);
    let method = Method::ExchangeDelete {
        name: found.ok_or_else(Failure::not_found)?.name,
        if_unused: query.is_set("if-unused"),
    };
    perform(&api, &caller, &vhost, method).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Publishes a message as mandatory and with a confirm, and says if any queue got it.
pub(crate) async fn publish(
    State(api): State<Api>,
    caller: Caller,
    Path((vhost, exchange)): Path<(String, String)>,
    body: Object,
) -> Answer {
    let vhost = caller.vhost(&api, &vhost)?;
    if find(&api, &vhost, &exchange).is_none() && api.profile.names_what_is_missing() {
        return Err(Failure::missing("exchange_not_found"));
    }
    body.require(&["routing_key", "properties", "payload", "payload_encoding"])?;
    let properties = properties::read(body.get("properties").unwrap_or(&Value::Null))?;
    let message = Message {
        exchange: name("exchange", named(&exchange))?,
        routing_key: name("routing_key", body.text_or_empty("routing_key")?)?,
        properties: properties.into(),
        body: payload(&body)?,
    };
    let mut publish = Publish::new(message);
    publish.mandatory = true;
    let mut client = Client::open(&api, &caller, &vhost).await?;
    let selected = client.call(Method::ConfirmSelect).await;
    selected.map_err(Refused::of_method)?;
    client.send(Method::BasicPublish(publish));
    let routed = outcome(&mut client).await?;
    ok(&json!({"routed": routed}))
}

/// Waits for the outcome of a publish: true if any queue got the message.
async fn outcome(client: &mut Client) -> Result<bool, Failure> {
    let mut routed = true;
    loop {
        let effect = client.next().await.map_err(|refused| match refused {
            Refused::ByBroker(reason) => Failure::of_channel(&reason),
            Refused::Unanswered(failure) => failure,
        })?;
        let Effect::Channel { event, .. } = effect else {
            continue;
        };
        match event {
            ChannelEvent::Return(_) => routed = false,
            ChannelEvent::Confirm { .. } => return Ok(routed),
            ChannelEvent::Nack { .. } => {
                let text = "rejected Unable to publish message. Check queue limits.";
                return Err(Failure::bad_request(text));
            }
            _ => {}
        }
    }
}

fn payload(body: &Object) -> Result<Bytes, Failure> {
    let Some(Value::String(payload)) = body.get("payload") else {
        return Err(Failure::bad_request("payload_not_string"));
    };
    match body.text_or_empty("payload_encoding")? {
        "string" => Ok(payload.clone().into()),
        "base64" => base64(payload).map(Bytes::from),
        other => Err(Failure::bad_request(json!(["unsupported_encoding", other]))),
    }
}
