//! Publishes whose connection is lost.

use mooq::{ErrorKind, OnLoss};

use super::recovery::Victim;
use super::scenarios;
use crate::steps::drain;
use crate::{Fixture, within};

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

async fn each_publish_has_an_outcome_and_what_is_confirmed_is_there(fixture: Fixture) {
    let mut victim = Victim::connect(&fixture).await;
    let queue = fixture.name("queue");
    victim.chan.declare_queue(&queue).await.unwrap();
    let mut confirmations = Vec::new();
    for number in 0..300_u32 {
        let publish = victim.chan.publish("", &number).routing_key(&queue);
        // Every other one is to arrive in any case.
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
                assert_eq!(number % 2, 0, "{number} was to be sent again");
            }
        }
    }
    let mut there = Vec::new();
    while let Ok(got) = victim.chan.get::<u32>(&queue).await {
        there.push(got.ack().await.unwrap());
    }
    for number in confirmed {
        assert!(there.contains(&number), "{number} is lost");
    }
}

scenarios! { recovery_publishing:
    a_confirmed_message_outlives_the_connection,
    each_publish_has_an_outcome_and_what_is_confirmed_is_there,
}
