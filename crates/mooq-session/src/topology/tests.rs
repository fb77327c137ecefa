//! Recording and forgetting of the topology.

use mooq_core::{ExchangeKind, FieldTable};

use super::*;

fn exchange(name: &str) -> ExchangeDeclare {
    ExchangeDeclare::new(name.try_into().unwrap(), ExchangeKind::Direct)
}

fn queue(name: &str) -> QueueDeclare {
    QueueDeclare::new(name.try_into().unwrap())
}

fn queue_name(name: &str) -> QueueName {
    name.try_into().unwrap()
}

fn binding(source: &str, queue: &str, key: &str) -> Binding {
    Binding {
        source: source.try_into().unwrap(),
        destination: BindingDestination::Queue(queue_name(queue)),
        routing_key: key.try_into().unwrap(),
        arguments: FieldTable::new(),
    }
}

fn exchanges(topology: &Topology) -> Vec<String> {
    let all = topology.exchanges().into_iter();
    all.map(|exchange| exchange.name.to_string()).collect()
}

fn queues(topology: &Topology) -> Vec<String> {
    let all = topology.queues().into_iter();
    all.map(|(name, _)| name.to_string()).collect()
}

fn bindings(topology: &Topology) -> Vec<(String, String)> {
    let all = topology.bindings().into_iter();
    all.map(|binding| {
        let BindingDestination::Queue(queue) = binding.destination else {
            panic!("not to a queue");
        };
        (queue.to_string(), binding.routing_key.to_string())
    })
    .collect()
}

#[test]
fn all_comes_back_in_the_order_in_which_it_was_made_and_once() {
    let mut topology = Topology::default();
    for name in ["c", "a", "b", "a"] {
        topology.exchange_declared(&exchange(name));
        topology.queue_declared(&queue(name), &queue_name(name));
        topology.bound(&binding(name, "a", "key"));
    }
    assert_eq!(exchanges(&topology), ["c", "a", "b"]);
    assert_eq!(queues(&topology), ["c", "a", "b"]);
    assert_eq!(topology.bindings().len(), 3);
}

#[test]
fn what_was_only_asked_for_or_is_the_brokers_own_is_not_recorded() {
    let mut topology = Topology::default();
    for name in ["", "amq.direct"] {
        topology.exchange_declared(&exchange(name));
    }
    let mut asked = exchange("a");
    asked.passive = true;
    topology.exchange_declared(&asked);
    let mut asked = queue("q");
    asked.passive = true;
    topology.queue_declared(&asked, &queue_name("q"));
    assert!(topology.exchanges().is_empty());
    assert!(topology.queues().is_empty());
}

#[test]
fn what_is_deleted_goes_with_its_bindings() {
    let mut topology = Topology::default();
    for name in ["a", "b"] {
        topology.exchange_declared(&exchange(name));
        topology.queue_declared(&queue(name), &queue_name(name));
    }
    topology.bound(&binding("a", "a", "1"));
    topology.bound(&binding("a", "b", "2"));
    topology.bound(&binding("b", "b", "3"));
    topology.unbound(&binding("b", "b", "4"));
    topology.queue_deleted(&queue_name("a"));
    assert_eq!(queues(&topology), ["b"]);
    assert_eq!(topology.bindings().len(), 2);
    topology.exchange_deleted(&"a".try_into().unwrap());
    assert_eq!(exchanges(&topology), ["b"]);
    assert_eq!(bindings(&topology), [("b".into(), "3".into())]);
    topology.unbound(&binding("b", "b", "3"));
    assert!(topology.bindings().is_empty());
}

#[test]
fn bindings_that_differ_in_their_arguments_are_two() {
    let mut topology = Topology::default();
    let plain = binding("a", "q", "key");
    let mut other = plain.clone();
    other.arguments = FieldTable::new().with("colour", "red").unwrap();
    topology.bound(&plain);
    topology.bound(&other);
    topology.unbound(&plain);
    assert_eq!(topology.bindings(), [other]);
}

