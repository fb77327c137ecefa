use std::time::Duration;

use futures_util::future::join_all;
use mooq_core::{ChannelEvent, ConnectionEvent, Consume, ErrorKind, ErrorScope, OpenedChannel};
use tokio::runtime::Builder;

use crate::broker::{Broker, Channel, Connection, name, soon, to_exchange, to_queue};

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

    // Numbers of channels closed by agreement are used again: more than there are.
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

/// Waits until the broker has `count` connections. It counts with some delay.
async fn until_connections(broker: &Broker, count: usize) {
    soon(async {
        while connections(broker).await != count {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

pub(crate) async fn the_last_handle_closes_the_connection(broker: &Broker) {
    until_connections(broker, 0).await;
    let (mut connection, mut channel) = broker.channel().await;
    let metrics = tokio::runtime::Handle::current().metrics();
    let queue = channel.queue().await;
    drop(connection.connection);
    // The channel keeps the connection.
    soon(channel.channel.purge_queue(queue)).await.unwrap();
    let with_all = metrics.num_alive_tasks();
    drop(channel.channel);
    let last = soon(futures_util::StreamExt::next(&mut channel.events)).await;
    assert!(matches!(last, Some(ChannelEvent::Closed(_))), "{last:?}");
    let last = soon(futures_util::StreamExt::next(&mut connection.events)).await;
    assert!(
        matches!(&last, Some(ConnectionEvent::Closed(e)) if e.kind() == ErrorKind::ConnectionClosed),
        "{last:?}"
    );
    until_connections(broker, 0).await;
    // amqprs' reader, writer and dispatcher, and the pump.
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
    soon(futures_util::StreamExt::next(&mut channel.events))
        .await
        .unwrap();
    soon(futures_util::StreamExt::next(&mut connection.events))
        .await
        .unwrap();
}

pub(crate) async fn a_runtime_may_end_with_everything_open(broker: &Broker) {
    for threads in [0, 2] {
        let endpoint = broker.endpoint.clone();
        let task = tokio::task::spawn_blocking(move || {
            let mut builder = match threads {
                0 => Builder::new_current_thread(),
                _ => Builder::new_multi_thread(),
            };
            let runtime = builder.enable_all().build().unwrap();
            let (connection, mut channel) = runtime.block_on(async {
                let connection = Connection::open(&endpoint).await;
                let channel = connection.channel().await;
                let queue = channel.queue().await;
                soon(channel.channel.consume(Consume::new(queue)))
                    .await
                    .unwrap();
                (connection, channel)
            });
            drop(runtime);
            // All tasks are gone, and calls say so instead of waiting.
            let err = channel.channel.publish(to_queue(&name(), "")).unwrap_err();
            let runtime = Builder::new_current_thread().enable_time().build().unwrap();
            runtime.block_on(async {
                assert_eq!(channel.closed().await.to_string(), err.to_string());
                soon(connection.connection.open_channel())
                    .await
                    .unwrap_err();
                soon(connection.connection.close()).await.unwrap();
            });
            drop(channel);
            drop(connection);
        });
        soon(task).await.unwrap();
    }
}

/// amqprs ends the whole connection if close-ok finds no dispatcher, as it would here.
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

pub(crate) async fn the_connection_refuses_before_its_channel_numbers_run_out(broker: &Broker) {
    let connection = broker.connect().await;
    let mut opened = 0;
    let err = loop {
        match soon(connection.connection.open_channel()).await {
            Ok(channel) => {
                opened += 1;
                soon(channel.channel.purge_queue(name())).await.unwrap_err();
            }
            Err(err) => break err,
        }
    };
    assert_eq!(opened, 1500);
    assert_eq!(err.kind(), ErrorKind::NotAllowed, "{err:?}");
    assert_eq!(err.scope(), ErrorScope::Connection);
    soon(connection.connection.close()).await.unwrap();

    // With all channels open, the error is the caller's alone.
    let connection = broker.connect().await;
    let opening = (0..2047).map(|_| connection.channel());
    let mut channels = tokio::time::timeout(Duration::from_secs(60), join_all(opening))
        .await
        .unwrap();
    let err = soon(connection.connection.open_channel())
        .await
        .unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NotAllowed, "{err:?}");
    assert_eq!(err.scope(), ErrorScope::Operation);
    let last = channels.pop().unwrap();
    soon(last.channel.close()).await.unwrap();
    connection.check_and_close().await;
}
