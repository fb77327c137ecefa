//! Virtual hosts.

use mooq_memory::{Profile, VirtualHostInfo};
use serde_json::{Value, json};

use super::{NODE, entries};
use crate::versions::Rules;

/// A virtual host.
pub(crate) fn view(info: &VirtualHostInfo, profile: Profile) -> Value {
    let has_types = profile.has_default_queue_types();
    let mut view = entries(json!({
        "name": info.name.as_str(),
        "description": info.metadata.description,
        "tags": info.metadata.tags,
        "metadata": metadata(info, profile),
        "default_queue_type": if has_types { "classic" } else { "undefined" },
        "tracing": false,
        "cluster_state": {NODE: "running"},
        "messages": info.ready + info.unacked,
        "messages_ready": info.ready,
        "messages_unacknowledged": info.unacked,
    }));
    if profile.protects_resources() {
        view.insert("protected_from_deletion".into(), false.into());
    }
    Value::Object(view)
}

/// Description and tags of a virtual host.
pub(crate) fn metadata(info: &VirtualHostInfo, profile: Profile) -> Value {
    let mut metadata = entries(json!({
        "description": info.metadata.description,
        "tags": info.metadata.tags,
    }));
    if profile.has_default_queue_types() {
        metadata.insert("default_queue_type".into(), "classic".into());
    }
    Value::Object(metadata)
}

#[cfg(test)]
mod tests {
    use mooq_memory::InMemoryBroker;

    use super::*;

    #[test]
    fn vhost_has_the_fields_of_the_version() {
        let vhost = &InMemoryBroker::start().vhosts()[0];
        let mut expected = json!({
            "name": "/", "description": "Default virtual host", "tags": [],
            "metadata": {"description": "Default virtual host", "tags": []},
            "default_queue_type": "undefined", "tracing": false,
            "cluster_state": {NODE: "running"},
            "messages": 0, "messages_ready": 0, "messages_unacknowledged": 0,
        });
        assert_eq!(view(vhost, Profile::V3_10), expected);
        expected["default_queue_type"] = "classic".into();
        expected["metadata"]["default_queue_type"] = "classic".into();
        assert_eq!(view(vhost, Profile::V4_0), expected);
        expected["protected_from_deletion"] = false.into();
        assert_eq!(view(vhost, Profile::V4_3), expected);
    }
}
