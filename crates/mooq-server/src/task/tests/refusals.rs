//! Bytes, frames and methods that end a connection or a channel.

use super::*;

#[tokio::test(start_paused = true)]
async fn malformed_frames_and_methods_out_of_place_end_the_connection() {
    let no_content = "UNEXPECTED_FRAME - expected method frame, got non method frame instead";
    let no_header = "UNEXPECTED_FRAME - expected content header for class 60, got non content \
                     header frame instead";
    let no_body = "UNEXPECTED_FRAME - expected content body, got non content body frame instead";
    let unimplemented = "COMMAND_INVALID - unimplemented method";
    let unexpected = "CHANNEL_ERROR - unexpected method in connection state running";
    let then = |first: Vec<u8>, second: Vec<u8>| [first, second].concat();
    let begun = |size| then(publish(), header(60, 0, size, 0));
    let mut wrong_end = method(1, 20, 10, b"\0");
    *wrong_end.last_mut().unwrap() = 0;
    let mut too_large = vec![3, 0, 1];
    too_large.put_u32(131_073);

    #[rustfmt::skip]
    let cases: Vec<Case> = vec![
        (method(1, 50, 10, b"\0\0"), 501, "FRAME_ERROR - cannot decode <<0,0>>", (50, 10)),
        (method(1, 90, 10, b"x"), 501, "FRAME_ERROR - cannot decode <<120>>", (90, 10)),
        (frame(5, 1, b""), 501, "FRAME_ERROR - type 5, all octets = <<>>: unknown_frame", (0, 0)),
        (frame(8, 0, b"x"), 501, "FRAME_ERROR - type 8, all octets = <<\"x\">>: unknown_frame", (0, 0)),
        (wrong_end, 501, "FRAME_ERROR - type 1, all octets = <<0,20,0,10,0>>: {invalid_frame_end_marker,0}", (0, 0)),
        (too_large, 501, "FRAME_ERROR - type 3, all octets = <<>>: {frame_too_large,131073,131064}", (0, 0)),
        (then(publish(), frame(2, 1, b"\0")), 501, "FRAME_ERROR - type 2, all octets = <<0>>: unknown_frame", (0, 0)),
        (frame(8, 1, b""), 505, "UNEXPECTED_FRAME - type 8, all octets = <<>>", (0, 0)),
        (frame(3, 0, b"x"), 505, "UNEXPECTED_FRAME - type 3, all octets = <<\"x\">>", (0, 0)),
        (header(60, 0, 0, 0), 505, no_content, (0, 0)),
        (frame(3, 1, b"x"), 505, no_content, (0, 0)),
        (then(publish(), method(1, 90, 10, b"")), 505, no_header, (60, 40)),
        (then(publish(), frame(3, 1, b"x")), 505, no_header, (60, 40)),
        (then(publish(), header(60, 1, 0, 0)), 505, no_header, (60, 40)),
        (then(publish(), header(50, 0, 0, 0)), 505, "UNEXPECTED_FRAME - expected content header for class 60, got one for class 50 instead", (60, 40)),
        (then(begun(4), method(1, 90, 10, b"")), 505, no_body, (60, 40)),
        (then(begun(2), frame(3, 1, b"xxxx")), 505, no_body, (60, 40)),
        (method(1, 10, 40, b"\x01/\0\0"), 503, unimplemented, (10, 40)),
        (method(1, 20, 21, b"\x01"), 503, unimplemented, (20, 21)),
        (method(1, 50, 11, b"\x01q\0\0\0\0\0\0\0\0"), 503, unimplemented, (50, 11)),
        (method(0, 90, 10, b""), 504, unexpected, (90, 10)),
        (method(0, 10, 51, b""), 504, unexpected, (10, 51)),
        (method(0, 10, 60, b"\x01r"), 504, unexpected, (10, 60)),
        (method(2, 60, 10, b"\0\0\0\0\0\0\0"), 504, "CHANNEL_ERROR - expected 'channel.open'", (60, 10)),
        (method(1, 20, 10, b"\0"), 504, "CHANNEL_ERROR - second 'channel.open' seen", (20, 10)),
        (method(1, 20, 20, b"\0"), 540, "NOT_IMPLEMENTED - active=false", (20, 20)),
        (method(1, 50, 10, b"\0\0\x02\xff\xfe\0\0\0\0\0"), 501, "FRAME_ERROR - Malformed UTF-8 in shortstr", (0, 0)),
    ];
    for (bytes, code, text, id) in cases {
        let expected = Some((code, text.to_owned(), id));
        assert_eq!(refusal(Profile::V4_0, &bytes).await, expected);
    }
    // Bytes that crash RabbitMQ's reader get no answer.
    for bytes in [
        method(1, 60, 41, b""),
        method(1, 61, 41, b""),
        method(1, 50, 10, b"\0\0\x01q\0\0\0\0\x03\x01k?"),
    ] {
        assert_eq!(refusal(Profile::V4_0, &bytes).await, None);
    }
}

