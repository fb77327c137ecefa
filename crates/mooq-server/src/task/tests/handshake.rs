//! Protocol header, login and limits.

use super::*;

#[tokio::test(start_paused = true)]
async fn other_protocols_are_answered_with_the_one_that_is_spoken() {
    let sasl = *b"AMQP\x03\x01\0\0";
    for (profile, sent, answer) in [
        (Profile::V4_0, *b"AMQP\0\0\x09\0", PROTOCOL_HEADER),
        (Profile::V4_0, *b"AMQP\0\x01\0\0", sasl),
        (Profile::V4_0, *b"GET / HT", sasl),
        (Profile::V3_10, *b"AMQP\0\x01\0\0", PROTOCOL_HEADER),
        (Profile::V3_10, *b"GET / HT", PROTOCOL_HEADER),
    ] {
        let mut client = Client::connect(&InMemoryBroker::start_as(profile));
        client.write(&sent).await;
        assert_eq!(client.read_to_end().await, answer[..]);
    }
}

#[tokio::test(start_paused = true)]
async fn login_refusal_is_sent_if_the_client_announces_support() {
    let broker = InMemoryBroker::start();
    let mut client = Client::connect(&broker);
    client.write(&PROTOCOL_HEADER).await;
    client.read().await;
    client.say(0, start_ok("PLAIN", b"\0guest\0wrong")).await;
    let close = ConnectionClose {
        reply_code: 403,
        reply_text: "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. \
                     For details see the broker logfile."
            .into(),
        class_id: 0,
        method_id: 0,
    };
    client.hears(0, close).await;
    assert_eq!(client.read().await, Read::End);
}

