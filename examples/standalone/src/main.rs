//! Greets every name in the queue "names".

use mooq::{Connection, Delivery, ExchangeKind::Fanout, Retry};

async fn start(conn: &Connection) -> mooq::Result<()> {
    let chan = conn.create_channel().await?;
    chan.register_producer("greetings", Fanout).await?;
    let out = chan.clone();
    chan.register_consumer("names", Fanout)
        .queue("names")
        .callback(move |name: Delivery<String>| {
            let (out, greeting) = (out.clone(), format!("Hello, {}!", name.msg));
            async move { out.publish("greetings", &greeting).await }
        })
        // A message that does not decode will never be a name.
        .on_decode_error(Retry::never().then_reject())
        .await?;
    Ok(())
}

#[tokio::main]
async fn main() -> mooq::Result<()> {
    let conn = mooq::connect("amqp://localhost:5672").await?;
    start(&conn).await?;
    let ctrl_c = async { tokio::signal::ctrl_c().await.unwrap_or_default() };
    conn.process_events().with_graceful_shutdown(ctrl_c).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use mooq::Channel;
    use mooq::memory::InMemoryBroker;

    const SOON: std::time::Duration = std::time::Duration::from_secs(20);

    #[mooq::test]
    async fn ada_is_greeted(service: Connection, test: Channel) -> mooq::Result<()> {
        start(&service).await?;
        test.declare_queue("heard").await?;
        test.bind_queue("heard", "greetings", "").await?;
        tokio::spawn(async move { service.process_events().await });
        test.publish("names", "Ada").await?;
        let heard = test.get::<String>("heard").timeout(SOON).await?;
        assert_eq!(heard.ack().await?, "Hello, Ada!");
        Ok(())
    }

    #[mooq::test(memory)]
    async fn message_without_a_name_greets_no_one(
        broker: InMemoryBroker,
        service: Connection,
    ) -> mooq::Result<()> {
        start(&service).await?;
        let chan = service.create_channel().await?;
        tokio::spawn(async move { service.process_events().await });
        let recording = broker.record(100);
        chan.publish("names", &()).await?;
        broker.wait_idle().await;
        recording.publishes().exchange("greetings").assert_never();
        Ok(())
    }
}
