//! Messages as they were published.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_message_comes_back_as_it_was_published_however_it_is_cut() {
    let broker = InMemoryBroker::start();
    let mut client = Client::open(&broker).await;
    client
        .write(&method(1, 50, 10, b"\0\0\x01q\0\0\0\0\0"))
        .await;
    client.read().await;
    let body: Bytes = (0..300_000).map(|i| i as u8).collect::<Vec<_>>().into();
    let mut properties = Properties::default();
    properties.message_id = Some("id".try_into().unwrap());
    let publish = Method::BasicPublish(BasicPublish {
        exchange: "".try_into().unwrap(),
        routing_key: "q".try_into().unwrap(),
        mandatory: false,
        immediate: false,
    });
    let mut output = Output::new();
    output.content(1, &publish, &properties, &body, 131_072);
    // Pieces that end anywhere.
    for piece in output.to_bytes().chunks(1013) {
        client.write(piece).await;
    }
    client.say(1, ConfirmSelect { nowait: false }).await;
    client.hears(1, ConfirmSelectOk {}).await;

    let [message] = &broker.ready_messages("q")[..] else {
        panic!("expected one message")
    };
    assert_eq!(message.message.body, body);
    assert_eq!(*message.message.properties, properties);
}

#[tokio::test(start_paused = true)]
async fn properties_come_back_octet_for_octet() {
    let mut client = Client::open(&InMemoryBroker::start()).await;
    client
        .write(&method(1, 50, 10, b"\0\0\x01q\0\0\0\0\0"))
        .await;
    client.read().await;
    // No headers, delivery mode 3, and a correlation id that is not UTF-8.
    let properties = b"\0\0\0\0\x03\x02\xff\xfe";
    let mut header = BytesMut::new();
    header.put_u16(60);
    header.put_u16(0);
    header.put_u64(0);
    header.put_u16(1 << 13 | 1 << 12 | 1 << 10);
    header.put_slice(properties);
    let header = frame(2, 1, &header);
    client.write(&[publish(), header.clone()].concat()).await;
    client.write(&method(1, 60, 70, b"\0\0\x01q\x01")).await;
    let Read::Method(1, Method::BasicGetOk(_)) = client.read().await else {
        panic!("expected a message")
    };
    while client.input.len() < header.len() {
        client.socket.read_buf(&mut client.input).await.unwrap();
    }
    assert_eq!(client.input, header);
}
