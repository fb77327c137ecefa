use mooq_core::Credentials;
use mooq_engine::Mechanism;

use super::*;

fn import(json: &str) -> (InMemoryBroker, Result<Vec<String>, Error>) {
    let broker = InMemoryBroker::start();
    let imported = broker.import_definitions(json);
    (broker, imported)
}

fn refusal(json: &str) -> (ErrorKind, String) {
    let err = import(json).1.unwrap_err();
    (err.kind(), err.to_string())
}

fn logs_in(broker: &InMemoryBroker, username: &str, password: &str) -> bool {
    let credentials = Credentials::new(username, password);
    let answer = broker.authenticate(Mechanism::Plain, &credentials, None);
    answer.is_ok()
}

#[test]
fn users_log_in_with_the_passwords_that_were_hashed() {
    let (broker, imported) = import(
        r#"{"users": [
            {"name": "plain", "password": "secret", "tags": ""},
            {"name": "sha256", "hashing_algorithm": "rabbit_password_hashing_sha256",
             "password_hash": "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR", "tags": ["management"]},
            {"name": "sha512", "hashing_algorithm": "rabbit_password_hashing_sha512",
             "password_hash": "AQIDBPhTH2L5HGYB1LWOrn+YpvuQmVOXKGqgsuiJRIZTILRoEvblSJo/WAsym3IZTfuaIaK5KR2o5KwFfTv6KsxfMIE=", "limits": {}},
            {"name": "none", "password_hash": ""}
        ]}"#,
    );
    assert_eq!(imported.unwrap(), [""; 0]);
    for (user, password) in [
        ("plain", "secret"),
        ("sha256", "test12"),
        ("sha512", "secret"),
    ] {
        assert!(logs_in(&broker, user, password), "{user}");
        assert!(!logs_in(&broker, user, "guest"), "{user}");
        assert!(!logs_in(&broker, user, ""), "{user}");
    }
    assert!(!logs_in(&broker, "none", ""));
    assert!(logs_in(&broker, "guest", "guest"));
}

#[test]
fn the_topology_is_declared_and_what_exists_stays() {
    let topology = r#"{
        "vhosts": [{"name": "shop"}],
        "policies": [{"vhost": "shop", "name": "short", "pattern": "^later$", "apply-to": "queues",
                      "priority": 1, "definition": {"max-length": 5}}],
        "parameters": [{"component": "operator_policy", "name": "limit", "vhost": "shop",
                        "value": {"pattern": "", "definition": {"max-length": 3}}}],
        "exchanges": [
            {"name": "orders", "vhost": "shop", "type": "topic", "durable": true, "auto_delete": false,
             "internal": false, "arguments": {"alternate-exchange": "unrouted"}},
            {"name": "unrouted", "vhost": "shop", "type": "fanout", "durable": true,
             "auto_delete": false, "internal": true, "arguments": {}}
        ],
        "queues": [
            {"name": "later", "vhost": "shop", "durable": true, "auto_delete": false,
             "arguments": {"x-message-ttl": 60000, "x-dead-letter-exchange": "orders"}},
            {"name": "new", "vhost": "shop", "durable": true, "auto_delete": false,
             "arguments": {"x-queue-type": "quorum"}}
        ],
        "bindings": [
            {"source": "orders", "vhost": "shop", "destination": "new", "destination_type": "queue",
             "routing_key": "order.#", "arguments": {}},
            {"source": "orders", "vhost": "shop", "destination": "unrouted",
             "destination_type": "exchange", "routing_key": "refund", "arguments": {}}
        ]
    }"#;
    let (broker, imported) = import(topology);
    assert_eq!(imported.unwrap(), [""; 0]);
    // Twice is as once, although the queue has another number of messages by then.
    assert_eq!(broker.import_definitions(topology).unwrap(), [""; 0]);
    let shop = VirtualHost::try_from("shop").unwrap();
    let queues = broker.queues_in(&shop, "*");
    let names: Vec<_> = queues.iter().map(|queue| queue.name.as_str()).collect();
    assert_eq!(names, ["later", "new"]);
    let bindings = broker.bindings_in(&shop, "orders");
    assert_eq!(bindings.len(), 2, "{bindings:?}");
    assert!(
        broker.connections("*").is_empty(),
        "imports leave no connection"
    );
}

#[test]
fn an_imported_user_has_only_the_permissions_of_the_definitions() {
    let (broker, imported) = import(
        r#"{"users": [{"name": "billing", "password": "secret"}],
            "vhosts": [{"name": "shop"}],
            "permissions": [{"user": "billing", "vhost": "shop", "configure": "", "write": "^orders$",
                             "read": ""}],
            "topic_permissions": [{"user": "billing", "vhost": "shop", "exchange": "orders",
                                   "write": "^order\\.", "read": ""}]}"#,
    );
    assert_eq!(imported.unwrap(), [""; 0]);
    let open = |vhost: &str| {
        broker.open_protocol_connection(mooq_engine::Login {
            credentials: Credentials::new("billing", "secret"),
            vhost: Some(vhost.try_into().unwrap()),
            ..Default::default()
        })
    };
    assert!(open("shop").is_ok());
    assert!(open("/").is_err());
}

