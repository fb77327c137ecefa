//! Publisher confirms and transactions.

use std::collections::BTreeSet;

use mooq_core::{ChannelEvent, ExchangeKind, QueueDeclare};

use crate::expect::method::{BASIC_PUBLISH, CONFIRM_SELECT, TX_COMMIT, TX_ROLLBACK, TX_SELECT};
use crate::raw::{Raw, mandatory, message, queue, quorum_queue, table, text};
use crate::scenario;
use crate::{Fixture, Version};

impl Raw {
    /// Selects a transaction.
    async fn tx_select(&self) {
        self.methods()
            .tx_select()
            .await
            .expect("the channel has tx");
    }

    /// Waits until each of the first `count` publishes is confirmed, and no other.
    async fn all_confirmed(&mut self, count: u64) {
        let mut waiting: BTreeSet<u64> = (1..=count).collect();
        while !waiting.is_empty() {
            match self.event().await {
                ChannelEvent::Confirm { sequence, multiple } => {
                    assert!(sequence <= count, "{sequence} was not published");
                    if multiple {
                        waiting = waiting.split_off(&(sequence + 1));
                    } else {
                        assert!(waiting.remove(&sequence), "{sequence} is confirmed once");
                    }
                }
                other => panic!("expected a confirm, not {other:?}"),
            }
        }
    }
}

#[scenario]
async fn confirms_are_numbered_from_1(fixture: Fixture) {
    let mut raw = fixture.raw().await;
    let q = fixture.name("q");
    raw.declare(&q).await;
    // Earlier publishes are not counted.
    raw.publish("", &q, "before");
    raw.confirm_select().await;
    for number in 1..=3 {
        raw.publish("", &q, "m");
        assert_eq!(raw.confirmed().await, number);
    }
    // Selecting again changes nothing.
    raw.confirm_select().await;
    raw.publish("", &q, "m");
    assert_eq!(raw.confirmed().await, 4);
    assert_eq!(raw.counts(&q).await, (5, 0));
}

#[scenario]
async fn confirms_count_apart_from_deliveries_and_channels(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let mut sibling = raw.sibling().await;
    let q = fixture.name("q");
    raw.declare(&q).await;
    raw.fill(&q, &["1", "2", "3"]).await;
    assert_eq!(raw.fetch(&q).await.delivery_tag, 1);
    raw.publish("", &q, "4");
    assert_eq!(raw.confirmed().await, 4);
    sibling.confirm_select().await;
    sibling.publish("", &q, "5");
    assert_eq!(sibling.confirmed().await, 1);
}

#[scenario]
async fn confirms_reach_the_last_of_a_burst(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let (x, first, second) = (
        fixture.name("x"),
        fixture.name("first"),
        fixture.name("second"),
    );
    raw.declare_exchange(&x, ExchangeKind::Topic).await;
    for (queue, pattern) in [(&first, "#"), (&second, "even")] {
        raw.declare(queue).await;
        raw.bind(queue, &x, pattern).await;
    }
    for number in 0..500 {
        let key = if number % 2 == 0 { "even" } else { "odd" };
        raw.publish(&x, key, &number.to_string());
    }
    raw.all_confirmed(500).await;
    raw.nothing_more().await;
    assert_eq!(raw.counts(&first).await, (500, 0));
    assert_eq!(raw.counts(&second).await, (250, 0));
    let numbers: Vec<String> = (0..500).map(|number| number.to_string()).collect();
    assert_eq!(raw.drain(&first).await, numbers);
}

#[scenario]
async fn a_confirmed_message_is_in_every_queue_that_it_matches(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let x = fixture.name("x");
    raw.declare_exchange(&x, ExchangeKind::Fanout).await;
    let queues: Vec<String> = (0..5).map(|n| fixture.name(&n.to_string())).collect();
    for queue in &queues {
        raw.declare(queue).await;
        raw.bind(queue, &x, "").await;
    }
    raw.publish(&x, "", "m");
    assert_eq!(raw.confirmed().await, 1, "one confirm for five queues");
    for queue in &queues {
        assert_eq!(raw.counts(queue).await, (1, 0));
    }
    raw.nothing_more().await;
}

#[scenario]
async fn a_consumer_need_not_acknowledge_for_a_confirm(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let mut consuming = fixture.raw().await;
    let q = fixture.name("q");
    raw.declare(&q).await;
    consuming.consume(&q).await;
    raw.publish("", &q, "m");
    assert_eq!(raw.confirmed().await, 1);
    assert_eq!(text(&consuming.delivery().await), "m");
}

#[scenario]
async fn returned_and_routed_messages_are_confirmed_alike(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let q = fixture.name("q");
    raw.declare(&q).await;
    raw.put("", &q, "1").await;
    raw.send(mandatory(message("", &fixture.name("nowhere"), "2")));
    assert_eq!(crate::raw::body(&raw.returned().await.message), "2");
    assert_eq!(raw.confirmed().await, 2);
    raw.publish("", &q, "3");
    assert_eq!(raw.confirmed().await, 3);
}

