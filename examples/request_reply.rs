//! A service that answers requests, and its client.
//!
//! ```console
//! $ cargo test --example request_reply
//! $ MOOQ_TEST_BROKER=rabbitmq cargo test --example request_reply --features testcontainers
//! $ cargo run --example request_reply
//! ```

use std::time::Duration;

use clap::Parser;
use mooq::memory::InMemoryBroker;
use mooq::{Channel, Connection, Delivery, ErrorKind, RemoteError, Rpc};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
struct Question {
    pieces: u32,
    cents_each: u32,
}

/// The reason why there is no total.
enum QuoteError {
    TooMuch,
}

impl From<QuoteError> for RemoteError {
    fn from(err: QuoteError) -> Self {
        match err {
            QuoteError::TooMuch => Self::new("TooMuch", "that is more than we can count"),
        }
    }
}

/// The total in cents.
async fn quote(question: Delivery<Question>) -> Result<u32, QuoteError> {
    let Question { pieces, cents_each } = question.msg;
    pieces.checked_mul(cents_each).ok_or(QuoteError::TooMuch)
}

/// Begins to answer the questions that come to the queue `quotes`, while events of `conn` are
/// processed.
async fn start(conn: &Connection) -> mooq::Result<()> {
    let chan = conn.create_channel().await?;
    chan.register_responder("quotes", "direct")
        .queue("quotes")
        .callback(quote)
        .await?;
    Ok(())
}

/// Asks for the total of so many pencils.
async fn ask(chan: &Channel, pieces: u32, limit: Duration) -> mooq::Result<u32> {
    let pencils = Question {
        pieces,
        cents_each: 250,
    };
    chan.request("quotes", &pencils).timeout(limit).await
}

/// Asks two questions.
#[derive(Parser)]
struct Args {
    /// URL of the broker, for example amqp://localhost:5672
    #[arg(long, default_value = "memory://localhost:5672")]
    url: String,
}

#[tokio::main]
async fn main() -> mooq::Result<()> {
    let args = Args::parse();
    let broker = InMemoryBroker::new("localhost", 5672);
    broker.run(); // memory://localhost:5672 leads here.

    let service = mooq::connect(&args.url).await?;
    start(&service).await?;
    let running = service.clone();
    let running = tokio::spawn(async move { running.process_events().await });

    let conn = mooq::connect(&args.url).await?;
    let chan = conn.create_channel().await?;
    for pieces in [3, u32::MAX] {
        match ask(&chan, pieces, Duration::from_secs(5)).await {
            Ok(cents) => println!("{pieces} pieces: {cents} cents"),
            Err(err) if err.kind() == ErrorKind::TimedOut => println!("no answer"),
            Err(err) => match RemoteError::of(&err) {
                Some(remote) => println!("{pieces} pieces: {}", remote.message()),
                None => return Err(err),
            },
        }
    }
    service.close().await?;
    running.await.ok();
    conn.close().await
}

#[cfg(test)]
mod tests {
    use mooq::testing::{FromBroker, TestBroker};
    use tokio::try_join;

    use super::*;

    /// Time limit for an answer on a busy RabbitMQ. Only a failing test waits that long.
    const SOON: Duration = Duration::from_secs(20);

    /// The service, which runs in the background, and a channel to ask on.
    struct Shop {
        service: Connection,
        chan: Channel,
    }

    impl<On> FromBroker<On> for Shop {
        async fn from_broker(broker: &TestBroker) -> mooq::Result<Self> {
            let service = mooq::connect(broker).await?;
            start(&service).await?;
            let running = service.clone();
            tokio::spawn(async move { running.process_events().await });
            let chan = mooq::connect(broker).await?.create_channel().await?;
            Ok(Self { service, chan })
        }
    }

    #[mooq::test]
    async fn a_question_is_answered(shop: Shop) -> mooq::Result<()> {
        assert_eq!(ask(&shop.chan, 3, SOON).await?, 750);
        assert_eq!(ask(&shop.chan, 4, SOON).await?, 1000);
        Ok(())
    }

    #[mooq::test]
    async fn a_question_without_an_answer_has_a_reason(shop: Shop) {
        let err = ask(&shop.chan, u32::MAX, SOON).await.unwrap_err();
        let remote = RemoteError::of(&err).expect("the service has answered");
        assert_eq!(remote.name(), "TooMuch");
        assert_eq!(remote.message(), "that is more than we can count");
    }

    #[mooq::test]
    async fn questions_get_their_own_answers(shop: Shop, other: Channel) -> mooq::Result<()> {
        let (one, two, three) = try_join!(
            ask(&shop.chan, 3, SOON),
            ask(&shop.chan, 4, SOON),
            ask(&other, 5, SOON),
        )?;
        assert_eq!([one, two, three], [750, 1000, 1250]);
        Ok(())
    }

    #[mooq::test]
    async fn question_that_does_not_decode_is_answered_too(shop: Shop) -> mooq::Result<()> {
        let garbage = shop.chan.request::<u32>("quotes", "how much?");
        let err = garbage.timeout(SOON).await.unwrap_err();
        assert_eq!(RemoteError::of(&err).map(RemoteError::name), Some("Decode"));
        assert_eq!(ask(&shop.chan, 3, SOON).await?, 750);
        Ok(())
    }

    #[mooq::test]
    async fn question_to_a_stopped_service_times_out(shop: Shop) -> mooq::Result<()> {
        shop.service.close().await?;
        let limit = Duration::from_millis(200);
        let err = ask(&shop.chan, 3, limit).await.unwrap_err();
        assert_eq!(err.kind(), ErrorKind::TimedOut);
        // The question expires: a restarted service does not answer it.
        while shop
            .chan
            .declare_queue("quotes")
            .passive()
            .await?
            .message_count
            > 0
        {}
        Ok(())
    }
}
