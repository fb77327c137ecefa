//! Requests and replies of clients that know nothing of mooq: properties and bodies on the wire.

use std::sync::Arc;

use mooq::{ErrorKind, RemoteError, Rpc};
use mooq_core::{
    Consume, Deliver, Fetched, FieldTable, Message, Properties, Publish, QueueDeclare,
};

use super::rpc::{Service, doubles};
use crate::raw::{Raw, body, consumer, message, table, text};
use crate::scenario;
use crate::{Fixture, within};

/// A message with the properties of a request or a reply.
fn correlated(to: (&str, &str), body: &str, reply_to: Option<&str>, id: &str) -> Message {
    let mut properties = Properties::default();
    properties.reply_to = reply_to.map(|to| to.try_into().unwrap());
    properties.correlation_id = Some(id.try_into().unwrap());
    Message {
        properties: Arc::new(properties),
        ..message(to.0, to.1, body)
    }
}

fn id(deliver: &Deliver) -> Option<&str> {
    deliver.message.properties.correlation_id.as_deref()
}

/// The header and the JSON body of an error.
fn error(deliver: &Deliver) -> (Option<&str>, serde_json::Value) {
    let header = deliver.message.properties.headers.get("mooq-error");
    let header = header.and_then(|name| name.as_str());
    (header, serde_json::from_str(text(deliver)).unwrap())
}

#[scenario]
async fn plain_client_is_answered_by_a_responder(fixture: Fixture) {
    let (service, answers) = fixture.channel().await;
    let exchange = fixture.name("exchange");
    doubles(&answers, &exchange, &fixture.name("queue")).await;
    let service = Service::start(service);
    let mut plain = fixture.raw().await;
    let own = plain.declare_with(QueueDeclare::server_named()).await;
    // By direct reply-to, and by a queue of its own.
    for reply_to in ["amq.rabbitmq.reply-to", own.as_str()] {
        let tag = plain
            .consume_with(Consume {
                no_ack: true,
                ..consumer(reply_to)
            })
            .await;
        let ask = |body: &str, id: &str| {
            Publish::new(correlated(
                (exchange.as_str(), ""),
                body,
                Some(reply_to),
                id,
            ))
        };
        plain.send(ask("21", "first"));
        let reply = plain.delivery().await;
        assert_eq!((text(&reply), id(&reply)), ("42", Some("first")));
        let content_type = &reply.message.properties.content_type;
        assert_eq!(content_type.as_deref(), Some("application/json"));

        plain.send(ask("5000", "second"));
        let reply = plain.delivery().await;
        assert_eq!(id(&reply), Some("second"));
        let (header, body) = error(&reply);
        assert_eq!(header, Some("TooLarge"));
        assert_eq!(body["name"], "TooLarge");
        assert_eq!(body["message"], "at most 1,000");

        plain.send(ask("garbage", "third"));
        let reply = plain.delivery().await;
        assert_eq!(error(&reply).0, Some("Decode"));
        plain.cancel(&tag).await;
    }
    service.end().await;
}

/// Waits for a request, and takes it.
async fn take(plain: &Raw, queue: &str) -> Fetched {
    let taken = async {
        loop {
            if let Some(fetched) = plain.get(queue).await {
                return fetched;
            }
            // The answer may be there at once, and the requester needs its turn.
            tokio::task::yield_now().await;
        }
    };
    let fetched = within("the request", taken).await;
    plain.ack(fetched.delivery_tag);
    fetched
}

/// Answers a request as a client does that knows nothing of mooq.
async fn reply(plain: &mut Raw, to: &Message, body: &str, headers: FieldTable) {
    let (address, id) = (&to.properties.reply_to, &to.properties.correlation_id);
    let (address, id) = (address.as_ref().unwrap(), id.as_ref().unwrap());
    let mut reply = correlated(("", address.as_str()), body, None, id);
    Arc::make_mut(&mut reply.properties).headers = headers;
    plain.put_message(Publish::new(reply)).await;
}

#[scenario]
async fn plain_client_answers_a_request(fixture: Fixture) {
    let (_conn, chan) = fixture.channel().await;
    let queue = fixture.name("queue");
    chan.declare_queue(&queue).await.unwrap();
    let mut plain = fixture.publisher().await;
    let ask = || {
        let request = chan.request::<String>("", "hello").routing_key(&queue);
        tokio::spawn(request.header("tenant", "red").into_future())
    };

    let request = ask();
    let asked = take(&plain, &queue).await.message;
    assert_eq!(body(&asked), r#""hello""#);
    let properties = &asked.properties;
    assert_eq!(properties.content_type.as_deref(), Some("application/json"));
    assert_eq!(
        properties.headers.get("tenant").unwrap().as_str(),
        Some("red")
    );
    let address = properties.reply_to.as_deref().unwrap();
    assert!(address.starts_with("amq.rabbitmq.reply-to."), "{address}");
    reply(&mut plain, &asked, r#""HELLO""#, FieldTable::new()).await;
    assert_eq!(
        within("the reply", request).await.unwrap().unwrap(),
        "HELLO"
    );

    for (body, message) in [
        (r#"{"message": "come back later"}"#, "come back later"),
        ("come back later", "come back later"),
        ("", ""),
    ] {
        let request = ask();
        let asked = take(&plain, &queue).await.message;
        let headers = table([("mooq-error", "Busy".into())]);
        reply(&mut plain, &asked, body, headers).await;
        let err = within("the reply", request).await.unwrap().unwrap_err();
        assert_eq!(err.kind(), ErrorKind::Remote);
        let remote = RemoteError::of(&err).unwrap();
        assert_eq!((remote.name(), remote.message()), ("Busy", message));
    }

    let request = ask();
    let asked = take(&plain, &queue).await.message;
    reply(&mut plain, &asked, "no JSON", FieldTable::new()).await;
    let err = within("the reply", request).await.unwrap().unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Decode);
    assert!(err.to_string().contains("with no content type"), "{err}");

    // A second reply, and one to nobody's request.
    reply(&mut plain, &asked, r#""again""#, FieldTable::new()).await;
    let address = asked.properties.reply_to.as_deref().unwrap();
    plain.put("", address, "to whom?").await;
    let request = ask();
    let asked = take(&plain, &queue).await.message;
    reply(&mut plain, &asked, r#""last""#, FieldTable::new()).await;
    assert_eq!(within("the reply", request).await.unwrap().unwrap(), "last");
    assert_eq!(chan.late_replies(), 2);
}