#[scenario]
async fn asking_for_confirms_again_goes_on_counting(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let q = fixture.name("q");
    raw.declare(&q).await;
    for sequence in 1..=3 {
        raw.publish("", &q, "m");
        assert_eq!(raw.confirmed().await, sequence);
        raw.confirm_select().await;
    }
}

#[scenario]
async fn a_refused_message_fails_its_commit(fixture: Fixture) {
    let mut raw = fixture.raw().await;
    let (full, roomy) = (fixture.name("full"), fixture.name("roomy"));
    let arguments = table([
        ("x-max-length", 0.into()),
        ("x-overflow", "reject-publish".into()),
    ]);
    raw.declare_with(QueueDeclare {
        arguments,
        ..queue(&full)
    })
    .await;
    raw.declare(&roomy).await;
    raw.tx_select().await;
    raw.publish("", &full, "refused");
    raw.publish("", &roomy, "taken");
    let outcome = raw.methods().tx_commit().await;
    let text = "PRECONDITION_FAILED - partial tx completion";
    raw.refused(outcome, 406, TX_COMMIT, text).await;
    raw.receives(&roomy, &["taken"]).await;
}

#[scenario]
async fn confirms_and_transactions_exclude_each_other(fixture: Fixture) {
    let mut raw = fixture.raw().await;
    raw.confirm_select().await;
    let outcome = raw.methods().tx_select().await;
    let text = "PRECONDITION_FAILED - cannot switch from confirm to tx mode";
    raw.refused(outcome, 406, TX_SELECT, text).await;

    raw.tx_select().await;
    let outcome = raw.channel.confirm_select().await;
    let text = "PRECONDITION_FAILED - cannot switch from tx to confirm mode";
    raw.refused(outcome, 406, CONFIRM_SELECT, text).await;
}

#[scenario]
async fn committing_outside_a_transaction_is_refused(fixture: Fixture) {
    let mut raw = fixture.raw().await;
    let text = "PRECONDITION_FAILED - channel is not transactional";
    let outcome = raw.methods().tx_commit().await;
    raw.refused(outcome, 406, TX_COMMIT, text).await;
    let outcome = raw.methods().tx_rollback().await;
    raw.refused(outcome, 406, TX_ROLLBACK, text).await;
    raw.confirm_select().await;
    let outcome = raw.methods().tx_commit().await;
    raw.refused(outcome, 406, TX_COMMIT, text).await;
}

#[scenario]
async fn published_messages_arrive_with_the_commit(fixture: Fixture) {
    let raw = fixture.raw().await;
    let q = fixture.name("q");
    raw.declare(&q).await;
    raw.tx_select().await;
    raw.tx_select().await;
    raw.publish("", &q, "1");
    raw.publish("", &q, "2");
    assert!(raw.get(&q).await.is_none(), "not yet");
    raw.methods().tx_commit().await.unwrap();
    assert_eq!(raw.drain(&q).await, ["1", "2"]);

    // The next transaction begins by itself.
    raw.publish("", &q, "3");
    assert!(raw.get(&q).await.is_none(), "not yet");
    raw.methods().tx_commit().await.unwrap();
    assert_eq!(raw.drain(&q).await, ["3"]);
}

#[scenario]
async fn a_rollback_forgets_publishes_and_acks(fixture: Fixture) {
    let mut publisher = fixture.publisher().await;
    let mut raw = fixture.raw().await;
    let q = fixture.name("q");
    raw.declare(&q).await;
    publisher.fill(&q, &["1", "2"]).await;
    raw.tx_select().await;
    assert_eq!(raw.fetch(&q).await.delivery_tag, 1);
    raw.publish("", &q, "forgotten");
    raw.ack(1);
    raw.methods().tx_rollback().await.unwrap();

    // The rollback undoes the ack: the message is unacked on this channel again.
    assert_eq!(raw.fetch(&q).await.delivery_tag, 2);
    assert!(raw.get(&q).await.is_none());
    raw.nothing_more().await;
    raw.ack(1);
    raw.methods().tx_commit().await.unwrap();
    raw.channel.close().await.unwrap();
    publisher.receives(&q, &["2"]).await;
}

#[scenario]
async fn acks_count_with_the_commit(fixture: Fixture) {
    let mut publisher = fixture.publisher().await;
    let raw = fixture.raw().await;
    let q = fixture.name("q");
    raw.declare(&q).await;
    publisher.fill(&q, &["1", "2", "3"]).await;
    raw.tx_select().await;
    for _ in 0..3 {
        raw.fetch(&q).await;
    }
    raw.ack(1);
    raw.requeue(2);
    assert!(raw.get(&q).await.is_none(), "not yet");
    raw.methods().tx_commit().await.unwrap();
    assert_eq!(raw.drain(&q).await, ["2"]);
    raw.ack(3);
    // Closing the channel is no commit.
    raw.channel.close().await.unwrap();
    publisher.receives(&q, &["3"]).await;
}

