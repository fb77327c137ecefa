//! Definitions, out and in.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use mooq_core::Error;
use mooq_memory::{Profile, VirtualHostInfo};
use serde_json::{Map, Value};

use super::{Answer, Status, ok};
use crate::access::{Api, Caller};
use crate::body::Text;
use crate::failure::Failure;
use crate::versions::Rules;
use crate::views::{NODE, vhost as vhost_view};

pub(crate) async fn export(State(api): State<Api>, caller: Caller) -> Answer {
    caller.administrator()?;
    let mut definitions = parsed(&api.broker.export_definitions())?;
    if api.profile.explains_definitions() {
        let explanation = format!("Definitions of cluster '{NODE}'");
        definitions.insert("explanation".into(), explanation.into());
        definitions.insert("original_cluster_name".into(), NODE.into());
        definitions.insert("rabbitmq_definition_format".into(), "cluster".into());
    }
    adapt(&mut definitions, None, api.profile);
    ok(&Value::Object(definitions))
}

pub(crate) async fn export_vhost(
    State(api): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
) -> Answer {
    caller.administrator()?;
    let vhost = find(&api, &name)?;
    let mut definitions = parsed(&api.broker.export_vhost_definitions(&vhost.name)?)?;
    if api.profile.explains_definitions() {
        let version = api.profile.server_version();
        let metadata = vhost_view::metadata(&vhost, api.profile);
        let explanation = format!("Definitions of virtual host '{name}'");
        for (key, value) in [
            ("explanation", explanation.into()),
            ("original_vhost_name", name.into()),
            ("rabbitmq_definition_format", "single_virtual_host".into()),
            ("rabbitmq_version", version.into()),
            ("product_name", "RabbitMQ".into()),
            ("product_version", version.into()),
            ("metadata", metadata),
        ] {
            definitions.insert(key.into(), value);
        }
    } else {
        definitions.remove("metadata");
        definitions.remove("description");
    }
    adapt(&mut definitions, Some(&vhost), api.profile);
    ok(&Value::Object(definitions))
}

/// Gives the objects in definitions, of a whole broker or of one virtual host, the fields of the
/// version.
fn adapt(definitions: &mut Map<String, Value>, vhost: Option<&VirtualHostInfo>, profile: Profile) {
    if profile.tells_types_in_definitions() {
        each(definitions, "queues", |queue| {
            let kind = queue.get("arguments").map(|of| of["x-queue-type"].clone());
            queue.insert("type".into(), kind.unwrap_or_default());
        });
        each(definitions, "exchanges", |exchange| {
            if exchange.get("internal") == Some(&Value::Bool(false)) {
                exchange.remove("internal");
            }
        });
    }
    if let Some(vhost) = vhost
        && profile.names_vhost_of_policies()
    {
        for kind in ["parameters", "policies"] {
            each(definitions, kind, |object| {
                object.insert("vhost".into(), vhost.name.as_str().into());
            });
        }
    }
}

/// Calls `f` with the objects of a kind in definitions.
fn each(definitions: &mut Map<String, Value>, kind: &str, f: impl FnMut(&mut Map<String, Value>)) {
    let objects = definitions.get_mut(kind).and_then(Value::as_array_mut);
    let objects = objects.into_iter().flatten();
    objects.filter_map(Value::as_object_mut).for_each(f);
}

fn find(api: &Api, name: &str) -> Result<VirtualHostInfo, Failure> {
    let missing = || Failure::bad_request("vhost_not_found");
    api.find_vhost(name).ok_or_else(missing)
}

fn parsed(definitions: &str) -> Result<Map<String, Value>, Failure> {
    let parsed = serde_json::from_str(definitions);
    parsed.map_err(|_| Failure::unavailable("the definitions cannot be written"))
}

pub(crate) async fn import(State(api): State<Api>, caller: Caller, Text(body): Text) -> Status {
    caller.administrator()?;
    check_json(&body)?;
    imported(api.broker.import_definitions(&body))
}

pub(crate) async fn import_vhost(
    State(api): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
    Text(body): Text,
) -> Status {
    caller.administrator()?;
    let missing = || Failure::missing("vhost_not_found");
    let vhost = api.find_vhost(&name).ok_or_else(missing)?;
    check_json(&body)?;
    imported(api.broker.import_vhost_definitions(&vhost.name, &body))
}

fn check_json(body: &str) -> Result<(), Failure> {
    let parsed: Result<Value, _> = serde_json::from_str(body);
    match parsed {
        Ok(Value::Object(_)) => Ok(()),
        Ok(_) => Err(Failure::bad_request("not_json")),
        Err(_) => Err(Failure::bad_request("failed_to_parse_json")),
    }
}

fn imported(imported: Result<Vec<String>, Error>) -> Status {
    let left_out = imported.map_err(|error| Failure::bad_request(error.to_string()))?;
    // As RabbitMQ imports the parameters of plugins that it does not have.
    for left_out in left_out {
        tracing::warn!("not imported: {left_out}");
    }
    Ok(StatusCode::NO_CONTENT)
}