#[test]
fn what_the_broker_does_not_have_is_left_out_by_name() {
    let (_, imported) = import(
        r#"{"rabbit_version": "4.0.5", "rabbitmq_version": "4.0.5", "product_name": "RabbitMQ",
            "global_parameters": [{"name": "cluster_name", "value": "rabbit@here"},
                                  {"name": "mqtt_port_to_vhost_mapping", "value": {}}],
            "parameters": [{"component": "shovel", "name": "away", "vhost": "/", "value": {}}],
            "exchanges": [{"name": "amq.rabbitmq.log", "vhost": "/", "type": "topic"},
                          {"name": "amq.topic", "vhost": "/", "type": "topic"}]}"#,
    );
    assert_eq!(
        imported.unwrap(),
        [
            "parameter 'away' of component 'shovel' in vhost '/'",
            "global parameter 'mqtt_port_to_vhost_mapping'",
            "exchange 'amq.rabbitmq.log' in vhost '/'"
        ]
    );
}

#[test]
fn a_refusal_names_the_object() {
    let (kind, text) = refusal("[1]");
    assert_eq!(kind, ErrorKind::InvalidArgument);
    assert!(text.starts_with("these are no definitions: "), "{text}");

    let (kind, text) = refusal(
        r#"{"users": [{"name": "old", "password_hash": "", "hashing_algorithm": "rabbit_password_hashing_md5"}]}"#,
    );
    assert_eq!(kind, ErrorKind::InvalidArgument);
    assert_eq!(
        text,
        "user 'old': its password is hashed by 'rabbit_password_hashing_md5', expected SHA-256 or SHA-512"
    );

    let (kind, text) = refusal(
        r#"{"queues": [{"name": "q", "vhost": "/", "arguments": {"x-max-length": "many"}}]}"#,
    );
    assert_eq!(kind, ErrorKind::InvalidArgument);
    let expected = "queue 'q' in vhost '/': PRECONDITION_FAILED - invalid arg 'x-max-length'";
    assert!(text.starts_with(expected), "{text}");

    let (kind, text) = refusal(r#"{"queues": [{"name": "q", "vhost": "shop"}]}"#);
    assert_eq!(kind, ErrorKind::VirtualHostNotFound);
    assert_eq!(
        text,
        "queue 'q' in vhost 'shop': there is no virtual host 'shop'"
    );

    let (kind, text) = refusal(
        r#"{"bindings": [{"vhost": "/", "source": "amq.direct", "destination": "q",
                          "destination_type": "queue"}]}"#,
    );
    assert_eq!(kind, ErrorKind::InvalidArgument);
    assert_eq!(
        text,
        "binding of queue 'q' to exchange 'amq.direct' in vhost '/': \
         NOT_FOUND - no queue 'q' in vhost '/'"
    );
}

#[test]
fn an_export_is_imported_as_it_was() {
    let definitions = r#"{
        "users": [{"name": "billing", "password": "secret", "tags": "monitoring,other"}],
        "vhosts": [{"name": "shop", "description": "the shop", "tags": ["a"]}],
        "permissions": [{"user": "billing", "vhost": "shop", "configure": "^$", "write": "",
                         "read": "^orders$"}],
        "topic_permissions": [{"user": "billing", "vhost": "shop", "exchange": "sales",
                               "write": "^w", "read": ".*"}],
        "policies": [{"vhost": "shop", "name": "short", "pattern": "^o",
                      "apply-to": "quorum_queues", "priority": 1, "definition": {"max-length": 5}}],
        "parameters": [{"component": "operator_policy", "name": "limit", "vhost": "shop",
                        "value": {"pattern": "", "definition": {"max-length": 3}}}],
        "exchanges": [{"name": "sales", "vhost": "shop", "type": "topic", "durable": true,
                       "arguments": {"alternate-exchange": "amq.fanout"}}],
        "queues": [{"name": "orders", "vhost": "shop", "durable": true,
                    "arguments": {"x-queue-type": "quorum", "x-max-length": 9}}],
        "bindings": [{"source": "sales", "vhost": "shop", "destination": "orders",
                      "destination_type": "queue", "routing_key": "order.#",
                      "arguments": {"x": {"a": [1, "b"]}}}]
    }"#;
    let (broker, imported) = import(definitions);
    assert_eq!(imported.unwrap(), [""; 0]);
    let exported = broker.export_definitions();
    let (copy, imported) = import(&exported);
    assert_eq!(imported.unwrap(), [""; 0]);
    assert_eq!(copy.export_definitions(), exported);
    assert!(logs_in(&copy, "billing", "secret"));
    assert!(!exported.contains("secret"), "{exported}");

    let shop = VirtualHost::try_from("shop").unwrap();
    let of_shop = broker.export_vhost_definitions(&shop).unwrap();
    let other = VirtualHost::try_from("other").unwrap();
    copy.add_vhost(other.clone()).unwrap();
    let imported = copy.import_vhost_definitions(&other, &of_shop);
    assert_eq!(imported.unwrap(), [""; 0]);
    assert_eq!(copy.queues_in(&other, "orders").len(), 1);
    let missing = copy.export_vhost_definitions(&VirtualHost::try_from("nope").unwrap());
    assert_eq!(missing.unwrap_err().kind(), ErrorKind::VirtualHostNotFound);
}

#[test]
fn limits_and_default_queue_types_are_left_out_by_name() {
    let (broker, imported) = import(
        r#"{"users": [{"name": "few", "password": "", "limits": {"max-connections": 1}}],
            "vhosts": [{"name": "old", "default_queue_type": "undefined", "limits": []},
                       {"name": "new", "metadata": {"description": "d", "tags": [],
                                                    "default_queue_type": "quorum"},
                        "limits": {"max-queues": 1}}]}"#,
    );
    assert_eq!(
        imported.unwrap(),
        [
            "limits of user 'few'",
            "limits of vhost 'new'",
            "default queue type 'quorum' of vhost 'new'"
        ]
    );
    let vhosts = broker.vhosts();
    let new = vhosts.iter().find(|vhost| vhost.name.as_str() == "new");
    assert_eq!(new.unwrap().metadata.description, "d");
}
