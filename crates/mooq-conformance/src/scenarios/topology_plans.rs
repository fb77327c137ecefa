//! Plans that bring a broker to a topology.

use mooq::topology::{Exchange, Plan, PlanTopology, Policy, Queue, Step, Topology};
use mooq::{Connection, ErrorKind};

use super::topology_applied::{Names, seen, shop};
use crate::Fixture;
use crate::scenario;
use crate::steps::{drain, fill, put, ready_in};

/// A plan by the management API, with options.
pub(super) async fn plan(
    fixture: &Fixture,
    topology: &Topology,
    conn: &Connection,
    set: impl FnOnce(PlanTopology) -> PlanTopology,
) -> Plan {
    let api = fixture.control().management().await;
    set(topology.plan(conn).management(api)).await.unwrap()
}

/// A plan's steps, as text.
pub(super) fn steps(plan: &Plan) -> Vec<String> {
    plan.steps().iter().map(ToString::to_string).collect()
}

/// Applies a plan, and asserts that the same plan is empty then.
async fn apply(
    fixture: &Fixture,
    topology: &Topology,
    conn: &Connection,
    set: impl Fn(PlanTopology) -> PlanTopology,
) {
    let made = plan(fixture, topology, conn, &set).await;
    assert!(!made.steps().is_empty(), "the broker has drifted: {made}");
    made.apply(conn).await.unwrap();
    let again = plan(fixture, topology, conn, &set).await;
    assert!(again.is_empty(), "{again}");
    let diff = seen(fixture, topology, conn).await;
    assert!(diff.is_empty(), "{diff}");
}

#[scenario]
async fn plan_for_an_empty_broker_declares_all_of_it(fixture: Fixture) {
    let conn = fixture.connect().await;
    let topology = shop(&Names::of(&fixture));
    apply(&fixture, &topology, &conn, |plan| plan).await;
    topology.check(&conn).await.unwrap();
}

#[scenario]
async fn plan_by_amqp_alone_binds_what_it_declares(fixture: Fixture) {
    let conn = fixture.connect().await;
    let topology = shop(&Names::of(&fixture));
    let made = topology.plan(&conn).await.unwrap();
    assert!(!made.is_complete());
    assert_eq!(made.steps().len(), 7, "{made}");
    made.apply(&conn).await.unwrap();
    let again = topology.plan(&conn).await.unwrap();
    assert!(again.is_empty(), "{again}");
    let diff = seen(&fixture, &topology, &conn).await;
    assert!(diff.is_empty(), "{diff}");
}

#[scenario]
async fn plan_mends_what_has_drifted(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let names = Names::of(&fixture);
    let topology = shop(&names);
    topology.apply(&conn).await.unwrap();
    put(&chan, &names.later, "kept").await;
    chan.delete_queue(&names.billing).await.unwrap();
    let unbind = chan.unbind_exchange(&names.dead, &names.orders, "lost.#");
    unbind.await.unwrap();

    let made = plan(&fixture, &topology, &conn, |plan| plan).await;
    assert!(made.blocked().is_empty() && made.is_complete(), "{made}");
    let (billing, orders) = (&names.billing, &names.orders);
    let said = steps(&made);
    assert!(
        said[0].starts_with(&format!("declare queue '{billing}' (durable, ")),
        "{made}"
    );
    assert_eq!(
        said[1],
        format!("bind queue '{billing}' to exchange '{orders}' by 'order.*'")
    );
    assert_eq!(said.len(), 3, "{made}");
    apply(&fixture, &topology, &conn, |plan| plan).await;
    assert_eq!(drain(&chan, &names.later).await, ["kept"]);
}

#[scenario]
async fn plan_removes_nothing_unless_asked(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let names = Names::of(&fixture);
    let topology = shop(&names);
    topology.apply(&conn).await.unwrap();
    let [old, busy] = ["old", "busy"].map(|what| fixture.name(what));
    fill(&chan, &busy, &["wanted"]).await;
    chan.declare_queue(&old).await.unwrap();
    chan.declare_exchange(fixture.name("old exchange"), "direct")
        .await
        .unwrap();
    chan.bind_queue(&old, fixture.name("old exchange"), "k")
        .await
        .unwrap();
    let bind = chan.bind_queue(&names.billing, &names.orders, "old.#");
    bind.argument("n", 1_i8).await.unwrap();

    let nothing = plan(&fixture, &topology, &conn, |plan| plan).await;
    assert!(nothing.is_empty(), "{nothing}");

    let ours = fixture.name("");
    let prune = |plan: PlanTopology| plan.prune().owned(&ours);
    let made = plan(&fixture, &topology, &conn, prune).await;
    let blocked: Vec<_> = made.blocked().iter().map(|one| one.what.clone()).collect();
    assert_eq!(blocked, [format!("queue '{busy}'")], "{made}");
    let err = made.apply(&conn).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::PreconditionFailed);
    assert_eq!(ready_in(&chan, &old).await, 0, "it is still there");

    assert_eq!(drain(&chan, &busy).await, ["wanted"]);
    let again = fixture.connect().await;
    apply(&fixture, &topology, &again, prune).await;
    for gone in [&old, &busy] {
        let err = chan.declare_queue(gone).passive().await.unwrap_err();
        assert_eq!(err.kind(), ErrorKind::QueueNotFound);
    }
}

