//! Names, declares and deletes (RabbitMQ's own rules; <https://www.rabbitmq.com/docs/queues>).

use mooq_core::ExchangeKind::{Direct, Fanout, Topic};
use mooq_core::{ExchangeDeclare, FieldValue, QueueDeclare};
use mooq_engine::{Method, Reply};

use crate::harness::{Broker, binding, code_and_text, e2e, exchange, publish, queue, table};

fn refused(broker: &mut Broker, method: Method) -> (u16, String) {
    let channel = broker.channel();
    code_and_text(broker.call(channel, method).err())
}

#[test]
fn a_server_named_queue_has_rabbitmqs_prefix_and_is_what_the_empty_name_means() {
    let mut broker = Broker::new();
    let c = broker.channel();
    let Reply::QueueDeclared(declared) = broker.ok(c, Method::QueueDeclare(queue(""))) else {
        panic!("expected declare-ok");
    };
    assert!(declared.name.starts_with("amq.gen-"));
    assert_eq!(declared.name.len(), "amq.gen-".len() + 22);
    broker.put(c, &declared.name, &["one"]);
    assert_eq!(broker.get(c, "").as_deref(), Some("one"));
    broker.ok(c, Method::Bind(binding("amq.direct", "", "")));
    broker.publish(c, publish("amq.direct", &declared.name, "by its name"));
    assert_eq!(broker.drain(c, ""), ["by its name"]);
}

#[test]
fn without_a_declared_queue_the_empty_name_means_nothing() {
    let mut broker = Broker::new();
    let method = Method::QueuePurge {
        name: Default::default(),
    };
    let expected = (404, "NOT_FOUND - no previously declared queue".into());
    assert_eq!(refused(&mut broker, method), expected);
}

#[test]
fn a_redeclare_compares_owner_durability_auto_delete_and_known_arguments_in_this_order() {
    let mut broker = Broker::new();
    let c = broker.channel();
    broker.declare_with(c, "q", [("x-max-length", 10.into())]);
    let same = QueueDeclare {
        arguments: table([("x-max-length", FieldValue::I64(10)), ("x-own", 1.into())]),
        ..queue("q")
    };
    assert!(broker.call(c, Method::QueueDeclare(same.clone())).is_ok());

    let inequivalent = |what: &str, received: &str, current: &str| {
        let text = format!(
            "PRECONDITION_FAILED - inequivalent arg '{what}' for queue 'q' in vhost '/': received \
             {received} but current is {current}"
        );
        (406, text)
    };
    let other = QueueDeclare {
        durable: false,
        auto_delete: true,
        ..queue("q")
    };
    for (declare, expected) in [
        (other.clone(), inequivalent("durable", "'false'", "'true'")),
        (
            QueueDeclare {
                durable: true,
                ..other.clone()
            },
            inequivalent("auto_delete", "'true'", "'false'"),
        ),
        (
            queue("q"),
            inequivalent("x-max-length", "none", "the value '10' of type 'signedint'"),
        ),
        (
            QueueDeclare {
                arguments: table([("x-max-length", 11.into())]),
                ..queue("q")
            },
            inequivalent("x-max-length", "'11'", "'10'"),
        ),
    ] {
        assert_eq!(
            refused(&mut broker, Method::QueueDeclare(declare)),
            expected
        );
    }
    let exclusive = QueueDeclare {
        exclusive: true,
        ..other
    };
    assert_eq!(refused(&mut broker, Method::QueueDeclare(exclusive)).0, 405);
}

#[test]
fn an_exclusive_queue_is_locked_to_others_except_for_publishing() {
    let mut broker = Broker::new();
    let owner = broker.channel();
    let mine = QueueDeclare {
        exclusive: true,
        ..queue("mine")
    };
    broker.ok(owner, Method::QueueDeclare(mine.clone()));
    let transient = QueueDeclare {
        durable: false,
        ..mine
    };
    assert!(
        broker.call(owner, Method::QueueDeclare(transient)).is_ok(),
        "durable does not matter"
    );

    let name = || "mine".try_into().unwrap();
    for method in [
        Method::QueueDeclare(queue("mine")),
        Method::QueueDeclare(QueueDeclare {
            passive: true,
            ..queue("mine")
        }),
        Method::BasicConsume(mooq_core::Consume::new(name())),
        Method::BasicGet {
            queue: name(),
            no_ack: true,
        },
        Method::QueuePurge { name: name() },
        Method::QueueDelete {
            name: name(),
            if_unused: false,
            if_empty: false,
        },
        Method::Bind(binding("amq.direct", "k", "mine")),
    ] {
        let (code, text) = refused(&mut broker, method);
        assert_eq!(code, 405);
        assert!(
            text.starts_with("RESOURCE_LOCKED - cannot obtain exclusive access to locked queue 'mine' in vhost '/'."),
            "{text}"
        );
    }
    let other = broker.channel();
    broker.put(other, "mine", &["a letter"]);
    assert_eq!(broker.drain(owner, "mine"), ["a letter"]);
}

