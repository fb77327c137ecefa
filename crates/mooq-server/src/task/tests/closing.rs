//! The end of connections and channels, by one side or by both.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_client_that_is_gone_gives_its_messages_back() {
    let broker = InMemoryBroker::start();
    let mut client = Client::open(&broker).await;
    client
        .write(&method(1, 50, 10, b"\0\0\x01q\0\0\0\0\0"))
        .await;
    client.read().await;
    client.write(&publish()).await;
    client.write(&header(60, 0, 0, 0)).await;
    client
        .say(
            1,
            BasicGet {
                queue: "q".try_into().unwrap(),
                no_ack: false,
            },
        )
        .await;
    let Read::Method(1, Method::BasicGetOk(_)) = client.read().await else {
        panic!("expected a message")
    };
    assert_eq!(broker.ready_messages("q").len(), 0);
    drop(client);
    broker.wait_idle().await;
    assert_eq!(broker.ready_messages("q").len(), 1);
    assert!(broker.connections("*").is_empty());
}

#[tokio::test(start_paused = true)]
async fn connection_may_be_closed_by_both_sides_at_once() {
    let mut client = Client::open(&InMemoryBroker::start()).await;
    client.write(&method(0, 90, 10, b"")).await;
    let Read::Method(0, Method::ConnectionClose(_)) = client.read().await else {
        panic!("expected connection.close")
    };
    let close = ConnectionClose {
        reply_code: 200,
        reply_text: "bye".into(),
        class_id: 0,
        method_id: 0,
    };
    client.say(0, close).await;
    client.hears(0, ConnectionCloseOk {}).await;
    assert_eq!(client.read().await, Read::End);
}

/// `basic.publish` to an exchange that does not exist.
fn publish_to_nowhere() -> Vec<u8> {
    let publish = method(1, 60, 40, b"\0\0\x04nope\x01q\0");
    [publish, header(60, 0, 0, 0)].concat()
}

fn channel_close() -> ChannelClose {
    ChannelClose {
        reply_code: 200,
        reply_text: "bye".into(),
        class_id: 0,
        method_id: 0,
    }
}

fn encoded(channel: u16, method: impl Into<Method>) -> Bytes {
    let mut output = Output::new();
    output.method(channel, &method.into());
    output.to_bytes()
}

impl Client {
    async fn hears_that_nothing_is_there(&mut self) {
        let Read::Method(1, Method::ChannelClose(close)) = self.read().await else {
            panic!("expected channel.close")
        };
        let text = "NOT_FOUND - no exchange 'nope' in vhost '/'";
        assert_eq!((close.reply_code, &*close.reply_text), (404, text));
    }
}

#[tokio::test(start_paused = true)]
async fn channel_closed_by_both_sides_at_once_is_closed_for_both() {
    let mut client = Client::open(&InMemoryBroker::start()).await;
    // The client's close is read before the broker has closed the channel, and after.
    let close = encoded(1, channel_close());
    client
        .write(&[&publish_to_nowhere(), &close[..]].concat())
        .await;
    client.hears_that_nothing_is_there().await;
    client.hears(1, ChannelCloseOk {}).await;
    client.reopens().await;

    client.write(&publish_to_nowhere()).await;
    client.hears_that_nothing_is_there().await;
    client.say(1, channel_close()).await;
    client.hears(1, ChannelCloseOk {}).await;
    // The close is not answered yet: everything but the answer is ignored.
    client.write(&publish_to_nowhere()).await;
    client.reopens().await;

    // Requests in between get no answer.
    let purge = encoded(
        1,
        QueuePurge {
            queue: "q".try_into().unwrap(),
            nowait: false,
        },
    );
    client
        .write(&[&publish_to_nowhere(), &purge[..], &close].concat())
        .await;
    client.hears_that_nothing_is_there().await;
    client.hears(1, ChannelCloseOk {}).await;
    client.reopens().await;
}

#[tokio::test(start_paused = true)]
async fn channel_closed_by_both_sides_is_answered_though_the_client_answers_at_once() {
    let mut client = Client::open(&InMemoryBroker::start()).await;
    client.write(&publish_to_nowhere()).await;
    client.hears_that_nothing_is_there().await;
    let both = [
        encoded(1, channel_close()),
        encoded(1, ChannelCloseOk {}),
        encoded(1, ChannelOpen {}),
    ];
    client.write(&both.concat()).await;
    client.hears(1, ChannelCloseOk {}).await;
    client.hears(1, ChannelOpenOk {}).await;
    // The channel is a new one.
    client.say(1, ConfirmSelect { nowait: false }).await;
    client.hears(1, ConfirmSelectOk {}).await;
    client.say(1, channel_close()).await;
    client.hears(1, ChannelCloseOk {}).await;
}

#[tokio::test(start_paused = true)]
async fn channel_that_the_client_has_not_given_up_cannot_be_opened_again() {
    let mut client = Client::open(&InMemoryBroker::start()).await;
    client.write(&publish_to_nowhere()).await;
    client.hears_that_nothing_is_there().await;
    client.say(1, channel_close()).await;
    client.hears(1, ChannelCloseOk {}).await;
    client.say(1, ChannelOpen {}).await;
    let Read::Method(0, Method::ConnectionClose(close)) = client.read().await else {
        panic!("expected connection.close")
    };
    assert_eq!(
        close.reply_text,
        "CHANNEL_ERROR - second 'channel.open' seen"
    );
}

#[tokio::test(start_paused = true)]
async fn channel_is_closed_and_opened_again_without_waiting() {
    let mut client = Client::open(&InMemoryBroker::start()).await;
    let again = [encoded(1, channel_close()), encoded(1, ChannelOpen {})].concat();
    client.write(&[&again[..], &again].concat()).await;
    for _ in 0..2 {
        client.hears(1, ChannelCloseOk {}).await;
        client.hears(1, ChannelOpenOk {}).await;
    }
    client.say(1, ConfirmSelect { nowait: false }).await;
    client.hears(1, ConfirmSelectOk {}).await;
}

#[tokio::test(start_paused = true)]
async fn server_stops_at_once_whatever_its_client_does() {
    let broker = InMemoryBroker::start();
    // A client that waits for a frozen link to log in.
    let frozen = broker.faults().freeze();
    let waiting = Client::connect(&broker);
    drop(frozen);
    // A client that has not hung up after its connection has ended.
    let mut lingering = Client::open(&broker).await;
    let close = ConnectionClose {
        reply_code: 200,
        reply_text: "bye".into(),
        class_id: 0,
        method_id: 0,
    };
    lingering.say(0, close).await;
    lingering.hears(0, ConnectionCloseOk {}).await;
    let _frozen = broker.faults().freeze();
    for client in [waiting, lingering] {
        let began = Instant::now();
        client.stop.send_replace(State::Stopped);
        client.server.await.unwrap().unwrap();
        assert_eq!(began.elapsed().as_secs(), 0);
    }
}
