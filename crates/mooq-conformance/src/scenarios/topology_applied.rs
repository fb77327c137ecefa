//! Topologies that are declared, and compared with a broker.

use std::error::Error as _;

use mooq::topology::{Binding, Diff, Difference, Exchange, Policy, Queue, Resource, Topology};
use mooq::{Connection, ErrorKind, ExchangeKind};

use crate::Fixture;
use crate::scenario;
use crate::steps::{drain, put, ready_in};

/// The names of a scenario's shop.
pub(super) struct Names {
    pub(super) orders: String,
    pub(super) dead: String,
    pub(super) billing: String,
    pub(super) later: String,
}

impl Names {
    pub(super) fn of(fixture: &Fixture) -> Self {
        let [orders, dead, billing, later] =
            ["orders", "dead", "billing", "later"].map(|what| fixture.name(what));
        Self {
            orders,
            dead,
            billing,
            later,
        }
    }
}

/// A topology with queues, exchanges, arguments, and bindings of both kinds.
pub(super) fn shop(names: &Names) -> Topology {
    let Names {
        orders,
        dead,
        billing,
        later,
    } = names;
    Topology::new()
        .exchange(orders, ExchangeKind::Topic)
        .exchange_with(Exchange::new(dead, ExchangeKind::Headers).alternate_exchange(orders))
        .queue(Queue::new(billing).quorum().dead_letter(dead, "billing"))
        .queue(Queue::new(later).max_length(1_000))
        .bind_queue(billing, orders, "order.*")
        .bind_exchange(dead, orders, "lost.#")
        .bind_with(
            Binding::of_queue(later, dead, "")
                .argument("x-match", "any")
                .argument("sum", 5),
        )
}

/// The differences between a topology and the broker, by the management API, one a line.
pub(super) async fn seen(fixture: &Fixture, topology: &Topology, conn: &Connection) -> Diff {
    let api = fixture.control().management().await;
    topology.diff(conn).management(api).await.unwrap()
}

#[scenario]
async fn topology_applied_twice_is_there_once(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let names = Names::of(&fixture);
    let topology = shop(&names);
    topology.apply(&conn).await.unwrap();
    topology.apply(&conn).await.unwrap();

    topology.check(&conn).await.unwrap();
    let diff = topology.diff(&conn).await.unwrap();
    assert!(diff.is_empty() && !diff.is_complete(), "{diff}");
    let diff = seen(&fixture, &topology, &conn).await;
    assert!(diff.is_empty() && diff.is_complete(), "{diff}");

    // The message has the header, and reaches the queue through both exchanges.
    let publish = chan.publish(&names.orders, "lost").routing_key("lost.one");
    publish.header("sum", 5).await.unwrap();
    assert_eq!(drain(&chan, &names.later).await, ["lost"]);
}

#[scenario]
async fn check_tells_all_that_is_missing_or_different(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let names = Names::of(&fixture);
    let topology = shop(&names);
    chan.declare_exchange(&names.orders, "fanout")
        .await
        .unwrap();
    let declare = chan.declare_queue(&names.later).max_length(10);
    declare.await.unwrap();

    let Names {
        orders,
        dead,
        billing,
        later,
    } = &names;
    let expected = [
        format!("exchange '{orders}' is different: type is fanout and not topic"),
        format!("exchange '{dead}' is missing"),
        format!("queue '{billing}' is missing"),
        format!("queue '{later}' is different: x-max-length is 10 and not 1000"),
    ];
    let err = topology.check(&conn).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::PreconditionFailed);
    let diff: &Diff = err.source().unwrap().downcast_ref().unwrap();
    assert_eq!(diff.to_string(), expected.join("\n"));
    assert!(err.to_string().ends_with(&diff.to_string()), "{err}");

    // Nothing was declared, and the connection is sound.
    let missing = chan.declare_queue(billing).passive().await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::QueueNotFound);
}

#[scenario]
async fn management_api_tells_every_difference(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let names = Names::of(&fixture);
    let topology = shop(&names);
    topology.apply(&conn).await.unwrap();
    let Names {
        orders,
        dead,
        billing,
        later,
    } = &names;
    chan.delete_queue(later).await.unwrap();
    let declare = chan.declare_queue(later).auto_delete();
    declare
        .message_ttl(std::time::Duration::from_secs(60))
        .await
        .unwrap();
    chan.unbind_queue(billing, orders, "order.*").await.unwrap();
    chan.bind_queue(billing, orders, "orders.*").await.unwrap();

    let diff = seen(&fixture, &topology, &conn).await;
    let by_header = r#"{"sum":5,"x-match":"any"}"#;
    let expected = [
        format!(
            "queue '{later}' is different: auto_delete is true and not false, x-max-length is \
             none and not 1000, x-message-ttl is 60000 and not none"
        ),
        format!("binding of queue '{billing}' to exchange '{orders}' by 'order.*' is missing"),
        format!(
            "binding of queue '{later}' to exchange '{dead}' by '' with {by_header} is missing"
        ),
        format!(
            "binding of queue '{billing}' to exchange '{orders}' by 'orders.*' is not in the \
             topology"
        ),
    ];
    assert_eq!(diff.to_string(), expected.join("\n"));
    // What is only unexpected is no failure.
    chan.bind_queue(billing, orders, "order.*").await.unwrap();
    let topology = topology_without(&topology, later);
    let api = fixture.control().management().await;
    topology.check(&conn).management(api).await.unwrap();
}

