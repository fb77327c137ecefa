//! Arguments that the client refuses before it sends anything, and declares that the broker
//! refuses.

use std::future::IntoFuture;
use std::time::Duration;

use mooq::{
    Channel, ConnectOptions, Error, ErrorKind, ErrorScope, ExchangeKind, FieldValue, OnLoss, Result,
};

use crate::Fixture;
use crate::Version;
use crate::scenario;
use crate::steps::{fill, ready_in, record};

/// A text of 256 bytes, one more than a name may have.
fn long() -> String {
    "x".repeat(256)
}

#[scenario]
async fn a_publish_with_an_overlong_name_sends_nothing(fixture: Fixture) {
    let (_conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    fill(&chan, &queue, &[]).await;
    let to_queue = || chan.publish("", "body").routing_key(&queue);
    refused("exchange name", chan.publish(long(), "body")).await;
    refused("routing key", chan.publish("", "body").routing_key(long())).await;
    refused("short string", to_queue().header(long(), 1)).await;
    refused("short string", to_queue().message_id(long())).await;
    refused("short string", to_queue().correlation_id(long())).await;
    refused("short string", to_queue().reply_to(long())).await;
    refused("short string", to_queue().kind(long())).await;
    refused("short string", to_queue().app_id(long())).await;
    refused("short string", to_queue().user_id(long())).await;
    refused("short string", to_queue().content_type(long())).await;
    refused("short string", to_queue().content_encoding(long())).await;
    let sent = to_queue().message_id(long()).send().await;
    expect_invalid_name("short string", &sent.unwrap_err());
    let sent = to_queue().message_id(long()).unconfirmed().await;
    expect_invalid_name("short string", &sent.unwrap_err());
    assert_eq!(ready_in(&chan, &queue).await, 0);
    expect_usable(&fixture, &chan).await;
}

#[scenario]
async fn declaring_with_an_overlong_name_sends_nothing(fixture: Fixture) {
    let (_conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    let exchange = fixture.name("exchange");
    refused("exchange name", chan.declare_exchange(long(), "direct")).await;
    refused("short string", chan.declare_exchange(&exchange, &*long())).await;
    let declare = || chan.declare_exchange(&exchange, "direct");
    refused("exchange name", declare().alternate_exchange(long())).await;
    refused("short string", declare().argument(long(), 1)).await;
    refused("queue name", chan.declare_queue(long())).await;
    refused(
        "short string",
        chan.declare_queue(&queue).argument(long(), 1),
    )
    .await;
    expect_usable(&fixture, &chan).await;
    // Neither exchange was declared.
    let err = chan.declare_exchange(&exchange, "direct").passive().await;
    assert_eq!(err.unwrap_err().kind(), ErrorKind::ExchangeNotFound);
}

#[scenario]
async fn binding_and_deleting_with_an_overlong_name_sends_nothing(fixture: Fixture) {
    let (_conn, chan) = fixture.channel().await;
    refused("queue name", chan.bind_queue(long(), "amq.direct", "k")).await;
    refused("exchange name", chan.bind_queue("q", long(), "k")).await;
    refused("routing key", chan.bind_queue("q", "amq.direct", long())).await;
    let bind = chan.bind_queue("q", "amq.direct", "k");
    refused("short string", bind.argument(long(), 1)).await;
    refused("queue name", chan.unbind_queue(long(), "amq.direct", "k")).await;
    refused(
        "exchange name",
        chan.bind_exchange(long(), "amq.direct", "k"),
    )
    .await;
    refused("exchange name", chan.unbind_exchange("e", long(), "k")).await;
    refused("queue name", chan.delete_queue(long())).await;
    refused("exchange name", chan.delete_exchange(long())).await;
    let purged = chan.purge_queue(long()).await;
    expect_invalid_name("queue name", &purged.unwrap_err());
    expect_usable(&fixture, &chan).await;
}

#[scenario]
async fn consuming_with_an_overlong_name_sends_nothing(fixture: Fixture) {
    let (_conn, chan) = fixture.channel().await;
    let (queue, exchange) = (fixture.name("queue"), fixture.name("exchange"));
    refused("queue name", chan.consume::<String>(long())).await;
    let consume = chan.consume::<String>(&queue);
    refused("short string", consume.consumer_argument(long(), 1)).await;
    refused("queue name", chan.get::<String>(long())).await;
    let (recorder, _calls) = record::<String>();
    let register = |exchange: &str, kind: &str| {
        let callback = recorder.clone().callback();
        chan.register_consumer(exchange, kind).callback(callback)
    };
    let direct = || register(&exchange, "direct");
    refused("exchange name", register(&long(), "direct")).await;
    refused("short string", register(&exchange, &long())).await;
    refused("queue name", direct().queue(long())).await;
    refused("routing key", direct().routing_key(long())).await;
    refused(
        "routing key",
        direct().routing_keys(["fine".into(), long()]),
    )
    .await;
    refused("consumer tag", direct().tag(long())).await;
    refused("short string", direct().header(long(), 1)).await;
    refused("short string", direct().queue_argument(long(), 1)).await;
    refused("short string", direct().consumer_argument(long(), 1)).await;
    expect_usable(&fixture, &chan).await;
    // Not even the exchange was declared.
    let err = chan.declare_exchange(&exchange, "direct").passive().await;
    assert_eq!(err.unwrap_err().kind(), ErrorKind::ExchangeNotFound);
}

#[scenario]
async fn connecting_with_an_overlong_name_fails(fixture: Fixture) {
    let connect = |options: ConnectOptions| fixture.open(options);
    let err = connect(fixture.options().vhost(long())).await.unwrap_err();
    expect_invalid_name("virtual host", &err);
    let err = connect(fixture.options().name(long())).await.unwrap_err();
    expect_invalid_name("short string", &err);
}

#[scenario]
async fn a_heartbeat_out_of_range_is_an_invalid_argument(fixture: Fixture) {
    for every in [0, 1999, 65_536_000] {
        let options = fixture.options().heartbeat(Duration::from_millis(every));
        let err = fixture.open(options).await.unwrap_err();
        assert_eq!(err.kind(), ErrorKind::InvalidArgument, "{every} ms");
        assert!(err.to_string().contains("2 to 65535 seconds"), "{err}");
    }
}

#[scenario]
async fn builder_reports_the_first_of_its_mistakes(fixture: Fixture) {
    let (_conn, chan) = fixture.channel().await;
    let publish = chan.publish("", "body").routing_key(long());
    refused("routing key", publish.message_id(long())).await;
}

#[scenario]
async fn a_prefetch_or_concurrency_of_zero_is_an_invalid_argument(fixture: Fixture) {
    let (_conn, chan) = fixture.channel().await;
    let exchange = fixture.name("exchange");
    let (recorder, _calls) = record::<String>();
    let register = || {
        chan.register_consumer(&exchange, "fanout")
            .callback(recorder.clone().callback())
    };
    for (what, result) in [
        ("prefetch", register().prefetch(0).await.map(drop)),
        ("concurrency", register().concurrency(0).await.map(drop)),
        (
            "prefetch",
            chan.consume::<String>("q").prefetch(0).await.map(drop),
        ),
    ] {
        let err = result.unwrap_err();
        assert_eq!(err.kind(), ErrorKind::InvalidArgument);
        assert_eq!(err.scope(), ErrorScope::Operation);
        assert!(err.to_string().contains(what), "{err}");
    }
    expect_usable(&fixture, &chan).await;
}

#[scenario]
async fn an_unknown_exchange_kind_is_bad_exchange(fixture: Fixture) {
    let conn = fixture.connect().await;
    // "invalid" is RabbitMQ's word for the empty kind.
    let cases = [
        ("no-such-kind", "unknown"),
        ("DIRECT", "unknown"),
        ("", "invalid"),
    ];
    if fixture.version() < Version::V4_0 {
        // Before 4.0 the broker closes the connection.
        for (kind, word) in cases {
            let conn = fixture.connect().await;
            let chan = conn.create_channel().await.unwrap();
            let exchange = fixture.name("exchange");
            let err = chan.declare_exchange(&exchange, kind).await.unwrap_err();
            assert_eq!(err.kind(), ErrorKind::ExchangeMismatch);
            assert_eq!(err.scope(), ErrorScope::Connection);
            let text = format!("COMMAND_INVALID - {word} exchange type '{kind}'");
            crate::expect_reason(&err, 503, (40, 10), &text);
        }
        return;
    }
    for (kind, word) in cases {
        let chan = conn.create_channel().await.unwrap();
        let exchange = fixture.name("exchange");
        let err = chan.declare_exchange(&exchange, kind).await.unwrap_err();
        assert_eq!(err.kind(), ErrorKind::ExchangeMismatch);
        assert_eq!(err.scope(), ErrorScope::Channel);
        let text = format!("PRECONDITION_FAILED - {word} exchange type '{kind}'");
        crate::expect_reason(&err, 406, (40, 10), &text);
    }
    assert!(conn.is_open());
}

#[scenario]
async fn reserved_names_are_refused(fixture: Fixture) {
    let conn = fixture.connect().await;
    let chan = conn.create_channel().await.unwrap();
    let err = chan
        .declare_exchange("amq.mine", ExchangeKind::Direct)
        .await
        .unwrap_err();
    assert_eq!(err.kind(), ErrorKind::AccessRefused);
    let text = "ACCESS_REFUSED - exchange name 'amq.mine' contains reserved prefix 'amq.*'";
    crate::expect_reason(&err, 403, (40, 10), text);
    let chan = conn.create_channel().await.unwrap();
    let err = chan.declare_queue("amq.mine").await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::AccessRefused);
    let text = "ACCESS_REFUSED - queue name 'amq.mine' contains reserved prefix 'amq.*'";
    crate::expect_reason(&err, 403, (50, 10), text);
}

#[scenario]
async fn a_bad_queue_argument_is_precondition_failed(fixture: Fixture) {
    let (_conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    let err = chan
        .declare_queue(&queue)
        .argument("x-max-length", "many")
        .await
        .unwrap_err();
    assert_eq!(err.kind(), ErrorKind::PreconditionFailed);
    assert_eq!(err.reason().unwrap().code, 406);
    assert!(err.to_string().contains("x-max-length"), "{err}");
}

/// Asserts that a call fails because its name, a `what`, is too long.
async fn refused<T>(what: &str, call: impl IntoFuture<Output = Result<T>>) {
    match call.await {
        Ok(_) => panic!("an overlong {what} was taken"),
        Err(err) => expect_invalid_name(what, &err),
    }
}

#[track_caller]
fn expect_invalid_name(what: &str, err: &Error) {
    assert_eq!(err.kind(), ErrorKind::InvalidName, "{err:?}");
    assert_eq!(err.scope(), ErrorScope::Operation);
    let text = format!("{what} of 256 bytes is over the limit of 255 bytes");
    assert!(err.to_string().starts_with(&text), "{err}");
    assert!(err.reason().is_none(), "the broker was not asked");
}

/// Asserts that the channel is still usable.
async fn expect_usable(fixture: &Fixture, chan: &Channel) {
    let queue = fixture.name("still usable");
    fill(chan, &queue, &["body"]).await;
    assert_eq!(ready_in(chan, &queue).await, 1);
}

/// RabbitMQ answers such floats with 541, and closes the connection.
#[scenario]
async fn nan_and_infinite_floats_are_refused_before_they_are_sent(fixture: Fixture) {
    let (conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    fill(&chan, &queue, &[]).await;
    let nested = || vec![FieldValue::from(1), FieldValue::F32(f32::NEG_INFINITY)];
    let publish = || chan.publish("", "body").routing_key(&queue);
    let said = "header 'ratio' holds NaN";
    expect_invalid_argument(said, publish().header("ratio", f64::NAN).await);
    let said = "header 'ratio' holds inf";
    let sent = publish()
        .header("ratio", f32::INFINITY)
        .on_loss(OnLoss::Resend);
    expect_invalid_argument(said, sent.await);
    let said = "header 'list' holds -inf";
    expect_invalid_argument(said, publish().header("list", nested()).send().await);

    let other = fixture.name("other");
    let said = "argument 'x-ratio' holds NaN";
    let declare = chan.declare_queue(&other).argument("x-ratio", f64::NAN);
    expect_invalid_argument(said, declare.await);
    let declare = chan
        .declare_exchange(&other, "direct")
        .argument("x-ratio", f64::NAN);
    expect_invalid_argument(said, declare.await);
    let bind = chan
        .bind_queue(&queue, "amq.headers", "")
        .argument("x-ratio", f64::NAN);
    expect_invalid_argument(said, bind.await);
    let consume = chan
        .consume::<String>(&queue)
        .consumer_argument("x-ratio", f64::NAN);
    expect_invalid_argument(said, consume.await);

    assert_eq!(ready_in(&chan, &queue).await, 0);
    expect_usable(&fixture, &chan).await;
    assert!(conn.is_open());
}

/// Deeper nesting could overflow a decoder's stack.
#[scenario]
async fn field_value_of_more_than_a_hundred_levels_is_refused(fixture: Fixture) {
    let (_conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    fill(&chan, &queue, &[]).await;
    let arrays = |levels| (0..levels).fold(FieldValue::Void, |inner, _| vec![inner].into());
    let publish = || chan.publish("", "body").routing_key(&queue);
    for levels in [101, 30_000] {
        let sent = publish().header("deep", arrays(levels)).await;
        expect_invalid_argument("header 'deep' nests deeper than 100", sent);
        let declare = chan.declare_queue(&queue).argument("deep", arrays(levels));
        expect_invalid_argument("argument 'deep' nests deeper than 100", declare.await);
    }
    publish().header("deep", arrays(100)).await.unwrap();
    let delivery = chan.get_one::<String>(&queue).await.unwrap();
    assert_eq!(delivery.properties.headers.get("deep"), Some(&arrays(100)));
}

#[track_caller]
fn expect_invalid_argument<T>(said: &str, outcome: Result<T>) {
    let Err(err) = outcome else {
        panic!("the call succeeded, though {said}");
    };
    assert_eq!(err.kind(), ErrorKind::InvalidArgument, "{err:?}");
    assert_eq!(err.scope(), ErrorScope::Operation);
    assert!(err.to_string().starts_with(said), "{err}");
}
