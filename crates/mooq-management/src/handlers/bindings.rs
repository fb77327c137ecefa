//! Bindings.

use axum::extract::{Path, State};
use axum::http::header::LOCATION;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use mooq_core::{Binding, BindingDestination, VirtualHost};
use mooq_engine::Method;
use mooq_memory::BindingInfo;
use serde_json::Value;

use super::exchanges::named;
use super::vhosts::of_each;
use super::{Answer, EVERY, Status, object, queues, sorted_by_columns};
use crate::access::{Api, Caller};
use crate::body::{Object, name};
use crate::client::perform;
use crate::failure::Failure;
use crate::listing::Query;
use crate::views::binding as view;

const ORDER: [&str; 6] = [
    "vhost",
    "source",
    "destination_type",
    "destination",
    "routing_key",
    "properties_key",
];

pub(crate) async fn list(State(api): State<Api>, caller: Caller, query: Query) -> Answer {
    let vhosts = caller.vhosts(&api);
    let bindings = of_each(&vhosts, |vhost| all(&api, vhost));
    sorted_by_columns(bindings, &ORDER, &query)
}

pub(crate) async fn of_vhost(
    State(api): State<Api>,
    caller: Caller,
    Path(vhost): Path<String>,
    query: Query,
) -> Answer {
    let vhost = caller.vhost(&api, &vhost)?;
    sorted_by_columns(all(&api, &vhost), &ORDER, &query)
}

/// All bindings of a virtual host, with those of the default exchange.
fn all(api: &Api, vhost: &VirtualHost) -> Vec<Value> {
    let queues = queues::names(api, vhost).into_iter();
    let default = queues.map(|queue| view::default(vhost, &queue));
    let bindings = api.broker.bindings_in(vhost, EVERY);
    default
        .chain(bindings.iter().map(|info| view::view(vhost, info)))
        .collect()
}

/// The bindings of a virtual host whose entry `key` has this value.
fn with(api: &Api, vhost: &VirtualHost, entries: [(&str, &str); 2]) -> Vec<Value> {
    let mut bindings = all(api, vhost);
    bindings.retain(|binding| entries.iter().all(|(key, value)| binding[key] == *value));
    bindings
}

pub(crate) async fn from_exchange(
    State(api): State<Api>,
    caller: Caller,
    Path((vhost, exchange)): Path<(String, String)>,
    query: Query,
) -> Answer {
    let vhost = caller.vhost(&api, &vhost)?;
    let source = ("source", named(&exchange));
    sorted_by_columns(with(&api, &vhost, [source, source]), &ORDER, &query)
}

pub(crate) async fn to_exchange(
    State(api): State<Api>,
    caller: Caller,
    Path((vhost, exchange)): Path<(String, String)>,
    query: Query,
) -> Answer {
    let vhost = caller.vhost(&api, &vhost)?;
    let entries = [
        ("destination_type", "exchange"),
        ("destination", named(&exchange)),
    ];
    sorted_by_columns(with(&api, &vhost, entries), &ORDER, &query)
}

pub(crate) async fn to_queue(
    State(api): State<Api>,
    caller: Caller,
    Path((vhost, queue)): Path<(String, String)>,
    query: Query,
) -> Answer {
    let vhost = caller.vhost(&api, &vhost)?;
    let entries = [("destination_type", "queue"), ("destination", &queue)];
    sorted_by_columns(with(&api, &vhost, entries), &ORDER, &query)
}

/// Both ends of a binding in a path: `q` stands for a queue, `e` for an exchange.
type Ends = (String, String, String, String);

fn destination(kind: &str, destination: &str) -> Result<BindingDestination, Failure> {
    match kind {
        "q" => Ok(BindingDestination::Queue(name("queue", destination)?)),
        "e" => {
            let exchange = name("exchange", named(destination))?;
            Ok(BindingDestination::Exchange(exchange))
        }
        _ => Err(Failure::not_found()),
    }
}