/// The same topology without a queue and its bindings.
fn topology_without(topology: &Topology, queue: &str) -> Topology {
    let exchanges = topology.exchanges().iter().cloned();
    let less = exchanges.fold(Topology::new(), Topology::exchange_with);
    let queues = topology
        .queues()
        .iter()
        .filter(|one| one.name().as_str() != queue);
    let less = queues.cloned().fold(less, |less, one| less.queue(one));
    let bindings = topology.bindings().iter();
    let bindings = bindings.filter(|one| one.queue().is_none_or(|to| to.as_str() != queue));
    bindings.cloned().fold(less, Topology::bind_with)
}

#[scenario]
async fn names_of_a_prefix_belong_to_the_topology(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let names = Names::of(&fixture);
    let topology = shop(&names);
    topology.apply(&conn).await.unwrap();
    let [queue, exchange] = ["old queue", "old exchange"].map(|what| fixture.name(what));
    chan.declare_queue(&queue).await.unwrap();
    chan.declare_exchange(&exchange, "direct").await.unwrap();
    let exclusive = chan.declare_queue(fixture.name("own")).exclusive();
    exclusive.await.unwrap();

    let api = fixture.control().management().await;
    let owned = topology.diff(&conn).management(api).owned(fixture.name(""));
    let expected = [
        Difference::Unexpected(Resource::Exchange(exchange.try_into().unwrap())),
        Difference::Unexpected(Resource::Queue(queue.try_into().unwrap())),
    ];
    assert_eq!(owned.await.unwrap().differences(), expected);
}

#[scenario]
async fn exclusive_queue_of_another_connection_is_different(fixture: Fixture) {
    let (conn, _) = fixture.channel().await;
    let (_other, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    chan.declare_queue(&queue).exclusive().await.unwrap();
    let diff = Topology::new().queue(&queue).diff(&conn).await.unwrap();
    let expected = format!("queue '{queue}' is different: exclusive is true and not false");
    assert_eq!(diff.to_string(), expected);
}

#[scenario]
async fn topology_that_clashes_is_named_and_changes_nothing(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    chan.declare_queue(&queue).await.unwrap();
    put(&chan, &queue, "kept").await;
    let topology = Topology::new().queue(Queue::new(&queue).max_length(1));
    let err = topology.apply(&conn).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::PreconditionFailed);
    let step = format!("declare queue '{queue}' (durable, x-max-length = 1): ");
    assert!(err.to_string().starts_with(&step), "{err}");
    assert_eq!(ready_in(&chan, &queue).await, 1);
}

#[scenario]
async fn topology_with_a_bad_name_is_an_error_before_anything_is_sent(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    let topology = Topology::new()
        .queue(&queue)
        .exchange("x".repeat(256), "topic");
    for err in [
        topology.apply(&conn).await.unwrap_err(),
        topology.check(&conn).await.unwrap_err(),
        topology.diff(&conn).await.unwrap_err(),
        topology.plan(&conn).await.unwrap_err(),
    ] {
        assert_eq!(err.kind(), ErrorKind::InvalidName, "{err}");
    }
    let missing = chan.declare_queue(&queue).passive().await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::QueueNotFound);
}

#[scenario(alone)]
async fn topology_sets_policies_by_the_management_api(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let (queue, policy) = (fixture.name("queue"), fixture.name("policy"));
    let limit = Policy::new(&policy, format!("^{queue}$")).set("max-length", 2);
    let topology = Topology::new().queue(&queue).policy(limit);
    let err = topology.apply(&conn).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::InvalidArgument, "{err}");

    let api = fixture.control().management().await;
    topology.apply(&conn).management(&api).await.unwrap();
    for body in ["1", "2", "3"] {
        put(&chan, &queue, body).await;
    }
    assert_eq!(drain(&chan, &queue).await, ["2", "3"]);
    topology.check(&conn).management(&api).await.unwrap();

    fixture.control().clear_policy(&policy).await;
    let diff = seen(&fixture, &topology, &conn).await;
    assert_eq!(diff.to_string(), format!("policy '{policy}' is missing"));
}
