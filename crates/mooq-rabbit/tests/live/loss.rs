use std::time::{Duration, Instant};

use mooq_core::{ChannelEvent, Consume, Endpoint, Error, ErrorKind, ErrorScope, Handoff};
use tokio::time::timeout;

use crate::broker::{Broker, Channel, Connection, name, soon, to_queue};
use mooq_rig::proxy::LineState;

/// A connection with every kind of waiting call on it.
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

    /// Publishes more than sockets and queues hold, so that amqprs' writer is stuck on a peer that
    /// does not read. Returns the future that waits for room in the queue.
    fn fill(&self) -> impl Future<Output = ()> + use<> {
        let queue = name();
        let publish = |body| self.publisher.channel.publish(to_queue(&queue, body));
        let large = bytes::Bytes::from(vec![0; 1 << 20]);
        for _ in 0..32 {
            let _ = publish(large.clone()).unwrap();
        }
        // amqprs' own queue has 8,192 places, and the channel's 4,096.
        for _ in 0..20_000 {
            let _ = publish("small".into()).unwrap();
        }
        match publish("one more".into()).unwrap() {
            Handoff::Full(room) => room,
            Handoff::Done => panic!("the channel's queue never fills"),
        }
    }

    /// Waits until all calls have ended, and returns the reason, which must be the same for all.
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

/// amqprs' writer waits in the socket alone, and so do the calls behind the writer.
pub(crate) async fn a_frozen_peer_is_given_up_after_two_heartbeats(broker: &Broker) {
    let (proxy, mut endpoint) = broker.proxy();
    endpoint.heartbeat = Duration::from_secs(2);
    let waiting = Waiting::on(Connection::open(&endpoint).await).await;
    proxy.set(LineState::Frozen);
    let began = Instant::now();
    let room = waiting.fill();
    let request = waiting.publisher.channel.qos(1, false);
    let opening = waiting.connection.connection.open_channel();
    let (request, opening, ()) = soon(async { tokio::join!(request, opening, room) }).await;
    // An earlier end would have another cause. On an idle machine it takes 4 s.
    let took = began.elapsed();
    assert!(took >= endpoint.heartbeat, "{took:?}");
    println!("    given up after {took:?}");
    assert_eq!(request.unwrap_err().kind(), ErrorKind::ConnectionLost);
    assert_eq!(opening.unwrap_err().kind(), ErrorKind::ConnectionLost);
    let reason = waiting.ended().await;
    assert_eq!(reason.kind(), ErrorKind::ConnectionLost);
    assert!(reason.to_string().contains(&endpoint.address()), "{reason}");
}

/// On an idle machine it takes 15 s. With the heartbeat that RabbitMQ proposes it would take two
/// minutes.
pub(crate) async fn a_dead_peer_is_noticed_soon_by_default(broker: &Broker) {
    let (proxy, mut endpoint) = broker.proxy();
    endpoint.heartbeat = Endpoint::DEFAULT_HEARTBEAT;
    let mut connection = Connection::open(&endpoint).await;
    proxy.set(LineState::Frozen);
    let began = Instant::now();
    let reason = timeout(Duration::from_secs(60), connection.closed()).await;
    assert_eq!(reason.unwrap().kind(), ErrorKind::ConnectionLost);
    println!("    noticed after {:?}", began.elapsed());
}

/// The peer goes on sending heartbeats, so it counts as alive. When it closes the connection,
/// amqprs' reader wants to answer through the writer, which is stuck.
pub(crate) async fn a_close_by_a_broker_that_does_not_read_ends_every_wait(broker: &Broker) {
    let (proxy, endpoint) = broker.proxy();
    let waiting = Waiting::on(Connection::open(&endpoint).await).await;
    proxy.set(LineState::Unheard);
    let room = waiting.fill();
    // In amqprs the opening waits for the writer, the request in the queue behind the publishes.
    let request = waiting.publisher.channel.qos(1, false);
    let opening = waiting.connection.connection.open_channel();
    let closing = async {
        broker
            .rabbitmqctl(&["close_all_connections", "for a test"])
            .await;
        Instant::now()
    };
    let (request, opening, (), closed) =
        soon(async { tokio::join!(request, opening, room, closing) }).await;
    assert_eq!(request.unwrap_err().reason().unwrap().code, 320);
    assert_eq!(opening.unwrap_err().reason().unwrap().code, 320);
    let reason = waiting.ended().await;
    assert_eq!(reason.reason().unwrap().code, 320);
    // RabbitMQ waits for the answer, and hangs up by itself only after 30 s.
    let took = closed.elapsed();
    assert!(took < Duration::from_secs(25), "{took:?}");
}

pub(crate) async fn a_killed_broker_ends_every_wait(broker: Broker) {
    let waiting = Waiting::on(broker.connect().await).await;
    let began = Instant::now();
    // By SIGKILL: a broker that is stopped may still close its connections.
    broker.container.rm().await.unwrap();
    let reason = waiting.ended().await;
    println!("    noticed {:?} after the order to kill", began.elapsed());
    assert_eq!(reason.kind(), ErrorKind::ConnectionLost, "{reason:?}");
    assert!(
        reason.to_string().contains(&broker.endpoint.address()),
        "{reason}"
    );
}