#[tokio::test(start_paused = true)]
async fn body_longer_than_announced_has_its_own_error_from_4_3_on() {
    let bytes = [publish(), header(60, 0, 2, 0), frame(3, 1, b"xxxx")].concat();
    let text = "FRAME_ERROR - content body frame exceeds remaining content size";
    let expected = Some((501, text.to_owned(), (60, 40)));
    assert_eq!(refusal(Profile::V4_3, &bytes).await, expected);
}

#[tokio::test(start_paused = true)]
async fn unopened_channel_that_gets_a_method_ends_the_connection() {
    let text = "CHANNEL_ERROR - expected 'channel.open'";
    // A publish is refused before its content arrives.
    for (class, number, arguments) in [
        (30, 10, &b"\x01/\0"[..]),
        (60, 40, b"\0\0\0\x01q\0"),
        (20, 41, b""),
        (20, 21, b"\x01"),
    ] {
        let bytes = method(2, class, number, arguments);
        let expected = Some((504, text.to_owned(), (class, number)));
        assert_eq!(refusal(Profile::V4_0, &bytes).await, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn requests_for_access_are_granted() {
    let mut client = Client::open(&InMemoryBroker::start()).await;
    client.write(&method(1, 30, 10, b"\x01/\0")).await;
    client.hears(1, AccessRequestOk { ticket: 1 }).await;
}

#[tokio::test(start_paused = true)]
async fn body_over_the_limit_is_refused_once_it_is_complete() {
    let mut options = Options::default();
    options.max_message_size = Some(100);
    let mut client = Client::open(&InMemoryBroker::start_with_options(options)).await;
    client
        .write(&[publish(), header(60, 0, 101, 0), frame(3, 1, &[0; 50])].concat())
        .await;
    // Other channels go on, and nothing is said before the end.
    client.write(&method(2, 20, 10, b"\0")).await;
    client.hears(2, ChannelOpenOk {}).await;
    client.write(&frame(3, 1, &[0; 51])).await;
    let close = ChannelClose {
        reply_code: 406,
        reply_text: "PRECONDITION_FAILED - message size 101 is larger than configured max size 100"
            .into(),
        class_id: 60,
        method_id: 40,
    };
    client.hears(1, close).await;
    client.reopens().await;
    client
        .write(&[publish(), header(60, 0, 100, 0), frame(3, 1, &[0; 100])].concat())
        .await;
    client.say(1, ConfirmSelect { nowait: false }).await;
    client.hears(1, ConfirmSelectOk {}).await;
}

#[tokio::test(start_paused = true)]
async fn body_announced_over_512_mib_ends_the_connection_from_4_3_on() {
    const MAX: u64 = 512 << 20;
    for (profile, size) in [(Profile::V4_0, u64::MAX), (Profile::V4_3, MAX)] {
        let mut client = Client::open(&InMemoryBroker::start_as(profile)).await;
        client
            .write(&[publish(), header(60, 0, size, 0)].concat())
            .await;
        client.hears_nothing().await;
    }
    let bytes = [publish(), header(60, 0, MAX + 1, 0)].concat();
    let text = "FRAME_ERROR - content body size 536870913 exceeds maximum allowed size 536870912";
    let expected = Some((501, text.to_owned(), (60, 40)));
    assert_eq!(refusal(Profile::V4_3, &bytes).await, expected);
}

#[tokio::test(start_paused = true)]
async fn connection_is_closed_once_for_two_errors_at_once() {
    let errors = [method(1, 20, 10, b"\0"), frame(5, 1, b"")].concat();
    let expected = Some((
        504,
        "CHANNEL_ERROR - second 'channel.open' seen".into(),
        (20, 10),
    ));
    assert_eq!(refusal(Profile::V4_0, &errors).await, expected);
}

#[tokio::test(start_paused = true)]
async fn floats_that_are_no_numbers_end_the_connection() {
    let nan = [b"\0\0\0\x0b\x01kd", &f64::NAN.to_be_bytes()[..]].concat();
    let mut header = BytesMut::new();
    header.put_u16(60);
    header.put_u16(0);
    header.put_u64(0);
    header.put_u16(1 << 13);
    header.put_slice(&nan);
    let bytes = [publish(), frame(2, 1, &header)].concat();
    let expected = Some((541, "INTERNAL_ERROR".into(), (0, 0)));
    assert_eq!(refusal(Profile::V4_0, &bytes).await, expected);
    // RabbitMQ's reader crashes on such floats in a method.
    let declare = [b"\0\0\x01q\0", &nan[..]].concat();
    assert_eq!(
        refusal(Profile::V4_0, &method(1, 50, 10, &declare)).await,
        None
    );
}

#[tokio::test(start_paused = true)]
async fn unknown_delivery_modes_are_refused_before_4_0() {
    let mut client = Client::open(&InMemoryBroker::start_as(Profile::V3_10)).await;
    let mut header = BytesMut::new();
    header.put_u16(60);
    header.put_u16(0);
    header.put_u64(0);
    header.put_u16(1 << 12);
    header.put_u8(3);
    client
        .write(&[publish(), frame(2, 1, &header)].concat())
        .await;
    let close = ChannelClose {
        reply_code: 406,
        reply_text: "PRECONDITION_FAILED - invalid message: {delivery_mode_unknown,3}".into(),
        class_id: 60,
        method_id: 40,
    };
    client.hears(1, close).await;
}