#[test]
fn reserved_names_are_refused() {
    let mut broker = Broker::new();
    for (method, text) in [
        (
            Method::QueueDeclare(queue("amq.mine")),
            "ACCESS_REFUSED - queue name 'amq.mine' contains reserved prefix 'amq.*'",
        ),
        (
            Method::ExchangeDeclare(exchange("amq.mine", Direct)),
            "ACCESS_REFUSED - exchange name 'amq.mine' contains reserved prefix 'amq.*'",
        ),
        (
            Method::ExchangeDeclare(exchange("", Direct)),
            "ACCESS_REFUSED - operation not permitted on the default exchange",
        ),
        (
            Method::Bind(binding("", "k", "q")),
            "ACCESS_REFUSED - operation not permitted on the default exchange",
        ),
        (
            Method::ExchangeDelete {
                name: "amq.topic".try_into().unwrap(),
                if_unused: false,
            },
            "ACCESS_REFUSED - deletion of system exchange 'amq.topic' in vhost '/' not allowed",
        ),
    ] {
        assert_eq!(refused(&mut broker, method), (403, text.into()));
    }
    let c = broker.channel();
    assert!(
        broker
            .call(c, Method::ExchangeDeclare(exchange("amq.topic", Topic)))
            .is_ok()
    );
}

#[test]
fn an_exchange_is_compared_by_type_and_flags() {
    let mut broker = Broker::new();
    let c = broker.channel();
    broker.declare_exchange(c, "x", Direct);
    for (declare, what, received, current) in [
        (exchange("x", Fanout), "type", "fanout", "direct"),
        (
            ExchangeDeclare {
                durable: false,
                ..exchange("x", Direct)
            },
            "durable",
            "false",
            "true",
        ),
        (
            ExchangeDeclare {
                internal: true,
                ..exchange("x", Direct)
            },
            "internal",
            "true",
            "false",
        ),
    ] {
        let text = format!(
            "PRECONDITION_FAILED - inequivalent arg '{what}' for exchange 'x' in vhost '/': \
             received '{received}' but current is '{current}'"
        );
        assert_eq!(
            refused(&mut broker, Method::ExchangeDeclare(declare)),
            (406, text)
        );
    }
}

#[test]
fn missing_queue_or_exchange_is_named_and_in_a_bind_the_exchange_first() {
    let mut broker = Broker::new();
    let c = broker.channel();
    broker.declare_exchange(c, "x", Direct);
    for (method, what) in [
        (Method::Bind(binding("none", "k", "q")), "exchange 'none'"),
        (Method::Bind(binding("x", "k", "q")), "queue 'q'"),
        (Method::Bind(e2e("x", "k", "y")), "exchange 'y'"),
        (
            Method::QueueDeclare(QueueDeclare {
                passive: true,
                ..queue("q")
            }),
            "queue 'q'",
        ),
    ] {
        let text = format!("NOT_FOUND - no {what} in vhost '/'");
        assert_eq!(refused(&mut broker, method), (404, text));
    }
}

#[test]
fn deleting_and_unbinding_what_is_not_there_is_no_error() {
    let mut broker = Broker::new();
    let c = broker.channel();
    let delete = Method::QueueDelete {
        name: "q".try_into().unwrap(),
        if_unused: true,
        if_empty: true,
    };
    assert_eq!(broker.ok(c, delete), Reply::MessageCount(0));
    broker.ok(
        c,
        Method::ExchangeDelete {
            name: "x".try_into().unwrap(),
            if_unused: true,
        },
    );
    broker.ok(c, Method::Unbind(binding("x", "k", "q")));
    broker.ok(
        c,
        Method::BasicCancel {
            tag: "t".try_into().unwrap(),
        },
    );
}

#[test]
fn a_delete_tests_empty_before_unused_and_ignores_what_is_unacked() {
    let mut broker = Broker::new();
    let c = broker.channel();
    broker.declare(c, "q");
    broker.put(c, "q", &["one"]);
    let delete = |if_unused, if_empty| Method::QueueDelete {
        name: "q".try_into().unwrap(),
        if_unused,
        if_empty,
    };
    let (code, text) = refused(&mut broker, delete(true, true));
    assert_eq!(
        (code, &*text),
        (
            406,
            "PRECONDITION_FAILED - queue 'q' in vhost '/' not empty"
        )
    );
    broker.consume(c, "q", "t");
    let (code, text) = refused(&mut broker, delete(true, true));
    assert_eq!(
        (code, &*text),
        (406, "PRECONDITION_FAILED - queue 'q' in vhost '/' in use")
    );
    assert_eq!(broker.ok(c, delete(false, true)), Reply::MessageCount(0));
    assert_eq!(
        broker.ack(c, 1),
        None,
        "its queue is gone, and it was outstanding"
    );
}

#[test]
fn an_auto_delete_exchange_goes_with_its_last_binding_and_takes_others_along() {
    let mut broker = Broker::new();
    let c = broker.channel();
    for name in ["front", "back"] {
        let declare = ExchangeDeclare {
            auto_delete: true,
            ..exchange(name, Fanout)
        };
        broker.ok(c, Method::ExchangeDeclare(declare));
    }
    broker.declare(c, "q");
    broker.ok(c, Method::Bind(e2e("front", "", "back")));
    broker.bind(c, "back", "a", "q");
    broker.bind(c, "back", "b", "q");
    let names = |broker: &Broker| {
        let all = broker
            .engine
            .exchanges(&mooq_core::VirtualHost::root(), "*");
        all.into_iter().filter(|x| x.auto_delete).count()
    };
    broker.ok(c, Method::Unbind(binding("back", "a", "q")));
    assert_eq!(names(&broker), 2);
    broker.ok(c, Method::Unbind(binding("back", "b", "q")));
    assert_eq!(names(&broker), 0);
}
