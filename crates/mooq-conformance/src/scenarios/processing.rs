//! `process_events`: when it runs callbacks.

use std::future::IntoFuture;

use mooq::{Delivery, ErrorKind};

use crate::Fixture;
use crate::scenario;
use crate::steps::{bodies, fill, processing, put, record};

#[scenario]
async fn callbacks_run_only_while_events_are_processed(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let exchange = fixture.name("exchange");
    let (recorder, mut calls) = record::<String>();
    chan.register_consumer(&exchange, "fanout")
        .callback(recorder.callback())
        .await
        .unwrap();
    for body in ["first", "second"] {
        chan.publish(&exchange, body).await.unwrap();
    }
    assert!(calls.so_far().is_empty());
    assert_eq!(bodies(calls.take(&conn, 2).await), ["first", "second"]);
}

#[scenario]
async fn processing_cycle_starts_at_most_one_callback_for_each_consumer(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let mut both = Vec::new();
    for name in ["one", "other"] {
        let queue = fixture.name(name);
        fill(&chan, &queue, &["1", "2", "3"]).await;
        let (recorder, calls) = record::<String>();
        chan.register_consumer(fixture.name("exchange"), "fanout")
            .queue(&queue)
            .callback(recorder.callback())
            .await
            .unwrap();
        both.push((Vec::new(), calls));
    }
    let cycles = async {
        while both.iter().any(|(seen, _)| seen.len() < 3) {
            conn.process_events().cycles(1).await.unwrap();
            for (seen, calls) in &mut both {
                let now = bodies(calls.so_far());
                assert!(now.len() <= 1, "{now:?} were all called in one cycle");
                seen.extend(now);
            }
        }
    };
    crate::within("three callbacks of each", cycles).await;
    for (seen, _) in both {
        assert_eq!(seen, ["1", "2", "3"]);
    }
}

#[scenario]
async fn processing_cycle_ends_when_its_callbacks_have(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    fill(&chan, &queue, &["first", "second"]).await;
    let (recorder, mut calls) = record::<String>();
    let asking = chan.clone();
    chan.register_consumer(fixture.name("exchange"), "fanout")
        .queue(&queue)
        .callback(move |resp: Delivery<String>| {
            let (chan, recorder) = (asking.clone(), recorder.clone());
            async move {
                // A slow callback: it makes two calls to the broker.
                let own = chan.declare_queue("").exclusive().await?;
                chan.delete_queue(own.name).await?;
                recorder.note(resp);
                Ok::<(), mooq::Error>(())
            }
        })
        .await
        .unwrap();
    let cycles = async {
        let mut seen = Vec::new();
        while seen.len() < 2 {
            conn.process_events().cycles(1).await.unwrap();
            seen.extend(calls.so_far());
        }
        seen
    };
    let seen = crate::within("two cycles with a callback", cycles).await;
    assert!(
        seen.iter().all(|call| !call.redelivered),
        "no callback was cut off"
    );
}

#[scenario]
async fn processing_cycle_without_messages_ends(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let (recorder, mut calls) = record::<String>();
    chan.register_consumer(fixture.name("exchange"), "fanout")
        .callback(recorder.callback())
        .await
        .unwrap();
    let cycles = conn.process_events().cycles(3);
    crate::within("the end of three cycles", cycles)
        .await
        .unwrap();
    let until_idle = conn.process_events().until_idle();
    crate::within("the end when idle", until_idle)
        .await
        .unwrap();
    assert!(calls.so_far().is_empty());
}

#[scenario]
async fn until_idle_follows_messages_that_callbacks_publish(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let exchange = fixture.name("countdown");
    let (recorder, mut calls) = record::<u32>();
    let publishing = (chan.clone(), exchange.clone());
    chan.register_consumer(&exchange, "fanout")
        .callback(move |resp: Delivery<u32>| {
            let (chan, exchange) = publishing.clone();
            let left = resp.msg;
            recorder.note(resp);
            async move {
                if left > 0 {
                    chan.publish(&exchange, &(left - 1)).await?;
                }
                Ok::<(), mooq::Error>(())
            }
        })
        .await
        .unwrap();
    chan.publish(&exchange, &5).await.unwrap();
    // A busy broker may pause between two messages for longer than processing stays idle.
    let mut seen = Vec::new();
    let countdown = async {
        while seen.len() < 6 {
            conn.process_events().until_idle().await.unwrap();
            seen.extend(bodies(calls.so_far()));
        }
    };
    crate::within("the countdown", countdown).await;
    assert_eq!(seen, [5, 4, 3, 2, 1, 0]);
}

#[scenario]
async fn processing_by_two_calls_at_once_is_not_allowed(fixture: Fixture) {
    let conn = fixture.connect().await;
    let again = conn.clone();
    let err = processing(&conn, "the second call", async {
        again.process_events().await.unwrap_err()
    })
    .await;
    assert_eq!(err.kind(), ErrorKind::NotAllowed);
    // After the first call another one is allowed.
    conn.process_events().until_idle().await.unwrap();
}

#[scenario]
async fn processing_keeps_its_connection_open(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let exchange = fixture.name("exchange");
    let (recorder, mut calls) = record::<String>();
    chan.register_consumer(&exchange, "fanout")
        .callback(recorder.callback())
        .await
        .unwrap();
    let process = conn.process_events().until_idle();
    chan.publish(&exchange, "body").await.unwrap();
    drop((conn, chan));
    let process = tokio::spawn(process.into_future());
    let call = crate::within("the callback", calls.noted()).await;
    assert_eq!(call.msg, "body");
    crate::within("the end when idle", process)
        .await
        .unwrap()
        .unwrap();
}

#[scenario]
async fn consumers_of_several_channels_run_side_by_side(fixture: Fixture) {
    let conn = fixture.connect().await;
    let mut all = Vec::new();
    for number in 0..5 {
        let chan = conn.create_channel().await.unwrap();
        let queue = fixture.name(&number.to_string());
        let (recorder, calls) = record::<String>();
        chan.register_consumer(fixture.name("exchange"), "fanout")
            .queue(&queue)
            .callback(recorder.callback())
            .await
            .unwrap();
        all.push((chan, queue, calls));
    }
    for (chan, queue, _) in &all {
        put(chan, queue, queue).await;
    }
    for (_, queue, calls) in &mut all {
        assert_eq!(&calls.next(&conn).await.msg, queue);
    }
}

#[scenario]
async fn a_callback_may_wait_for_the_broker_on_its_own_channel(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let (queue, answers) = (fixture.name("queue"), fixture.name("answers"));
    fill(&chan, &queue, &["request"]).await;
    let (recorder, mut calls) = record::<String>();
    let register = chan.register_consumer(&answers, "fanout");
    register.callback(recorder.callback()).await.unwrap();
    let (own, temporary) = (chan.clone(), fixture.name("temporary"));
    let register = chan.register_consumer(fixture.name("exchange"), "fanout");
    let answering = register
        .queue(&queue)
        .callback(move |request: Delivery<String>| {
            let (chan, answers, temporary) = (own.clone(), answers.clone(), temporary.clone());
            async move {
                chan.declare_queue(&temporary).await?;
                put(&chan, &temporary, &request.msg).await;
                let answer = chan.get_one::<String>(&temporary).await?.ack().await?;
                chan.delete_queue(&temporary).await?;
                chan.publish(&answers, &answer).await
            }
        });
    answering.await.unwrap();
    assert_eq!(calls.next(&conn).await.msg, "request");
}
