//! Heartbeats, alarms, and links that are slow, frozen or full.

use super::*;

#[tokio::test(start_paused = true)]
async fn heartbeats_are_sent_twice_in_each_interval_and_missed_after_two() {
    let mut client = Client::connect(&InMemoryBroker::start());
    client.log_in("\0guest\0guest").await;
    client.say(0, tune_ok(131_072, 10)).await;
    client.say(0, open_vhost("/")).await;
    client.hears(0, ConnectionOpenOk {}).await;
    let began = Instant::now();
    for beat in 1..=4 {
        assert_eq!(client.read().await, Read::Heartbeat);
        assert_eq!(began.elapsed().as_secs(), 5 * beat);
    }
    // Any data from the client is a sign of life.
    client.write(&frame(8, 0, b"")).await;
    let heard = Instant::now();
    while client.read().await == Read::Heartbeat {}
    assert_eq!(heard.elapsed().as_secs(), 25);
}

#[tokio::test(start_paused = true)]
async fn frozen_link_passes_nothing_until_it_thaws() {
    let broker = InMemoryBroker::start();
    let mut client = Client::connect(&broker);
    client.log_in("\0guest\0guest").await;
    client.say(0, tune_ok(131_072, 11)).await;
    client.say(0, open_vhost("/")).await;
    client.hears(0, ConnectionOpenOk {}).await;
    client.say(1, ChannelOpen {}).await;
    client.hears(1, ChannelOpenOk {}).await;

    let frozen = broker.faults().freeze();
    client.say(1, ConfirmSelect { nowait: false }).await;
    client.write(&method(1, 30, 10, b"\x01/\0")).await;
    let secret = ConnectionUpdateSecret {
        new_secret: Bytes::from_static(b"secret"),
        reason: "it is time".try_into().unwrap(),
    };
    client.say(0, secret).await;
    client.write(&frame(5, 1, b"")).await;
    // Neither answers nor heartbeats come, for five heartbeat intervals.
    client.hears_nothing().await;
    drop(frozen);
    client.hears(1, ConfirmSelectOk {}).await;
    client.hears(1, AccessRequestOk { ticket: 1 }).await;
    client.hears(0, ConnectionUpdateSecretOk {}).await;
    let Read::Method(0, Method::ConnectionClose(close)) = client.read().await else {
        panic!("expected connection.close")
    };
    assert_eq!(close.reply_code, 501);
}

#[tokio::test(start_paused = true)]
async fn slow_link_keeps_answers_in_order() {
    let broker = InMemoryBroker::start();
    let mut client = Client::open(&broker).await;
    let _slow = broker.faults().slow(Duration::from_secs(5));
    let began = Instant::now();
    client.say(1, ConfirmSelect { nowait: false }).await;
    client.write(&method(1, 30, 10, b"\x01/\0")).await;
    client.write(&frame(5, 1, b"")).await;
    client.hears(1, ConfirmSelectOk {}).await;
    client.hears(1, AccessRequestOk { ticket: 1 }).await;
    let Read::Method(0, Method::ConnectionClose(_)) = client.read().await else {
        panic!("expected connection.close")
    };
    assert_eq!(began.elapsed().as_secs(), 5);
}

/// Publishes messages of 64 KiB, up to 64 MiB, until the server does not read on for a minute.
/// Returns the number of bytes that it has taken.
async fn publish_until_blocked(client: &mut Client) -> usize {
    let body = frame(3, 1, &[0; 1 << 16]);
    let message = [publish(), header(60, 0, 1 << 16, 0), body].concat();
    let mut written = 0;
    while written < 64 << 20 {
        let mut rest = &message[..];
        while !rest.is_empty() {
            let writing = client.socket.write(rest);
            let Ok(count) = timeout(Duration::from_secs(60), writing).await else {
                return written;
            };
            let count = count.unwrap();
            written += count;
            rest = &rest[count..];
        }
    }
    written
}

#[tokio::test(start_paused = true)]
async fn blocked_publisher_is_not_read_from() {
    let broker = InMemoryBroker::start();
    let mut client = Client::open(&broker).await;
    let alarm = broker.raise_alarm(Alarm::Memory);
    // The capacity of the pipe and the buffers.
    let written = publish_until_blocked(&mut client).await;
    assert!(written < 4 << 20, "{written} bytes");
    drop(alarm);
    let written = publish_until_blocked(&mut client).await;
    assert!(written >= 64 << 20, "{written} bytes");
}

#[tokio::test(start_paused = true)]
async fn frozen_publisher_is_not_read_from() {
    let broker = InMemoryBroker::start();
    let mut client = Client::open(&broker).await;
    let _frozen = broker.faults().freeze();
    let written = publish_until_blocked(&mut client).await;
    assert!(written < 4 << 20, "{written} bytes");
}

#[tokio::test(start_paused = true)]
async fn client_that_does_not_read_is_not_read_from() {
    let broker = InMemoryBroker::start();
    let mut client = Client::open(&broker).await;
    client
        .write(&method(1, 50, 10, b"\0\0\x01q\0\0\0\0\0"))
        .await;
    client.read().await;
    // Without acks, so that every message comes back at once.
    client
        .write(&method(1, 60, 20, b"\0\0\x01q\x01t\x02\0\0\0\0"))
        .await;
    client
        .hears(
            1,
            BasicConsumeOk {
                consumer_tag: "t".try_into().unwrap(),
            },
        )
        .await;
    let written = publish_until_blocked(&mut client).await;
    assert!(written < 8 << 20, "{written} bytes");
}

#[tokio::test(start_paused = true)]
async fn heartbeats_are_sent_to_a_client_that_never_stops_sending() {
    let broker = InMemoryBroker::start();
    let mut client = Client::connect(&broker);
    client.log_in("\0guest\0guest").await;
    client.say(0, tune_ok(131_072, 10)).await;
    client.say(0, open_vhost("/")).await;
    client.hears(0, ConnectionOpenOk {}).await;
    let (mut reader, mut writer) = tokio::io::split(client.socket);
    let flooding = tokio::spawn(async move {
        let heartbeats = frame(8, 0, b"").repeat(10_000);
        while writer.write_all(&heartbeats).await.is_ok() {}
    });
    // The flood keeps the paused clock from advancing by itself.
    tokio::time::advance(Duration::from_secs(6)).await;
    let mut heartbeat = [0; 8];
    reader.read_exact(&mut heartbeat).await.unwrap();
    assert_eq!(heartbeat[..], frame(8, 0, b""));
    flooding.abort();
}

#[tokio::test(start_paused = true)]
async fn faults_of_named_connections_spare_those_with_another_name() {
    let broker = InMemoryBroker::start();
    // Every name but one.
    let refusing = broker.faults().connection("!spared").refuse_connections();
    let frozen = broker.faults().connection("!spared").freeze();
    let mut start_ok = start_ok("PLAIN", b"\0guest\0guest");
    let name = "connection_name".try_into().unwrap();
    start_ok.client_properties.insert(name, "spared".to_owned());
    let mut client = Client::connect(&broker);
    client.write(&PROTOCOL_HEADER).await;
    let Read::Method(0, Method::ConnectionStart(_)) = client.read().await else {
        panic!("expected connection.start")
    };
    client.say(0, start_ok).await;
    let Read::Method(0, Method::ConnectionTune(_)) = client.read().await else {
        panic!("expected connection.tune")
    };
    assert_eq!(refusing.strikes(), 0);
    drop(frozen);
}
