//! Publishes whose connection is lost.

use std::collections::HashSet;
use std::sync::Mutex;

use mooq::{Delivery, ErrorKind, OnLoss};
use tokio::sync::mpsc;

use super::recovery::Victim;
use crate::expect::LIMIT;
use crate::scenario;
use crate::steps::drain;
use crate::{Fixture, within};

#[scenario]
async fn a_confirmed_message_outlives_the_connection(fixture: Fixture) {
    let mut victim = Victim::connect(&fixture).await;
    let queue = fixture.name("queue");
    victim.chan.declare_queue(&queue).await.unwrap();
    for number in ["1", "2", "3"] {
        let publish = victim.chan.publish("", number).routing_key(&queue);
        publish.await.unwrap();
        victim.lose().await;
    }
    assert_eq!(drain(&victim.chan, &queue).await, ["1", "2", "3"]);
}

#[scenario]
async fn each_publish_has_an_outcome_and_what_is_confirmed_is_there(fixture: Fixture) {
    let mut victim = Victim::connect(&fixture).await;
    let queue = fixture.name("queue");
    victim.chan.declare_queue(&queue).await.unwrap();
    let mut confirmations = Vec::new();
    for number in 0..300_u32 {
        let publish = victim.chan.publish("", &number).routing_key(&queue);
        // Every other publish is resent after a loss.
        let choice = [OnLoss::Fail, OnLoss::Resend][number as usize % 2];
        confirmations.push((number, publish.on_loss(choice).send().await.unwrap()));
        match number % 100 {
            50 => victim.close_by_force().await,
            99 => drop(victim.is_back().await),
            _ => {}
        }
    }
    let mut confirmed = Vec::new();
    for (number, confirmation) in confirmations {
        match within("the outcome", confirmation).await {
            Ok(()) => confirmed.push(number),
            Err(err) => {
                assert_eq!(err.kind(), ErrorKind::ConnectionLost, "{number}: {err}");
                assert_eq!(number % 2, 0, "{number} was not sent again");
            }
        }
    }
    let mut there = Vec::new();
    while let Some(got) = victim.chan.get::<u32>(&queue).await.unwrap() {
        there.push(got.ack().await.unwrap());
    }
    for number in confirmed {
        assert!(there.contains(&number), "{number} is lost");
    }
}

#[scenario]
async fn messages_with_ids_are_processed_exactly_once(fixture: Fixture) {
    let mut victim = Victim::connect(&fixture).await;
    let (exchange, queue) = (fixture.name("exchange"), fixture.name("queue"));
    let (processed, mut effects) = mpsc::unbounded_channel();
    let seen = Mutex::new(HashSet::new());
    let (conn, consumer) = fixture.channel().await;
    consumer
        .register_consumer(&exchange, "fanout")
        .queue(&queue)
        .callback(move |number: Delivery<u32>| {
            let id = number.properties.message_id.clone().unwrap();
            if seen.lock().unwrap().insert(id) {
                processed.send(number.msg).unwrap();
            }
            std::future::ready(())
        })
        .await
        .unwrap();
    let processed_on = conn.clone();
    let processing = tokio::spawn(async move { processed_on.process_events().await });
    for number in 0..60_u32 {
        // Every tenth publish is in flight when the connection is lost, and some arrive twice.
        let publish = || victim.chan.publish(&exchange, &number);
        let publish = || publish().message_id(format!("order-{number}"));
        let sent = publish().on_loss(OnLoss::Resend).send().await.unwrap();
        if number % 10 == 0 {
            victim.close_by_force().await;
        }
        within("the confirm", sent).await.unwrap();
        if number % 7 == 0 {
            within("the confirm", publish()).await.ok();
        }
        if number % 10 == 0 {
            victim.is_back().await;
        }
    }
    let mut numbers = Vec::new();
    for _ in 0..60 {
        numbers.push(within("the effect", effects.recv()).await.unwrap());
    }
    conn.shutdown(LIMIT).await.unwrap();
    within("the end", processing).await.unwrap().unwrap();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..60).collect::<Vec<_>>());
    assert!(
        effects.recv().await.is_none(),
        "a message was processed twice"
    );
}
