//! Plans for brokers that are made up.

// A failed expectation is meant to panic.
#![allow(clippy::unwrap_used)]

use super::planner::{Options, Planner};
use super::step::Step;
use super::{Blocked, Plan};
use crate::broker::observed::{Counts, FoundQueue, Inventory, Observed};
use crate::topology::Topology;
use crate::value::binding::Binding;
use crate::value::queue::Queue;

/// A broker with these queues and bindings.
fn broker(queues: &[(Queue, &str, Counts)], bindings: &[Binding]) -> Inventory {
    let queues = queues.iter().map(|(queue, kind, counts)| {
        let found = FoundQueue {
            queue: queue.clone(),
            exclusive: false,
            kind: (*kind).to_owned(),
            bytes: 0,
            counts: *counts,
        };
        (queue.name().clone(), found)
    });
    Inventory {
        queues: queues.collect(),
        bindings: bindings.to_vec(),
        ..Inventory::default()
    }
}

fn plan(topology: &Topology, inventory: Inventory, options: &Options) -> Plan {
    let observed = Observed::of(topology, inventory);
    let (steps, blocked) = Planner::of(topology, &observed, options).planned();
    Plan {
        steps,
        blocked,
        is_complete: true,
        management: None,
    }
}

const MIGRATE: Options = Options {
    migrate: true,
    prune: false,
    allow_message_loss: false,
    scope: crate::scope::Scope {
        prefixes: Vec::new(),
    },
};

const NONE: Counts = Counts {
    ready: 0,
    consumers: 0,
};

fn by(key: &str) -> Binding {
    Binding::of_queue("q", "amq.topic", key)
}

#[test]
fn queue_is_bound_to_its_stand_in_before_it_is_unbound() {
    let topology = Topology::new()
        .queue(Queue::new("q").quorum())
        .bind_with(by("new"));
    let found = broker(&[("q".into(), "classic", NONE)], &[by("old")]);
    let plan = plan(&topology, found, &MIGRATE);
    assert_eq!(
        plan.to_string(),
        "\
1. declare queue 'q.migrating' (durable, x-delivery-limit = 1000000, x-queue-type = \"quorum\")
2. declare exchange 'q.migrating' (fanout, auto-delete)
3. bind queue 'q.migrating' to exchange 'q.migrating' by ''
4. bind queue 'q.migrating' to exchange 'amq.topic' by 'new'
5. bind queue 'q.migrating' to exchange 'amq.topic' by 'old'
6. unbind queue 'q' to exchange 'amq.topic' by 'old'
7. move the messages of queue 'q' to queue 'q.migrating'
8. delete queue 'q' if it is empty and unused
9. declare queue 'q' (durable, x-queue-type = \"quorum\")
10. declare exchange 'q.returning' (fanout, auto-delete)
11. bind queue 'q' to exchange 'q.returning' by ''
12. bind queue 'q' to exchange 'amq.topic' by 'new'
13. bind queue 'q' to exchange 'amq.topic' by 'old'
14. unbind queue 'q.migrating' to exchange 'amq.topic' by 'new'
15. unbind queue 'q.migrating' to exchange 'amq.topic' by 'old'
16. move the messages of queue 'q.migrating' to queue 'q'
17. delete queue 'q.migrating' if it is empty and unused
18. unbind queue 'q' to exchange 'q.returning' by ''
"
    );
}

#[test]
fn stand_in_of_an_interrupted_plan_gives_its_bindings_back() {
    let topology = Topology::new().queue("q");
    let stand_in = Queue::new("q.migrating");
    let held = Binding::of_queue("q.migrating", "amq.topic", "kept");
    let way = Binding::of_queue("q.migrating", "q.migrating", "");
    let found = broker(&[(stand_in, "classic", NONE)], &[way, held]);
    let plan = plan(&topology, found, &MIGRATE);
    assert_eq!(
        plan.to_string(),
        "\
1. declare queue 'q' (durable)
2. declare exchange 'q.returning' (fanout, auto-delete)
3. bind queue 'q' to exchange 'q.returning' by ''
4. bind queue 'q' to exchange 'amq.topic' by 'kept'
5. unbind queue 'q.migrating' to exchange 'amq.topic' by 'kept'
6. move the messages of queue 'q.migrating' to queue 'q'
7. delete queue 'q.migrating' if it is empty and unused
8. unbind queue 'q' to exchange 'q.returning' by ''
"
    );
}

#[test]
fn last_trace_of_an_interrupted_plan_is_removed() {
    let topology = Topology::new().queue("q");
    let trace = Binding::of_queue("q", "q.returning", "");
    let found = broker(
        &[("q".into(), "classic", NONE)],
        std::slice::from_ref(&trace),
    );
    let plan = plan(&topology, found, &MIGRATE);
    assert_eq!(plan.steps(), [Step::Unbind(trace)]);
}

#[test]
fn what_cannot_be_moved_is_blocked() {
    let single = Queue::new("q").quorum().single_active_consumer();
    let busy = Counts {
        ready: 0,
        consumers: 2,
    };
    let full = Counts {
        ready: 6,
        consumers: 0,
    };
    for (wanted, queue, kind, counts, why) in [
        (
            Queue::new("q").max_length(5),
            "q".into(),
            "classic",
            busy,
            "it has 2 consumers",
        ),
        (
            Queue::new("q").max_length(5),
            "q".into(),
            "classic",
            full,
            "it has 6 messages, and would drop all beyond 5",
        ),
        (
            Queue::new("q").argument("x-queue-type", "stream"),
            "q".into(),
            "classic",
            NONE,
            "the messages of a stream cannot be moved",
        ),
        (
            Queue::new("q").quorum(),
            single,
            "quorum",
            NONE,
            "RabbitMQ gives messages of a quorum queue with a single active consumer to \
             consumers alone",
        ),
    ] {
        let found = broker(&[(queue, kind, counts)], &[]);
        let plan = plan(&Topology::new().queue(wanted), found, &MIGRATE);
        assert_eq!(
            (plan.steps(), plan.blocked()[0].why.as_str()),
            (&[][..], why)
        );
    }
    let long = "q".repeat(250);
    let wanted = Topology::new().queue(Queue::new(&long).quorum());
    let plan = plan(
        &wanted,
        broker(&[(long.into(), "classic", NONE)], &[]),
        &MIGRATE,
    );
    assert!(
        plan.blocked()[0].why.contains("no room for '.migrating'"),
        "{plan}"
    );
}

#[test]
fn plan_has_a_form_for_machines() {
    let plan = Plan {
        steps: vec![
            Step::DeclareQueue(Queue::new("q").max_length(5)),
            Step::Bind(by("k")),
            Step::DeleteQueue {
                name: "q".try_into().unwrap(),
                kind: "classic".into(),
                with_messages: false,
            },
        ],
        blocked: vec![Blocked {
            what: "exchange 'e'".into(),
            why: "w".into(),
            remedy: "r".into(),
        }],
        is_complete: false,
        management: Some("http://localhost".into()),
    };
    let expected = serde_json::json!({
        "steps": [
            {"do": "declare_queue", "queue": {"name": "q", "durable": true, "auto_delete": false,
                "arguments": {"x-max-length": 5}}},
            {"do": "bind", "binding": {"source": "amq.topic", "destination": "q",
                "destination_type": "queue", "routing_key": "k", "arguments": {}}},
            {"do": "delete_queue", "queue": "q", "type": "classic", "with_messages": false},
        ],
        "blocked": [{"what": "exchange 'e'", "why": "w", "remedy": "r"}],
        "is_complete": false,
    });
    assert_eq!(serde_json::to_value(&plan).unwrap(), expected);
}