#[scenario]
async fn a_transaction_routes_when_it_publishes(fixture: Fixture) {
    let mut raw = fixture.raw().await;
    let (x, q) = (fixture.name("x"), fixture.name("q"));
    raw.declare_exchange(&x, ExchangeKind::Fanout).await;
    raw.declare(&q).await;
    raw.tx_select().await;
    raw.send(mandatory(message(&x, "", "nowhere to go yet")));
    raw.nothing_more().await;
    raw.bind(&q, &x, "").await;
    raw.publish(&x, "", "bound");
    raw.methods().tx_commit().await.unwrap();
    let returned = raw.returned().await;
    assert_eq!(crate::raw::body(&returned.message), "nowhere to go yet");
    assert_eq!(raw.drain(&q).await, ["bound"]);
}

/// A transaction on two queues, one of which is deleted and declared again, without its binding.
async fn publish_and_replace_a_queue(raw: &mut Raw, fixture: &Fixture) -> (String, String) {
    let (x, gone, stays) = (
        fixture.name("x"),
        fixture.name("gone"),
        fixture.name("stays"),
    );
    raw.declare_exchange(&x, ExchangeKind::Fanout).await;
    for q in [&gone, &stays] {
        raw.declare(q).await;
        raw.bind(q, &x, "").await;
    }
    raw.tx_select().await;
    raw.publish(&x, "", "to both");
    raw.publish("", &gone, "to one");
    raw.settled().await;
    raw.delete(&gone).await;
    raw.declare(&gone).await;
    (gone, stays)
}

#[scenario(since = V4_0)]
async fn a_commit_to_a_queue_that_has_gone_is_refused(fixture: Fixture) {
    let mut raw = fixture.raw().await;
    let (gone, stays) = publish_and_replace_a_queue(&mut raw, &fixture).await;
    let outcome = raw.methods().tx_commit().await;
    let text = "PRECONDITION_FAILED - partial tx completion";
    raw.refused(outcome, 406, TX_COMMIT, text).await;
    assert_eq!(
        raw.drain(&gone).await,
        [""; 0],
        "the new queue of this name is empty"
    );
    assert_eq!(raw.drain(&stays).await, ["to both"]);
}

#[scenario]
async fn commit_to_a_deleted_queue_fails_from_4_2_on(fixture: Fixture) {
    for (gone, declare) in [
        ("commit-to-gone", queue("commit-to-gone")),
        ("commit-quorum", quorum_queue("commit-quorum")),
    ] {
        let mut raw = fixture.raw().await;
        let other = fixture.raw().await;
        let (stays, x) = (fixture.name("stays"), fixture.name("x"));
        raw.declare_with(declare).await;
        raw.declare(&stays).await;
        raw.declare_exchange(&x, ExchangeKind::Fanout).await;
        raw.bind(gone, &x, "").await;
        raw.bind(&stays, &x, "").await;
        raw.tx_select().await;
        raw.publish("", &stays, "before");
        raw.publish(&x, "", "to both");
        raw.publish("", &stays, "after");
        raw.settled().await;
        raw.delete(gone).await;
        let outcome = raw.methods().tx_commit().await;
        let mut left = vec!["before", "to both", "after"];
        if fixture.version() >= Version::V4_2 {
            outcome.unwrap_err();
            let indent = " ".repeat(31);
            let resource = format!("{{resource,<<\"/\">>,queue,<<\"{gone}\">>}}");
            let text = format!(
                "RESOURCE_ERROR - failed to deliver message: {{not_found,\n{indent}{resource}}}"
            );
            raw.closes_connection(506, TX_COMMIT, &text).await;
            left.truncate(1);
        } else if fixture.version() >= Version::V4_0 && gone == "commit-to-gone" {
            let text = "PRECONDITION_FAILED - partial tx completion";
            raw.refused(outcome, 406, TX_COMMIT, text).await;
        } else {
            outcome.unwrap();
        }
        assert_eq!(other.drain(&stays).await, left, "{gone}");
    }
}

#[scenario(before = V4_0)]
async fn a_commit_finds_its_queues_by_name(fixture: Fixture) {
    let mut raw = fixture.raw().await;
    let (gone, stays) = publish_and_replace_a_queue(&mut raw, &fixture).await;
    raw.methods().tx_commit().await.unwrap();
    assert_eq!(raw.drain(&gone).await, ["to both", "to one"]);
    assert_eq!(raw.drain(&stays).await, ["to both"]);
    raw.send(mandatory(message("", &gone, "to none")));
    raw.settled().await;
    raw.delete(&gone).await;
    raw.methods().tx_commit().await.unwrap();
    let returned = raw.returned().await;
    assert_eq!(crate::raw::body(&returned.message), "to none");
}

#[scenario]
async fn an_error_in_a_transaction_comes_with_the_publish(fixture: Fixture) {
    let mut raw = fixture.raw().await;
    let (x, q) = (fixture.name("x"), fixture.name("q"));
    raw.declare(&q).await;
    raw.tx_select().await;
    raw.publish("", &q, "never committed");
    raw.publish(&x, "", "lost");
    let text = format!("NOT_FOUND - no exchange '{x}' in vhost '/'");
    raw.closes(404, BASIC_PUBLISH, &text).await;
    raw.confirm_select().await;
    raw.fill(&q, &["after"]).await;
    assert_eq!(raw.drain(&q).await, ["after"]);
}