pub(crate) async fn between(
    State(api): State<Api>,
    caller: Caller,
    Path((vhost, source, kind, to)): Path<Ends>,
    query: Query,
) -> Answer {
    let vhost = caller.vhost(&api, &vhost)?;
    let (kind, to) = match destination(&kind, &to)? {
        BindingDestination::Queue(name) => ("queue", name.as_str().to_owned()),
        BindingDestination::Exchange(name) => ("exchange", name.as_str().to_owned()),
    };
    let mut bindings = with(
        &api,
        &vhost,
        [("destination_type", kind), ("destination", &to)],
    );
    bindings.retain(|binding| binding["source"] == named(&source));
    sorted_by_columns(bindings, &ORDER, &query)
}

pub(crate) async fn bind(
    State(api): State<Api>,
    caller: Caller,
    Path((vhost, source, kind, to)): Path<Ends>,
    body: Object,
) -> Answer {
    let vhost = caller.target_vhost(&api, &vhost)?;
    let binding = Binding {
        source: name("exchange", named(&source))?,
        destination: destination(&kind, &to)?,
        routing_key: name("routing_key", body.text_or_empty("routing_key")?)?,
        arguments: body.arguments()?,
    };
    perform(&api, &caller, &vhost, Method::Bind(binding.clone())).await?;
    let bindings = api.broker.bindings_in(&vhost, &binding.source);
    let bound = bindings.iter().find(|info| is(info, &binding));
    Ok(created(&to, bound))
}

fn is(info: &BindingInfo, binding: &Binding) -> bool {
    info.source == binding.source
        && info.destination == binding.destination
        && info.routing_key == binding.routing_key
        && info.arguments == binding.arguments
}

/// Tells where the binding is: relative to the path of the two ends. None if it has gone again.
fn created(to: &str, bound: Option<&BindingInfo>) -> Response {
    let mut response = StatusCode::CREATED.into_response();
    let location = bound.map(|info| {
        let key = view::quoted(&view::properties_key(info));
        // A lone tilde stands for no key, and RabbitMQ leaves it as it is.
        format!("{}/{}", view::quoted(to), key.replace("%7E", "~"))
    });
    let location = location.and_then(|location| HeaderValue::try_from(location).ok());
    if let Some(location) = location {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}

/// Both ends of a binding, and the key that tells it from others.
type Place = (String, String, String, String, String);

pub(crate) async fn show(
    State(api): State<Api>,
    caller: Caller,
    Path((vhost, source, kind, to, key)): Path<Place>,
    query: Query,
) -> Answer {
    let vhost = caller.vhost(&api, &vhost)?;
    let destination = destination(&kind, &to)?;
    if named(&source).is_empty() {
        let is_default = matches!(&destination, BindingDestination::Queue(queue)
            if queue.as_str() == key && queues::find(&api, &vhost, queue).is_some());
        if !is_default {
            return Err(Failure::not_found());
        }
        return object(view::default(&vhost, &key), &query);
    }
    let info = find(&api, &vhost, &source, &destination, &key)?;
    object(view::view(&vhost, &info), &query)
}

fn find(
    api: &Api,
    vhost: &VirtualHost,
    source: &str,
    destination: &BindingDestination,
    key: &str,
) -> Result<BindingInfo, Failure> {
    let bindings = api.broker.bindings_in(vhost, source).into_iter();
    let mut found = bindings.filter(|info| {
        info.source.as_str() == source
            && info.destination == *destination
            && view::has_key(info, key)
    });
    found.next().ok_or_else(Failure::not_found)
}

pub(crate) async fn unbind(
    State(api): State<Api>,
    caller: Caller,
    Path((vhost, source, kind, to, key)): Path<Place>,
) -> Status {
    let vhost = caller.vhost(&api, &vhost)?;
    let destination = destination(&kind, &to)?;
    let info = find(&api, &vhost, named(&source), &destination, &key)?;
    let binding = Binding {
        source: info.source,
        destination: info.destination,
        routing_key: info.routing_key,
        arguments: info.arguments,
    };
    perform(&api, &caller, &vhost, Method::Unbind(binding)).await?;
    Ok(StatusCode::NO_CONTENT)
}
