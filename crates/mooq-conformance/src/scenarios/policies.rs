//! Policies: settings that an administrator adds to the arguments of queues and exchanges.

use mooq_core::{ExchangeKind, FieldValue, Publish, QueueDeclare, Settlement};
use mooq_memory::ApplyTo;

use crate::Fixture;
use crate::expect::{method, within};
use crate::raw::{Raw, exchange, message, queue, table};
use crate::scenario;

/// Sets a policy for the names of this scenario that begin with `what`.
async fn policy<const N: usize>(
    fixture: &Fixture,
    what: &str,
    apply_to: ApplyTo,
    priority: i64,
    definition: [(&str, FieldValue); N],
) {
    let (name, pattern) = (fixture.name(&format!("{priority}")), fixture.name(what));
    let pattern = format!("^{pattern}");
    let control = fixture.control();
    control
        .set_policy(&name, &pattern, apply_to, priority, &table(definition))
        .await;
}

/// Sets a policy of priority 0 for names that begin with `what`.
async fn simple<const N: usize>(
    fixture: &Fixture,
    what: &str,
    definition: [(&str, FieldValue); N],
) {
    policy(fixture, what, ApplyTo::All, 0, definition).await;
}

/// The messages that are left of five in a queue with an argument.
async fn left_of_five<const N: usize>(
    fixture: &Fixture,
    name: &str,
    arguments: [(&str, FieldValue); N],
) -> Vec<String> {
    let mut raw = fixture.publisher().await;
    raw.declare_with(QueueDeclare {
        arguments: table(arguments),
        ..queue(name)
    })
    .await;
    for body in ["1", "2", "3", "4", "5"] {
        raw.send(Publish::new(message("", name, body)));
        raw.event().await; // Taken or refused.
    }
    raw.drain(name).await
}

#[scenario]
async fn a_policy_bounds_the_queues_that_its_pattern_matches(fixture: Fixture) {
    simple(&fixture, "bounded", [("max-length", 2.into())]).await;
    let left = left_of_five(&fixture, &fixture.name("bounded"), []).await;
    assert_eq!(left, ["4", "5"]);
    let left = left_of_five(&fixture, &fixture.name("free"), []).await;
    assert_eq!(left, ["1", "2", "3", "4", "5"]);
}

#[scenario]
async fn a_policy_holds_for_queues_that_are_there_already(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let name = fixture.name("queue");
    raw.declare(&name).await;
    raw.fill(&name, &["1", "2", "3"]).await;
    simple(&fixture, "queue", [("max-length", 1.into())]).await;
    assert_eq!(raw.drain(&name).await, ["3"]);

    fixture.control().clear_policy(&fixture.name("0")).await;
    raw.fill(&name, &["4", "5"]).await;
    assert_eq!(raw.drain(&name).await, ["4", "5"]);
}

#[scenario]
async fn policy_and_argument_combine_to_the_smaller_limit(fixture: Fixture) {
    simple(&fixture, "", [("max-length", 2.into())]).await;
    let smaller = [("x-max-length", 1.into())];
    let left = left_of_five(&fixture, &fixture.name("smaller"), smaller).await;
    assert_eq!(left, ["5"]);
    let greater = [("x-max-length", 3.into())];
    let left = left_of_five(&fixture, &fixture.name("greater"), greater).await;
    assert_eq!(left, ["4", "5"]);
}

#[scenario]
async fn an_argument_that_is_no_limit_comes_before_a_policy(fixture: Fixture) {
    let definition = [
        ("max-length", 2.into()),
        ("overflow", "reject-publish".into()),
    ];
    simple(&fixture, "", definition).await;
    let left = left_of_five(&fixture, &fixture.name("plain"), []).await;
    assert_eq!(left, ["1", "2"]);
    let drop_head = [("x-overflow", "drop-head".into())];
    let left = left_of_five(&fixture, &fixture.name("drop-head"), drop_head).await;
    assert_eq!(left, ["4", "5"]);
}

#[scenario]
async fn the_policy_with_the_highest_priority_counts_alone(fixture: Fixture) {
    let reject = [
        ("overflow", "reject-publish".into()),
        ("max-length", 1.into()),
    ];
    policy(&fixture, "", ApplyTo::Queues, 1, reject).await;
    policy(&fixture, "", ApplyTo::Queues, 2, [("max-length", 3.into())]).await;
    // A policy may be for exchanges alone, or have settings unknown to these queues.
    policy(
        &fixture,
        "",
        ApplyTo::Exchanges,
        3,
        [("max-length", 0.into())],
    )
    .await;
    let foreign = [("delivery-limit", 3.into()), ("max-length", 0.into())];
    policy(&fixture, "", ApplyTo::Queues, 4, foreign).await;
    let left = left_of_five(&fixture, &fixture.name("queue"), []).await;
    assert_eq!(left, ["3", "4", "5"]);
}

#[scenario]
async fn an_operators_policy_comes_on_top(fixture: Fixture) {
    simple(&fixture, "", [("max-length", 3.into())]).await;
    let (name, pattern) = (fixture.name("operators"), format!("^{}", fixture.name("")));
    let definition = table([("max-length", 2.into())]);
    let control = fixture.control();
    control
        .set_operator_policy(&name, &pattern, &definition)
        .await;
    let left = left_of_five(&fixture, &fixture.name("queue"), []).await;
    assert_eq!(left, ["4", "5"]);

    control.clear_operator_policy(&name).await;
    let left = left_of_five(&fixture, &fixture.name("queue"), []).await;
    assert_eq!(left, ["3", "4", "5"]);
}