#[scenario]
async fn queue_that_got_messages_since_is_not_deleted(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    let ours = fixture.name("");
    for kind in ["classic", "quorum"] {
        let declare = chan.declare_queue(&queue).argument("x-queue-type", kind);
        declare.await.unwrap();
        let prune = |plan: PlanTopology| plan.prune().owned(&ours);
        let made = plan(&fixture, &Topology::new(), &conn, prune).await;
        put(&chan, &queue, "new").await;
        let err = made.apply(&conn).await.unwrap_err();
        assert_eq!(err.kind(), ErrorKind::PreconditionFailed, "{err}");
        assert_eq!(ready_in(&chan, &queue).await, 1);
        // As the user says aloud, it goes with its message.
        let lossy = |plan: PlanTopology| plan.prune().owned(&ours).allow_message_loss();
        let made = plan(&fixture, &Topology::new(), &conn, lossy).await;
        assert_eq!(
            steps(&made),
            [format!(
                "delete queue '{queue}' with its messages, which are lost"
            )]
        );
        made.apply(&conn).await.unwrap();
    }
}

#[scenario]
async fn exchange_is_replaced_with_its_bindings(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let [exchange, source, queue, foreign] =
        ["exchange", "source", "queue", "foreign"].map(|what| fixture.name(what));
    let old = Topology::new()
        .exchange(&exchange, "direct")
        .exchange(&source, "fanout")
        .queue(&queue)
        .queue(&foreign)
        .bind_exchange(&exchange, &source, "")
        .bind_queue(&queue, &exchange, "k")
        .bind_queue(&foreign, &exchange, "k");
    old.apply(&conn).await.unwrap();
    let wanted = Topology::new()
        .exchange_with(Exchange::new(&exchange, "topic").internal())
        .queue(&queue)
        .bind_queue(&queue, &exchange, "k");

    let made = plan(&fixture, &wanted, &conn, PlanTopology::migrate).await;
    assert_eq!(
        made.blocked()[0].remedy,
        "stop the publishers and call `allow_message_loss`"
    );
    let lossy = |plan: PlanTopology| plan.migrate().allow_message_loss();
    // Cut off after each of its steps, the plan for the rest still knows the foreign binding.
    let all = plan(&fixture, &wanted, &conn, lossy).await.steps().len();
    for done in 1..=all {
        old_exchange(&conn, &exchange, &old).await;
        let made = plan(&fixture, &wanted, &conn, lossy).await;
        made.apply(&conn).first(done).await.unwrap();
        let rest = plan(&fixture, &wanted, &conn, lossy).await;
        rest.apply(&conn).await.unwrap();
        let again = plan(&fixture, &wanted, &conn, lossy).await;
        assert!(again.is_empty(), "after {done}: {again}");
        let body = done.to_string();
        let publish = chan.publish(&source, body.as_str()).routing_key("k");
        publish.await.unwrap();
        for queue in [&queue, &foreign] {
            assert_eq!(drain(&chan, queue).await, [body.as_str()], "after {done}");
        }
    }
}

/// Puts the exchange back as it was, with its bindings.
async fn old_exchange(conn: &Connection, exchange: &str, old: &Topology) {
    let chan = conn.create_channel().await.unwrap();
    chan.delete_exchange(exchange).await.unwrap();
    old.apply(conn).await.unwrap();
    chan.close().await.unwrap();
}

#[scenario(alone)]
async fn plan_sets_and_clears_policies(fixture: Fixture) {
    let conn = fixture.connect().await;
    let [wanted, old] = ["wanted", "old"].map(|what| fixture.name(what));
    let pattern = format!("^{}", fixture.name(""));
    let before = Topology::new()
        .policy(Policy::new(&wanted, &pattern).set("max-length", 1))
        .policy(Policy::new(&old, &pattern).set("max-length", 1));
    let api = fixture.control().management().await;
    before.apply(&conn).management(&api).await.unwrap();
    let topology = Topology::new().policy(
        Policy::new(&wanted, &pattern)
            .priority(2)
            .set("max-length", 7)
            .set("overflow", "reject-publish"),
    );
    let ours = fixture.name("");
    apply(&fixture, &topology, &conn, |plan| plan.prune().owned(&ours)).await;
    let text = topology.to_definitions("/").unwrap();
    assert_eq!(Topology::from_definitions("/", &text).unwrap(), topology);
    // The broker keeps nothing of this scenario.
    let none = |plan: PlanTopology| plan.prune().owned(&ours);
    let made = plan(&fixture, &Topology::new(), &conn, none).await;
    assert_eq!(made.steps(), [Step::ClearPolicy(wanted)]);
    made.apply(&conn).await.unwrap();
}

#[scenario]
async fn what_cannot_be_changed_is_blocked_and_says_why(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    fill(&chan, &queue, &["1", "2", "3"]).await;
    let topology = Topology::new().queue(Queue::new(&queue).max_length(2));
    let by_amqp = topology.plan(&conn).await.unwrap();
    assert_eq!(
        by_amqp.blocked()[0].remedy,
        "give the management API, and call `migrate`"
    );
    let plain = plan(&fixture, &topology, &conn, |plan| plan).await;
    assert_eq!(plain.blocked()[0].remedy, "call `migrate`");
    let full = plan(&fixture, &topology, &conn, PlanTopology::migrate).await;
    assert_eq!(
        full.blocked()[0].why,
        "it has 3 messages, and would drop all beyond 2"
    );
    let err = full.apply(&conn).await.unwrap_err();
    assert!(err.to_string().contains("nothing was changed"), "{err}");

    let consumer = fixture.connect().await;
    let reading = consumer.create_channel().await.unwrap();
    let stream = reading.consume::<String>(&queue).await.unwrap();
    let used = plan(&fixture, &topology, &conn, PlanTopology::migrate).await;
    assert_eq!(used.blocked()[0].why, "it has 1 consumer");
    drop(stream);
}
