//! A service that answers requests, and its client.
//!
//! ```console
//! $ cargo test --example request_reply
//! $ MOOQ_TEST_BROKER=rabbitmq cargo test --example request_reply --features testcontainers
//! $ cargo run --example request_reply
//! ```
//!
//! A request names the queue for its answer (`reply_to`) and has an id (`correlation_id`). Each
//! client has a queue of its own for answers, and waits for a limited time. A request without an
//! answer by then expires, because the client no longer reads it.

use std::time::Duration;

use clap::Parser;
use mooq::memory::InMemoryBroker;
use mooq::{Channel, Connection, Delivery, ErrorKind, QueueName};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
struct Question {
    pieces: u32,
    cents_each: u32,
}

/// The total in cents, or the reason why there is none.
type Answer = Result<u32, String>;

/// Begins to answer the questions that come to the queue `quotes`, while events of `conn` are
/// processed.
async fn start(conn: &Connection) -> mooq::Result<()> {
    let chan = conn.create_channel().await?;
    chan.register_consumer("quotes", "direct")
        .queue("quotes")
        .callback({
            let chan = chan.clone();
            move |question: Delivery<Question>| answer(chan.clone(), question)
        })
        .await?;
    Ok(())
}

async fn answer(chan: Channel, question: Delivery<Question>) -> mooq::Result<()> {
    // A question without `reply_to` needs no answer.
    let Some(reply_to) = &question.properties.reply_to else {
        return Ok(());
    };
    let total = quote(&question.msg);
    let mut reply = chan.publish("", &total).routing_key(reply_to.as_str());
    if let Some(id) = &question.properties.correlation_id {
        reply = reply.correlation_id(id.as_str());
    }
    // The client may be gone, and its queue with it: then the answer is not needed.
    reply.await
}

fn quote(question: &Question) -> Answer {
    let total = question.pieces.checked_mul(question.cents_each);
    total.ok_or_else(|| "that is more than we can count".into())
}

/// A client that asks one question at a time.
struct Asker {
    chan: Channel,
    answers: QueueName,
    asked: u64,
}

impl Asker {
    async fn new(conn: &Connection) -> mooq::Result<Self> {
        let chan = conn.create_channel().await?;
        let answers = chan.declare_queue("").exclusive().await?.name;
        Ok(Self {
            chan,
            answers,
            asked: 0,
        })
    }

    async fn ask(&mut self, question: &Question, limit: Duration) -> mooq::Result<Answer> {
        self.asked += 1;
        let id = self.asked.to_string();
        self.chan
            .publish("quotes", question)
            .reply_to(self.answers.as_str())
            .correlation_id(id.as_str())
            .expiration(limit)
            .mandatory()
            .await?;
        loop {
            let answers = self.chan.get::<Answer>(&*self.answers);
            let answer = answers.timeout(limit).await?;
            let asked = answer.properties.correlation_id.clone();
            let answer = answer.ack().await?;
            // The answer to an earlier question may come late.
            if asked.is_some_and(|asked| asked == *id) {
                return Ok(answer);
            }
        }
    }
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
    let mut asker = Asker::new(&conn).await?;
    for pieces in [3, u32::MAX] {
        let question = Question {
            pieces,
            cents_each: 250,
        };
        match asker.ask(&question, Duration::from_secs(5)).await {
            Ok(Ok(cents)) => println!("{pieces} pieces: {cents} cents"),
            Ok(Err(why)) => println!("{pieces} pieces: {why}"),
            Err(err) if err.kind() == ErrorKind::ConsumeTimeout => println!("no answer"),
            Err(err) => return Err(err),
        }
    }
    service.close().await?;
    running.await.ok();
    conn.close().await
}

#[cfg(test)]
mod tests {
    use mooq::testing::{FromBroker, TestBroker};

    use super::*;

    /// Time limit for an answer on a busy RabbitMQ. Only a failing test waits that long.
    const SOON: Duration = Duration::from_secs(20);

    /// The service, which runs in the background, and a client.
    struct Shop {
        service: Connection,
        asker: Asker,
    }

    impl<On> FromBroker<On> for Shop {
        async fn from_broker(broker: &TestBroker) -> mooq::Result<Self> {
            let service = mooq::connect(broker).await?;
            start(&service).await?;
            let running = service.clone();
            tokio::spawn(async move { running.process_events().await });
            let asker = Asker::new(&mooq::connect(broker).await?).await?;
            Ok(Self { service, asker })
        }
    }

    fn pencils(pieces: u32) -> Question {
        Question {
            pieces,
            cents_each: 250,
        }
    }

    #[mooq::test]
    async fn a_question_is_answered(mut shop: Shop) -> mooq::Result<()> {
        assert_eq!(shop.asker.ask(&pencils(3), SOON).await?, Ok(750));
        assert_eq!(shop.asker.ask(&pencils(4), SOON).await?, Ok(1000));
        Ok(())
    }

    #[mooq::test]
    async fn a_question_without_an_answer_has_a_reason(mut shop: Shop) -> mooq::Result<()> {
        let answer = shop.asker.ask(&pencils(u32::MAX), SOON).await?;
        assert_eq!(answer.unwrap_err(), "that is more than we can count");
        Ok(())
    }

    #[mooq::test]
    async fn askers_get_their_own_answers(mut shop: Shop, other: Connection) -> mooq::Result<()> {
        let mut other = Asker::new(&other).await?;
        let (threes, fives) = (pencils(3), pencils(5));
        let (one, two) = tokio::join!(shop.asker.ask(&threes, SOON), other.ask(&fives, SOON));
        assert_eq!((one?, two?), (Ok(750), Ok(1250)));
        Ok(())
    }

    #[mooq::test]
    async fn question_that_does_not_decode_stops_nothing(mut shop: Shop) -> mooq::Result<()> {
        shop.asker.chan.publish("quotes", "how much?").await?;
        shop.asker.chan.publish("quotes", &pencils(1)).await?; // Wants no answer.
        assert_eq!(shop.asker.ask(&pencils(3), SOON).await?, Ok(750));
        Ok(())
    }

    #[mooq::test]
    async fn question_to_a_stopped_service_times_out(mut shop: Shop) -> mooq::Result<()> {
        shop.service.close().await?;
        let limit = Duration::from_millis(200);
        let err = shop.asker.ask(&pencils(3), limit).await.unwrap_err();
        assert_eq!(err.kind(), ErrorKind::ConsumeTimeout);
        // The question expires: a restarted service does not answer it.
        let chan = &shop.asker.chan;
        while chan.declare_queue("quotes").passive().await?.message_count > 0 {}
        Ok(())
    }
}
