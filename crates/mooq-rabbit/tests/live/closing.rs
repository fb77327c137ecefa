use std::collections::HashSet;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::future::join_all;
use mooq_core::mailbox::Receiver;
use mooq_core::{
    ChannelEvent, ConnectionEvent, Consume, DeliveryMode, Endpoint, Error, ErrorKind, ErrorScope,
    OpenedChannel, Properties, Publish, QueueDeclare, QueueName,
};
use mooq_rabbit::OnRuntime;
use tokio::runtime::Builder;

use crate::broker::{Broker, Channel, Connection, TLS_PORT, name, soon, to_exchange, to_queue};
use mooq_rig::proxy::LineState;

pub(crate) async fn a_closed_channel_says_so(broker: &Broker) {
    let (connection, mut channel) = broker.channel().await;
    soon(channel.channel.close()).await.unwrap();
    assert_eq!(channel.closed().await.kind(), ErrorKind::ChannelClosed);
    let err = soon(channel.channel.qos(1, false)).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::ChannelClosed);
    assert_eq!(err.scope(), ErrorScope::Channel);
    let err = channel.channel.publish(to_queue(&name(), "")).unwrap_err();
    assert_eq!(err.kind(), ErrorKind::ChannelClosed);
    soon(channel.channel.close()).await.unwrap();

    // Numbers of channels closed in good order are used again: this opens more channels than there
    // are numbers.
    for _ in 0..2100 {
        let channel = connection.channel().await;
        soon(channel.channel.close()).await.unwrap();
    }
    connection.check_and_close().await;
}

