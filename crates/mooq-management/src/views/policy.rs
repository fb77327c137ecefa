//! Policies.

use mooq_memory::PolicyInfo;
use mooq_memory::json::table_to;
use serde_json::{Value, json};

/// A policy of a virtual host.
pub(crate) fn view(info: &PolicyInfo) -> Value {
    let mut view = super::entries(value(info));
    view.insert("name".into(), info.name.as_str().into());
    view.insert("vhost".into(), info.vhost.as_str().into());
    Value::Object(view)
}

/// An operator policy, as the parameter that it is.
pub(crate) fn parameter(info: &PolicyInfo) -> Value {
    json!({
        "component": "operator_policy",
        "name": info.name,
        "vhost": info.vhost.as_str(),
        "value": value(info),
    })
}

fn value(info: &PolicyInfo) -> Value {
    json!({
        "pattern": info.policy.pattern(),
        "apply-to": info.policy.applies_to().as_str(),
        "definition": table_to(info.policy.definition()),
        "priority": info.policy.priority_value(),
    })
}