#[tokio::test(start_paused = true)]
async fn error_before_the_login_is_answered_with_three_seconds_of_silence() {
    let mut ill_behaved = start_ok("PLAIN", b"\0guest\0wrong");
    ill_behaved.client_properties = FieldTable::new();
    for method in [
        Method::from(ill_behaved),
        start_ok("EXTERNAL", b"").into(),
        start_ok("PLAIN", b"guest").into(),
        tune_ok(131_072, 0).into(),
        ChannelOpen {}.into(),
    ] {
        let mut client = Client::connect(&InMemoryBroker::start());
        client.write(&PROTOCOL_HEADER).await;
        client.read().await;
        let began = Instant::now();
        client.say(0, method).await;
        assert_eq!(client.read().await, Read::End);
        assert_eq!(began.elapsed().as_secs(), 3);
    }
    // Limits beyond the server's get no answer either.
    for tune in [tune_ok(131_073, 0), tune_ok(0, 0), tune_ok(4095, 0)] {
        let mut client = Client::connect(&InMemoryBroker::start());
        client.log_in("\0guest\0guest").await;
        let began = Instant::now();
        client.say(0, tune).await;
        assert_eq!(client.read().await, Read::End);
        assert_eq!(began.elapsed().as_secs(), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_says_nothing_is_given_up_after_ten_seconds() {
    for sent in [&b""[..], b"AMQP"] {
        let mut client = Client::connect(&InMemoryBroker::start());
        let began = Instant::now();
        client.write(sent).await;
        assert_eq!(client.read().await, Read::End);
        assert_eq!(began.elapsed().as_secs(), 10);
    }
}

#[tokio::test(start_paused = true)]
async fn unknown_virtual_hosts_are_named() {
    let mut client = Client::connect(&InMemoryBroker::start());
    client.log_in("\0guest\0guest").await;
    client.say(0, tune_ok(131_072, 0)).await;
    client.say(0, open_vhost("nope")).await;
    let close = ConnectionClose {
        reply_code: 530,
        reply_text: "NOT_ALLOWED - vhost nope not found".into(),
        class_id: 10,
        method_id: 40,
    };
    client.hears(0, close).await;
}

#[tokio::test(start_paused = true)]
async fn frames_may_be_limited_to_8192_bytes_and_no_less_from_4_1_on() {
    for (profile, smallest) in [
        (Profile::V3_10, 4096),
        (Profile::V4_0, 4096),
        (Profile::V4_1, 8192),
        (Profile::V4_3, 8192),
    ] {
        let mut client = Client::connect(&InMemoryBroker::start_as(profile));
        client.log_in("\0guest\0guest").await;
        client.say(0, tune_ok(smallest - 1, 0)).await;
        assert_eq!(client.read().await, Read::End);

        let mut client = Client::connect(&InMemoryBroker::start_as(profile));
        client.log_in("\0guest\0guest").await;
        client.say(0, tune_ok(smallest, 0)).await;
        client.say(0, open_vhost("/")).await;
        client.hears(0, ConnectionOpenOk {}).await;
    }
}

#[tokio::test(start_paused = true)]
async fn greeting_and_limits_are_those_of_the_options() {
    for (profile, version) in [
        (Profile::V3_10, "3.10.8"),
        (Profile::V4_0, "4.0.5"),
        (Profile::V4_1, "4.1.8"),
        (Profile::V4_2, "4.2.9"),
        (Profile::V4_3, "4.3.6"),
    ] {
        let mut options = Options::of(profile);
        options.channel_max = 7;
        options.frame_max = 65_536;
        options.heartbeat = Duration::from_secs(9);
        let mut client = Client::connect(&InMemoryBroker::start_with_options(options));
        client.write(&PROTOCOL_HEADER).await;
        let Read::Method(0, Method::ConnectionStart(start)) = client.read().await else {
            panic!("expected connection.start")
        };
        let told = start.server_properties.get("version");
        assert_eq!(told.and_then(|value| value.as_str()), Some(version));
        client.say(0, start_ok("PLAIN", b"\0guest\0guest")).await;
        let tune = ConnectionTune {
            channel_max: 7,
            frame_max: 65_536,
            heartbeat: 9,
        };
        client.hears(0, tune).await;
    }
}

#[tokio::test(start_paused = true)]
async fn login_refusal_names_the_mechanism() {
    let mut client = Client::connect(&InMemoryBroker::start());
    client.write(&PROTOCOL_HEADER).await;
    client.read().await;
    let response = b"\x05LOGINS\0\0\0\x05guest\x08PASSWORDS\0\0\0\x05wrong";
    client.say(0, start_ok("AMQPLAIN", response)).await;
    let Read::Method(0, Method::ConnectionClose(close)) = client.read().await else {
        panic!("expected connection.close")
    };
    assert_eq!(
        close.reply_text,
        "ACCESS_REFUSED - Login was refused using authentication mechanism AMQPLAIN. For details \
         see the broker logfile."
    );
}

#[tokio::test(start_paused = true)]
async fn channels_are_limited_to_the_number_that_the_client_chose() {
    let mut client = Client::connect(&InMemoryBroker::start());
    client.log_in("\0guest\0guest").await;
    let tune = ConnectionTuneOk {
        channel_max: 1,
        ..tune_ok(131_072, 0)
    };
    client.say(0, tune).await;
    client.say(0, open_vhost("/")).await;
    client.hears(0, ConnectionOpenOk {}).await;
    client.say(1, ChannelOpen {}).await;
    client.hears(1, ChannelOpenOk {}).await;
    client.say(2, ChannelOpen {}).await;
    let close = ConnectionClose {
        reply_code: 530,
        reply_text: "NOT_ALLOWED - number of channels opened (1) has reached the negotiated \
                     channel_max (1)"
            .into(),
        class_id: 20,
        method_id: 10,
    };
    client.hears(0, close).await;
}

#[tokio::test(start_paused = true)]
async fn frozen_broker_does_not_greet() {
    let broker = InMemoryBroker::start();
    let frozen = broker.faults().freeze();
    let mut client = Client::connect(&broker);
    client.write(&PROTOCOL_HEADER).await;
    let greeted = timeout(Duration::from_secs(9), client.read()).await;
    assert!(greeted.is_err(), "{greeted:?}");
    drop(frozen);
    let Read::Method(0, Method::ConnectionStart(_)) = client.read().await else {
        panic!("expected connection.start")
    };
}