pub(crate) async fn a_connection_closes_under_traffic(broker: &Broker) {
    for _ in 0..10 {
        let (mut connection, mut channel) = broker.channel().await;
        let queue = channel.queue().await;
        soon(channel.channel.confirm_select()).await.unwrap();
        soon(channel.channel.consume(Consume::new(queue.clone())))
            .await
            .unwrap();
        for _ in 0..2000 {
            let _ = channel.channel.publish(to_queue(&queue, "x")).unwrap();
        }
        let waiting = channel.channel.purge_queue(queue.clone());
        let (closed, purged) =
            soon(async { tokio::join!(connection.connection.close(), waiting) }).await;
        closed.unwrap();
        let err = purged.unwrap_err();
        assert_eq!(err.kind(), ErrorKind::ConnectionClosed, "{err:?}");
        let last = loop {
            match channel.event().await {
                ChannelEvent::Closed(reason) => break reason,
                ChannelEvent::Deliver(_) | ChannelEvent::Confirm { .. } => {}
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(last.kind(), ErrorKind::ConnectionClosed);
        assert_eq!(
            connection.closed().await.kind(),
            ErrorKind::ConnectionClosed
        );
    }
}

pub(crate) async fn channels_opened_during_a_close_end_with_it(broker: &Broker) {
    let mut opened_late = 0;
    for _ in 0..50 {
        let (connection, _channel) = broker.channel().await;
        let opening = join_all((0..5).map(|_| connection.connection.open_channel()));
        let closing = connection.connection.close();
        let (opened, closed) = soon(async { tokio::join!(opening, closing) }).await;
        closed.unwrap();
        for opened in opened {
            match opened {
                Ok(OpenedChannel { channel, events }) => {
                    opened_late += 1;
                    let mut channel = Channel { channel, events };
                    let err = channel.channel.publish(to_queue(&name(), "")).unwrap_err();
                    assert_eq!(err.kind(), ErrorKind::ConnectionClosed, "{err:?}");
                    assert_eq!(channel.closed().await.kind(), ErrorKind::ConnectionClosed);
                }
                Err(err) => assert_eq!(err.kind(), ErrorKind::ConnectionClosed, "{err:?}"),
            }
        }
    }
    println!("    {opened_late} of 250 channels were opened, and closed");
}

async fn connections(broker: &Broker) -> usize {
    broker
        .rabbitmqctl(&["list_connections", "pid"])
        .await
        .lines()
        .count()
}

/// Waits until the broker counts `count` connections, which it does with some delay.
async fn until_connections(broker: &Broker, count: usize) {
    soon(async {
        while connections(broker).await != count {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

pub(crate) async fn the_last_handle_closes_the_connection(broker: &Broker) {
    let with_tls = broker.tls_endpoint(TLS_PORT).await;
    for endpoint in [&broker.endpoint, &with_tls] {
        the_last_handle_closes(broker, endpoint).await;
    }
}

async fn the_last_handle_closes(broker: &Broker, endpoint: &Endpoint) {
    until_connections(broker, 0).await;
    let runtime = tokio::runtime::Handle::current();
    let metrics = runtime.metrics();
    let mut connection = Connection::open_by(&OnRuntime(runtime), endpoint).await;
    let mut channel = connection.channel().await;
    let queue = channel.queue().await;
    drop(connection.connection);
    // The channel keeps the connection open.
    soon(channel.channel.purge_queue(queue)).await.unwrap();
    let with_all = metrics.num_alive_tasks();
    drop(channel.channel);
    let last = soon(channel.events.next()).await;
    assert!(matches!(last, Some(ChannelEvent::Closed(_))), "{last:?}");
    let last = soon(connection.events.next()).await;
    assert!(
        matches!(&last, Some(ConnectionEvent::Closed(e)) if e.kind() == ErrorKind::ConnectionClosed),
        "{last:?}"
    );
    until_connections(broker, 0).await;
    // The tasks: amqprs' reader, writer and dispatcher, and the pump.
    soon(async {
        while metrics.num_alive_tasks() + 4 > with_all {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

pub(crate) async fn handles_may_be_dropped_outside_of_a_runtime(broker: &Broker) {
    let (mut connection, mut channel) = broker.channel().await;
    std::thread::spawn(move || {
        drop(channel.channel);
        drop(connection.connection);
    })
    .join()
    .unwrap();
    soon(channel.events.next()).await.unwrap();
    soon(connection.events.next()).await.unwrap();
}

/// Connections run on threads of the transport's own.
pub(crate) async fn a_connection_outlives_the_runtime_it_was_opened_on(broker: &Broker) {
    for threads in [0, 2] {
        let endpoint = broker.endpoint.clone();
        let task = tokio::task::spawn_blocking(move || {
            let mut builder = match threads {
                0 => Builder::new_current_thread(),
                _ => Builder::new_multi_thread(),
            };
            let runtime = builder.enable_all().build().unwrap();
            let (connection, mut channel, queue) = runtime.block_on(async {
                let connection = Connection::open(&endpoint).await;
                let channel = connection.channel().await;
                let queue = channel.queue().await;
                soon(channel.channel.consume(Consume::new(queue.clone())))
                    .await
                    .unwrap();
                (connection, channel, queue)
            });
            drop(runtime);
            let runtime = Builder::new_current_thread().enable_time().build().unwrap();
            runtime.block_on(async {
                channel.publish(&queue, "after it").await;
                assert_eq!(&channel.delivery().await.message.body[..], b"after it");
                drop(channel);
                connection.check_and_close().await;
            });
        });
        soon(task).await.unwrap();
    }
}

/// amqprs ends the whole connection if `channel.close-ok` finds no dispatcher, as would happen
/// here.
pub(crate) async fn closes_from_both_sides_cost_one_channel_only(broker: &Broker) {
    let connection = broker.connect().await;
    for _ in 0..100 {
        let channel = connection.channel().await;
        let _ = channel
            .channel
            .publish(to_exchange("no-such-exchange"))
            .unwrap();
        soon(channel.channel.close()).await.unwrap();
    }
    let channels = join_all((0..20).map(|_| connection.channel())).await;
    for channel in &channels {
        let _ = channel
            .channel
            .publish(to_exchange("no-such-exchange"))
            .unwrap();
    }
    drop(channels);
    connection.check_and_close().await;
}

pub(crate) async fn all_channels_in_use_are_the_callers_error(broker: &Broker) {
    let connection = broker.connect().await;
    let opening = (0..2047).map(|_| connection.channel());
    let mut channels = soon(join_all(opening)).await;
    let err = soon(connection.connection.open_channel())
        .await
        .unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NotAllowed, "{err:?}");
    assert_eq!(err.scope(), ErrorScope::Operation);
    let last = channels.pop().unwrap();
    soon(last.channel.close()).await.unwrap();
    connection.check_and_close().await;
}

/// Time that a close waits for confirms. A disk that other tests keep busy may take longer.
const LATE_CONFIRMS: Duration = Duration::from_secs(5);

/// Repeats an attempt until it takes less than [`LATE_CONFIRMS`].
async fn in_time(mut attempt: impl AsyncFnMut() -> Duration) {
    for _ in 0..10 {
        let took = attempt().await;
        if took < LATE_CONFIRMS {
            return;
        }
        println!("    once more: the broker took {took:?}");
    }
    panic!("the broker took too long in every attempt");
}

/// amqprs does not read confirms that RabbitMQ sends after its answer to a close.
pub(crate) async fn confirms_come_before_a_close(broker: &Broker) {
    const MESSAGES: u64 = 500;
    let connection = broker.connect().await;
    let queue = durable_queue(&connection).await;
    for by_drop in [false, true] {
        in_time(async || {
            let Channel {
                channel,
                mut events,
            } = connection.channel().await;
            soon(channel.confirm_select()).await.unwrap();
            let began = Instant::now();
            for _ in 0..MESSAGES {
                let _ = channel.publish(persistent(&queue)).unwrap();
            }
            if by_drop {
                drop(channel);
            } else {
                soon(channel.close()).await.unwrap();
            }
            let (confirmed, _) = confirmed_until_closed(&mut events).await;
            let took = began.elapsed();
            if took < LATE_CONFIRMS {
                assert_eq!(confirmed, MESSAGES, "dropped: {by_drop}");
            }
            took
        })
        .await;
    }
    delete(&connection, queue).await;
    connection.check_and_close().await;
}

/// amqprs never reuses the number of a channel that the broker has closed, and its reader panics
/// when none is left. The connection ends before that, so that another one is opened, and all its
/// publishes are confirmed by then.
pub(crate) async fn a_connection_is_used_up_in_good_order(broker: &Broker) {
    in_time(async || used_up_in_good_order(broker).await).await;
}

/// Returns the time that the broker took to confirm the last publishes.
async fn used_up_in_good_order(broker: &Broker) -> Duration {
    let observer = broker.connect().await;
    let queue = durable_queue(&observer).await;
    let mut connection = broker.connect().await;
    let mut busy = connection.channel().await;
    soon(busy.channel.confirm_select()).await.unwrap();
    let mut published = 0;
    let mut began = Instant::now();
    for round in 1..=1500 {
        let channel = connection.channel().await;
        let failing = channel.channel.purge_queue(name());
        began = Instant::now();
        // In the last round, so many publishes that they are not confirmed when the close comes.
        for _ in 0..if round == 1500 { 3000 } else { 1 } {
            let _ = busy.channel.publish(persistent(&queue)).unwrap();
            published += 1;
        }
        let err = soon(failing).await.unwrap_err();
        assert_eq!(err.kind(), ErrorKind::QueueNotFound, "{err:?}");
    }
    let err = soon(connection.connection.open_channel())
        .await
        .unwrap_err();
    assert_eq!(err.kind(), ErrorKind::ConnectionLost, "{err:?}");
    assert_eq!(err.scope(), ErrorScope::Connection);
    assert!(err.to_string().contains("1500 of its channels"), "{err}");
    let refused = busy.channel.publish(persistent(&queue)).unwrap_err();
    assert_eq!(refused.to_string(), err.to_string());

    let (confirmed, reason) = confirmed_until_closed(&mut busy.events).await;
    assert_eq!(reason.to_string(), err.to_string());
    let took = began.elapsed();
    if took < LATE_CONFIRMS {
        assert_eq!(confirmed, published);
    }
    assert_eq!(connection.closed().await.to_string(), err.to_string());
    soon(connection.connection.close()).await.unwrap();

    let purged = delete(&observer, queue).await;
    assert!(
        u64::from(purged) >= confirmed,
        "the confirmed messages are in the queue"
    );
    observer.check_and_close().await;
    took
}

/// As during an alarm, when the broker does not read `channel.close`.
pub(crate) async fn a_used_up_connection_ends_in_bad_order_too(broker: &Broker) {
    let (proxy, endpoint) = broker.proxy();
    // Six lost channels of eight are enough.
    let allow = |most: u32| format!("application:set_env(rabbit, channel_max, {most}).");
    broker.rabbitmqctl(&["eval", &allow(8)]).await;
    let mut connection = Connection::open(&endpoint).await;
    broker.rabbitmqctl(&["eval", &allow(2047)]).await;
    let busy = connection.channel().await;
    for _ in 1..6 {
        let channel = connection.channel().await;
        soon(channel.channel.purge_queue(name())).await.unwrap_err();
    }
    let last = connection.channel().await;
    proxy.set(LineState::Unanswered);
    let missing = name();
    let failing = last.channel.purge_queue(missing.clone());
    let (failed, ()) = soon(async {
        tokio::join!(failing, async {
            // The broker's log shows that it has closed the channel.
            while !broker.log().await.contains(missing.as_str()) {}
            proxy.set(LineState::Unheard);
        })
    })
    .await;
    failed.unwrap_err();
    let reason = connection.closed().await;
    assert_eq!(reason.kind(), ErrorKind::ConnectionLost);
    assert!(reason.to_string().contains("6 of its channels"), "{reason}");
    let err = soon(busy.channel.qos(1, false)).await.unwrap_err();
    assert_eq!(err.to_string(), reason.to_string());
    soon(connection.connection.close()).await.unwrap();
}

pub(crate) async fn five_thousand_channels_that_the_broker_closes_cost_connections(
    broker: &Broker,
) {
    let mut connection = broker.connect().await;
    let mut replaced = 0;
    for _ in 0..5000 {
        let channel = loop {
            match soon(connection.connection.open_channel()).await {
                Ok(opened) => break opened.channel,
                Err(err) => assert_eq!(err.kind(), ErrorKind::ConnectionLost, "{err:?}"),
            }
            connection.closed().await;
            connection = broker.connect().await;
            replaced += 1;
        };
        soon(channel.purge_queue(name())).await.unwrap_err();
    }
    // amqprs does not use their numbers again.
    assert_eq!(replaced, if crate::is_native() { 0 } else { 3 });
    connection.check_and_close().await;
}

/// The number of publishes that the broker confirms before the channel ends, and the reason of the
/// end.
async fn confirmed_until_closed(events: &mut Receiver<ChannelEvent>) -> (u64, Error) {
    let mut singly = HashSet::new();
    let mut up_to = 0;
    loop {
        match soon(events.next()).await.unwrap() {
            ChannelEvent::Confirm { sequence, multiple } if multiple => up_to = sequence,
            ChannelEvent::Confirm { sequence, .. } => {
                singly.insert(sequence);
            }
            ChannelEvent::Closed(reason) => {
                singly.retain(|sequence| *sequence > up_to);
                return (up_to + singly.len() as u64, reason);
            }
            other => panic!("{other:?}"),
        }
    }
}

/// Declares a durable queue: RabbitMQ confirms persistent messages in it once they are on disk.
async fn durable_queue(connection: &Connection) -> QueueName {
    let channel = connection.channel().await;
    let queue = name();
    let declare = QueueDeclare::new(queue.clone());
    assert!(declare.durable);
    soon(channel.channel.declare_queue(declare)).await.unwrap();
    queue
}

fn persistent(queue: &QueueName) -> Publish {
    let mut publish = to_queue(queue, "on disk");
    let mut properties = Properties::default();
    properties.delivery_mode = Some(DeliveryMode::Persistent);
    publish.message.properties = properties.into();
    publish
}

/// Deletes `queue`, and returns the number of messages in it.
async fn delete(connection: &Connection, queue: QueueName) -> u32 {
    let channel = connection.channel().await;
    soon(channel.channel.delete_queue(queue, false, false))
        .await
        .unwrap()
}