#[scenario]
async fn a_policy_sends_dead_letters_somewhere(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let (name, dead) = (fixture.name("queue"), fixture.name("dead"));
    raw.declare(&name).await;
    raw.declare(&dead).await;
    let definition = [
        ("dead-letter-exchange", "".into()),
        ("dead-letter-routing-key", dead.as_str().into()),
    ];
    simple(&fixture, "queue", definition).await;
    raw.fill(&name, &["body"]).await;
    let fetched = raw.fetch(&name).await;
    raw.settle(fetched.delivery_tag, Settlement::Reject { requeue: false });
    raw.receives(&dead, &["body"]).await;
}

#[scenario]
async fn a_policys_time_to_live_is_for_messages_that_come_after_it(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let name = fixture.name("queue");
    raw.declare(&name).await;
    raw.fill(&name, &["before"]).await;
    simple(&fixture, "queue", [("message-ttl", 0.into())]).await;
    assert_eq!(raw.drain(&name).await, ["before"]);
    raw.fill(&name, &["after"]).await;
    assert_eq!(raw.drain(&name).await, [""; 0]);
}

#[scenario]
async fn a_policy_drops_what_is_too_much_before_it_refuses_more(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let name = fixture.name("queue");
    raw.declare(&name).await;
    raw.fill(&name, &["1", "2", "3", "4"]).await;
    let refusing = |limit: i32| {
        [
            ("max-length", limit.into()),
            ("overflow", "reject-publish".into()),
        ]
    };
    simple(&fixture, "queue", refusing(3)).await;
    assert_eq!(raw.counts(&name).await, (3, 0));
    // A queue that refuses messages drops none under a lower limit.
    policy(&fixture, "queue", ApplyTo::All, 1, refusing(1)).await;
    assert_eq!(raw.counts(&name).await, (3, 0));
    let dropping = [("max-length", 2.into())];
    policy(&fixture, "queue", ApplyTo::All, 2, dropping).await;
    assert_eq!(raw.drain(&name).await, ["3", "4"]);
}

#[scenario]
async fn policy_with_ttl_0_keeps_no_message_that_comes_after_it(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let name = fixture.name("queue");
    raw.declare(&name).await;
    raw.fill(&name, &["1"]).await;
    simple(&fixture, "queue", [("message-ttl", 0.into())]).await;
    raw.fill(&name, &["2"]).await;
    assert_eq!(raw.counts(&name).await, (1, 0));
    // Expired messages at the head are dead-lettered.
    let definition = [
        ("message-ttl", 0.into()),
        ("dead-letter-exchange", "no-such-exchange".into()),
    ];
    policy(&fixture, "queue", ApplyTo::All, 1, definition).await;
    raw.fill(&name, &["3"]).await;
    assert_eq!(raw.counts(&name).await, (2, 0));
    assert_eq!(raw.drain(&name).await, ["1"]);
}

#[scenario]
async fn a_policy_gives_an_exchange_an_alternate(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let (source, other) = (fixture.name("source"), fixture.name("other"));
    let queue = fixture.name("queue");
    raw.declare(&queue).await;
    raw.declare_exchange(&source, ExchangeKind::Direct).await;
    raw.declare_exchange(&other, ExchangeKind::Fanout).await;
    raw.bind(&queue, &other, "").await;
    let definition = [("alternate-exchange", other.as_str().into())];
    policy(&fixture, "source", ApplyTo::Exchanges, 0, definition).await;
    raw.put(&source, "key", "lost and found").await;
    assert_eq!(raw.drain(&queue).await, ["lost and found"]);
    fixture.control().clear_policy(&fixture.name("0")).await;
    // RabbitMQ's exchanges may apply the change a moment later.
    within("the policy's end", async {
        loop {
            raw.put(&source, "key", "lost").await;
            if raw.drain(&queue).await.is_empty() {
                break;
            }
        }
    })
    .await;
}

#[scenario]
async fn an_argument_names_another_alternate_than_a_policy(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let (source, own) = (fixture.name("source"), fixture.name("own"));
    let queue = fixture.name("queue");
    raw.declare(&queue).await;
    raw.declare_exchange(&own, ExchangeKind::Fanout).await;
    raw.bind(&queue, &own, "").await;
    let declare = mooq_core::ExchangeDeclare {
        arguments: table([("alternate-exchange", own.as_str().into())]),
        ..exchange(&source, ExchangeKind::Direct)
    };
    raw.channel.declare_exchange(declare).await.unwrap();
    let definition = [("alternate-exchange", "no-such-exchange".into())];
    simple(&fixture, "source", definition).await;
    raw.put(&source, "key", "body").await;
    assert_eq!(raw.drain(&queue).await, ["body"]);
}

#[scenario]
async fn a_redeclare_compares_arguments_and_no_policies(fixture: Fixture) {
    let mut raw: Raw = fixture.raw().await;
    let name = fixture.name("queue");
    simple(&fixture, "queue", [("max-length", 5.into())]).await;
    raw.declare(&name).await;
    raw.declare(&name).await;
    let declare = QueueDeclare {
        arguments: table([("x-max-length", 5.into())]),
        ..queue(&name)
    };
    let outcome = raw.channel.declare_queue(declare).await;
    let text = format!(
        "PRECONDITION_FAILED - inequivalent arg 'x-max-length' for queue '{name}' in vhost '/': \
         received the value '5' of type 'signedint' but current is none"
    );
    raw.refused(outcome, 406, method::QUEUE_DECLARE, &text)
        .await;
}