#[test]
fn a_renamed_queue_keeps_its_bindings_its_place_and_its_old_names() {
    let mut topology = Topology::default();
    let unnamed = QueueDeclare::server_named();
    topology.queue_declared(&unnamed, &queue_name("first"));
    topology.queue_declared(&queue("q"), &queue_name("q"));
    topology.bound(&binding("a", "first", "1"));
    topology.bound(&binding("a", "q", "2"));
    topology.rename(&queue_name("first"), &queue_name("second"));
    topology.rename(&queue_name("second"), &queue_name("third"));
    assert_eq!(queues(&topology), ["third", "q"]);
    assert_eq!(
        bindings(&topology),
        [("third".into(), "1".into()), ("q".into(), "2".into())]
    );
    for old in ["first", "second"] {
        assert_eq!(
            topology.current_name(&queue_name(old)),
            Some(&queue_name("third"))
        );
    }
    assert_eq!(topology.current_name(&queue_name("q")), None);
    topology.queue_deleted(&queue_name("third"));
    assert_eq!(topology.current_name(&queue_name("first")), None);
}

#[test]
fn of_many_former_names_the_first_and_the_latest_are_known() {
    let mut topology = Topology::default();
    topology.queue_declared(&QueueDeclare::server_named(), &queue_name("0"));
    let losses = FORMER_NAMES + 10;
    for loss in 0..losses {
        let [old, new] = [loss, loss + 1].map(|number| queue_name(&number.to_string()));
        topology.rename(&old, &new);
    }
    let now = queue_name(&losses.to_string());
    let known = |number: usize| topology.current_name(&queue_name(&number.to_string()));
    assert_eq!(known(0), Some(&now));
    assert_eq!(known(10), None);
    assert_eq!(known(11), Some(&now));
    assert_eq!(known(losses - 1), Some(&now));
    assert_eq!(topology.renamed.len(), FORMER_NAMES);
    topology.queue_deleted(&now);
    assert!(topology.renamed.is_empty());
}

#[test]
fn an_auto_delete_exchange_goes_with_its_last_binding_and_others_stay() {
    let mut topology = Topology::default();
    for (name, auto_delete) in [("inner", true), ("outer", true), ("lasting", false)] {
        let mut declare = exchange(name);
        declare.auto_delete = auto_delete;
        topology.exchange_declared(&declare);
    }
    topology.queue_declared(&queue("q"), &queue_name("q"));
    let mut to_inner = binding("outer", "q", "key");
    to_inner.destination = BindingDestination::Exchange("inner".try_into().unwrap());
    topology.bound(&to_inner);
    topology.bound(&binding("inner", "q", "1"));
    topology.bound(&binding("inner", "q", "2"));
    topology.bound(&binding("lasting", "q", "3"));
    topology.unbound(&binding("inner", "q", "1"));
    assert_eq!(exchanges(&topology), ["inner", "outer", "lasting"]);
    // The queue's end removes the last binding of the inner exchange, and that the outer one's.
    topology.queue_deleted(&queue_name("q"));
    assert_eq!(exchanges(&topology), ["lasting"]);
    assert!(topology.bindings().is_empty());
}

#[test]
fn an_exchange_that_is_made_again_begins_without_bindings() {
    let mut topology = Topology::default();
    let mut declare = exchange("a");
    declare.auto_delete = true;
    let mut to_itself = binding("a", "q", "itself");
    to_itself.destination = BindingDestination::Exchange("a".try_into().unwrap());
    for deleted_by_hand in [true, false] {
        topology.exchange_declared(&declare);
        topology.bound(&to_itself);
        topology.bound(&binding("a", "q", "1"));
        topology.bound(&binding("a", "q", "2"));
        if deleted_by_hand {
            topology.exchange_deleted(&"a".try_into().unwrap());
        } else {
            topology.unbound(&binding("a", "q", "1"));
            topology.unbound(&to_itself);
            assert_eq!(exchanges(&topology), ["a"]);
            topology.unbound(&binding("a", "q", "2"));
        }
        assert!(exchanges(&topology).is_empty());
        assert!(topology.bindings().is_empty());
    }
}

