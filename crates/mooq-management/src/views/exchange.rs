//! Exchanges.

use mooq_core::VirtualHost;
use mooq_memory::ExchangeInfo;
use mooq_memory::json::table_to;
use serde_json::{Value, json};

use super::entries;

/// An exchange of a virtual host.
pub(crate) fn view(vhost: &VirtualHost, info: &ExchangeInfo) -> Value {
    let mut view = entries(json!({
        "name": info.name.as_str(),
        "vhost": vhost.as_str(),
        "type": info.kind.as_str(),
        "durable": info.durable,
        "auto_delete": info.auto_delete,
        "internal": info.internal,
        "arguments": table_to(&info.arguments),
    }));
    if let Some(policy) = &info.policy {
        view.insert("policy".into(), policy.as_str().into());
    }
    Value::Object(view)
}

#[cfg(test)]
mod tests {
    use mooq_memory::InMemoryBroker;

    use super::*;

    #[test]
    fn default_exchange_has_no_name_and_no_policy() {
        let broker = InMemoryBroker::start();
        let view = view(&VirtualHost::root(), &broker.exchanges("*")[0]);
        let expected = json!({
            "name": "", "vhost": "/", "type": "direct", "durable": true, "auto_delete": false,
            "internal": false, "arguments": {},
        });
        assert_eq!(view, expected);
    }
}
