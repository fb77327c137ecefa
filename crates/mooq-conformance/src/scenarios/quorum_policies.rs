//! Quorum queues under policies, where they differ from classic ones.

use mooq_core::FieldValue;
use mooq_memory::ApplyTo;

use super::time_to_live::GROWING;
use crate::Fixture;
use crate::raw::{Raw, passive_queue, quorum_queue_with, table};
use crate::scenario;

/// Sets a policy for one queue.
async fn policy<const N: usize>(fixture: &Fixture, q: &str, definition: [(&str, FieldValue); N]) {
    let (control, pattern) = (fixture.control(), format!("^{q}$"));
    control
        .set_policy(q, &pattern, ApplyTo::Queues, 0, &table(definition))
        .await;
}

/// Declares a quorum queue with the shortest lease that outlasts its own declaration in RabbitMQ.
async fn declare_leased(fixture: &Fixture, q: &str) {
    for millis in GROWING {
        let raw = fixture.raw().await;
        let lease = [("x-expires", i64::from(millis).into())];
        let declared = raw.channel.declare_queue(quorum_queue_with(q, lease)).await;
        if declared.is_ok() {
            return;
        }
    }
    panic!("queues expire before they are declared: {GROWING:?}");
}

/// Waits until a queue has expired.
async fn until_expired(raw: &mut Raw, q: &str) {
    let gone = async {
        while raw.channel.declare_queue(passive_queue(q)).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    crate::within("the queue's expiry", gone).await;
    *raw = raw.sibling().await;
}

#[scenario]
async fn a_policys_overflow_comes_before_an_argument(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let q = fixture.name("q");
    let arguments = [
        ("x-max-length", 2.into()),
        ("x-overflow", "reject-publish".into()),
    ];
    raw.declare_quorum(&q, arguments).await;
    raw.fill(&q, &["1", "2", "3"]).await;
    assert!(!raw.is_taken(&q, "4").await);
    policy(&fixture, &q, [("overflow", "drop-head".into())]).await;
    raw.until_counts(&q, (2, 0)).await;
    // The refused channel does not learn that the queue takes messages again.
    assert!(!raw.is_taken(&q, "5").await);
    fixture.publisher().await.fill(&q, &["6", "7"]).await;
    assert!(!raw.is_taken(&q, "8").await);
    assert_eq!(raw.drain(&q).await, ["6", "7"]);
    fixture.control().clear_policy(&q).await;
    assert!(!raw.is_taken(&q, "9").await);
    // The channel goes on once the queue has been full again and falls to four fifths.
    fixture
        .publisher()
        .await
        .fill(&q, &["10", "11", "12"])
        .await;
    assert_eq!(raw.drain(&q).await, ["10", "11", "12"]);
    raw.until_taken(&q, "13").await;

    let other = fixture.name("other");
    raw.declare_quorum(&other, [("x-overflow", "drop-head".into())])
        .await;
    let definition = [
        ("max-length", 1.into()),
        ("overflow", "reject-publish".into()),
    ];
    policy(&fixture, &other, definition).await;
    raw.fill(&other, &["1", "2"]).await;
    assert!(!raw.is_taken(&other, "3").await);
    assert_eq!(raw.drain(&other).await, ["1", "2"]);
}

/// Clears the policy that limits a refusing queue, and publishes once more.
async fn is_taken_without_limit(fixture: &Fixture) -> bool {
    let mut raw = fixture.publisher().await;
    let q = fixture.name("q");
    raw.declare_quorum(&q, [("x-overflow", "reject-publish".into())])
        .await;
    policy(fixture, &q, [("max-length", 2.into())]).await;
    raw.fill(&q, &["1", "2", "3"]).await;
    assert!(!raw.is_taken(&q, "4").await);
    fixture.control().clear_policy(&q).await;
    // The queue handles the change before this get.
    let fetched = raw.fetch(&q).await;
    raw.ack(fetched.delivery_tag);
    raw.until_counts(&q, (2, 0)).await;
    raw.is_taken(&q, "5").await
}

#[scenario(since = V4_0)]
async fn clearing_the_length_limit_has_a_queue_take_messages_again(fixture: Fixture) {
    assert!(is_taken_without_limit(&fixture).await);
}

#[scenario(before = V4_0)]
async fn clearing_the_length_limit_leaves_refused_channels_refused(fixture: Fixture) {
    assert!(!is_taken_without_limit(&fixture).await);
    let q = fixture.name("q");
    assert!(fixture.publisher().await.is_taken(&q, "6").await);
}

#[scenario]
async fn a_higher_limit_has_a_queue_take_messages_again(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let q = fixture.name("q");
    raw.declare_quorum(&q, [("x-overflow", "reject-publish".into())])
        .await;
    policy(&fixture, &q, [("max-length", 2.into())]).await;
    raw.fill(&q, &["1", "2", "3"]).await;
    assert!(!raw.is_taken(&q, "4").await);
    // Three are above four fifths of three, and below those of ten.
    policy(&fixture, &q, [("max-length", 3.into())]).await;
    assert!(!raw.is_taken(&q, "5").await);
    policy(&fixture, &q, [("max-length", 10.into())]).await;
    raw.until_taken(&q, "6").await;
}

#[scenario(before = V4_0)]
async fn a_policys_lease_comes_before_an_argument(fixture: Fixture) {
    let mut raw = fixture.raw().await;
    let [q, leased] = ["q", "leased"].map(|name| fixture.name(name));
    policy(&fixture, &q, [("expires", 3_600_000.into())]).await;
    for queue in [&q, &leased] {
        declare_leased(&fixture, queue).await;
    }
    until_expired(&mut raw, &leased).await;
    raw.channel.declare_queue(passive_queue(&q)).await.unwrap();
    policy(&fixture, &q, [("expires", 1.into())]).await;
    until_expired(&mut raw, &q).await;
}

#[scenario(since = V4_0)]
async fn lease_is_the_shorter_of_argument_and_policy(fixture: Fixture) {
    let mut raw = fixture.raw().await;
    let [q, other] = ["q", "other"].map(|name| fixture.name(name));
    policy(&fixture, &q, [("expires", 3_600_000.into())]).await;
    declare_leased(&fixture, &q).await;
    until_expired(&mut raw, &q).await;
    let long = [("x-expires", 3_600_000.into())];
    raw.declare_quorum(&other, long).await;
    policy(&fixture, &other, [("expires", 1.into())]).await;
    until_expired(&mut raw, &other).await;
}