#[test]
fn what_is_declared_anew_counts_as_it_was_declared_last() {
    let mut topology = Topology::default();
    for durable in [true, false] {
        for name in ["a", "b"] {
            let mut declare = exchange(name);
            declare.durable = durable;
            topology.exchange_declared(&declare);
            let mut declare = queue(name);
            declare.durable = durable;
            topology.queue_declared(&declare, &queue_name(name));
        }
    }
    let all = topology.everything();
    let durable = all.exchanges.iter().map(|declare| declare.durable);
    let durable = durable.chain(all.queues.iter().map(|(_, declare)| declare.durable));
    assert_eq!(durable.collect::<Vec<_>>(), [false; 4]);
    assert_eq!(exchanges(&topology), ["a", "b"]);
    assert_eq!(queues(&topology), ["a", "b"]);
}

#[test]
fn with_an_auto_delete_queue_go_its_bindings_and_the_exchanges_that_it_was_the_last_of() {
    let mut topology = Topology::default();
    for (name, auto_delete) in [("outer", true), ("inner", true), ("lasting", false)] {
        let mut declare = exchange(name);
        declare.auto_delete = auto_delete;
        topology.exchange_declared(&declare);
    }
    for name in ["other", "q"] {
        topology.queue_declared(&queue(name), &queue_name(name));
    }
    for (source, exchange) in [("outer", "inner"), ("lasting", "outer"), ("inner", "outer")] {
        let mut between = binding(source, "q", "between");
        between.destination = BindingDestination::Exchange(exchange.try_into().unwrap());
        topology.bound(&between);
    }
    topology.bound(&binding("lasting", "other", "stays"));
    topology.bound(&binding("lasting", "q", "goes"));
    topology.bound(&binding("inner", "q", "goes"));
    let gone = topology.gone_with(&[queue_name("q"), queue_name("not recorded")]);
    let names: Vec<_> = gone.exchanges.iter().map(|made| &*made.name).collect();
    assert_eq!(names, ["outer", "inner"]);
    let names: Vec<_> = gone.queues.iter().map(|(name, _)| &**name).collect();
    assert_eq!(names, ["q"]);
    let keys: Vec<_> = gone
        .bindings
        .iter()
        .map(|made| &*made.routing_key)
        .collect();
    assert_eq!(keys, ["between", "between", "between", "goes", "goes"]);
}

#[test]
fn a_queue_stays_if_nothing_of_it_goes_with_a_connection_or_a_broker() {
    let durable = QueueDeclare {
        durable: true,
        ..queue("orders")
    };
    let mut expires = durable.clone();
    let key = "x-expires".try_into().unwrap();
    expires.arguments.insert(key, 60_000);
    let going = [
        expires,
        QueueDeclare {
            durable: false,
            ..durable.clone()
        },
        QueueDeclare {
            exclusive: true,
            ..durable.clone()
        },
        QueueDeclare {
            auto_delete: true,
            ..durable.clone()
        },
        QueueDeclare {
            name: QueueName::default(),
            ..durable.clone()
        },
    ];
    let mut topology = Topology::default();
    topology.exchange_declared(&ExchangeDeclare {
        durable: true,
        ..exchange("lasting")
    });
    topology.exchange_declared(&ExchangeDeclare {
        durable: false,
        ..exchange("brief")
    });
    topology.bound(&binding("lasting", "orders", "key"));
    topology.bound(&binding("amq.direct", "orders", "key"));
    assert!(topology.survives_restart(&durable));
    for declare in going {
        assert!(!topology.survives_restart(&declare), "{declare:?}");
    }
    topology.bound(&binding("brief", "orders", "key"));
    assert!(!topology.survives_restart(&durable));
}
