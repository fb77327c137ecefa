use std::time::{Duration, Instant};

use mooq_core::{ChannelEvent, Consume, Error, ErrorKind, ErrorScope, Handoff};

use crate::broker::{Broker, Channel, Connection, name, soon, to_queue};

/// A connection with something waiting on it in every way there is.
struct Waiting {
    connection: Connection,
    publisher: Channel,
    consumer: Channel,
}

impl Waiting {
    async fn on(connection: Connection) -> Self {
        let publisher = connection.channel().await;
        let queue = publisher.queue().await;
        soon(publisher.channel.confirm_select()).await.unwrap();
        let consumer = connection.channel().await;
        soon(consumer.channel.consume(Consume::new(queue)))
            .await
            .unwrap();
        Self {
            connection,
            publisher,
            consumer,
        }
    }

    /// Waits until all has ended, and gives the reason, which has to be the same for all.
    async fn ended(mut self) -> Error {
        let reason = self.connection.closed().await;
        assert_eq!(reason.scope(), ErrorScope::Connection);
        for channel in [&mut self.publisher, &mut self.consumer] {
            let channel_reason = loop {
                match channel.event().await {
                    ChannelEvent::Closed(reason) => break reason,
                    ChannelEvent::Confirm { .. } | ChannelEvent::Deliver(_) => {}
                    other => panic!("{other:?}"),
                }
            };
            assert_eq!(channel_reason.to_string(), reason.to_string());
            let publish = to_queue(&name(), "");
            let err = channel.channel.publish(publish).unwrap_err();
            assert_eq!(err.to_string(), reason.to_string());
            let err = soon(channel.channel.qos(1, false)).await.unwrap_err();
            assert_eq!(err.to_string(), reason.to_string());
            soon(channel.channel.close()).await.unwrap();
        }
        let err = soon(self.connection.connection.open_channel())
            .await
            .unwrap_err();
        assert_eq!(err.to_string(), reason.to_string());
        soon(self.connection.connection.close()).await.unwrap();
        reason
    }
}

pub(crate) async fn a_connection_closed_by_the_broker_ends_every_wait(broker: &Broker) {
    let waiting = Waiting::on(broker.connect().await).await;
    broker
        .rabbitmqctl(&["close_all_connections", "for a test"])
        .await;
    let reason = waiting.ended().await;
    assert_eq!(reason.kind(), ErrorKind::ConnectionLost, "{reason:?}");
    let close = reason.reason().unwrap();
    assert_eq!(close.code, 320);
    assert!(close.text.contains("for a test"), "{close}");
}

pub(crate) async fn a_frozen_broker_is_given_up_after_two_heartbeats(broker: &Broker) {
    let mut endpoint = broker.endpoint.clone();
    endpoint.heartbeat = Duration::from_secs(2);
    let waiting = Waiting::on(Connection::open(&endpoint).await).await;
    broker.container.pause().await.unwrap();
    let began = Instant::now();
    // More than socket and queues hold: the writer is stuck, and so is the pump.
    let body = bytes::Bytes::from(vec![0; 1 << 20]);
    let mut room = None;
    for _ in 0..64 {
        match waiting
            .publisher
            .channel
            .publish(to_queue(&name(), body.clone()))
        {
            Ok(Handoff::Full(full)) => room = Some(full),
            Ok(Handoff::Done) => {}
            Err(err) => panic!("{err:?}"),
        }
    }
    let request = waiting.publisher.channel.qos(1, false);
    let opening = waiting.connection.connection.open_channel();
    let (request, opening, ()) = soon(async {
        tokio::join!(request, opening, async {
            if let Some(room) = room {
                room.await;
            }
        })
    })
    .await;
    let took = began.elapsed();
    broker.container.unpause().await.unwrap();
    assert!(took < Duration::from_secs(6), "{took:?}");
    assert_eq!(request.unwrap_err().kind(), ErrorKind::ConnectionLost);
    assert_eq!(opening.unwrap_err().kind(), ErrorKind::ConnectionLost);
    let reason = waiting.ended().await;
    assert_eq!(reason.kind(), ErrorKind::ConnectionLost);
    assert!(
        reason.to_string().contains(&broker.endpoint.address()),
        "{reason}"
    );
}

pub(crate) async fn a_killed_broker_ends_every_wait(broker: Broker) {
    let waiting = Waiting::on(broker.connect().await).await;
    let began = Instant::now();
    // By SIGKILL. To stop it, however quickly, would let it say goodbye at times.
    broker.container.rm().await.unwrap();
    let reason = waiting.ended().await;
    println!("    noticed {:?} after the order to kill", began.elapsed());
    assert_eq!(reason.kind(), ErrorKind::ConnectionLost, "{reason:?}");
    assert!(
        reason.to_string().contains(&broker.endpoint.address()),
        "{reason}"
    );
}
