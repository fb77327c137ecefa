//! A worker that retries failed messages later, and puts aside those that keep failing.
//!
//! ```console
//! $ cargo test --example worker
//! $ MOOQ_TEST_BROKER=rabbitmq cargo test --example worker --features testcontainers
//! $ cargo run --example worker
//! ```
//!
//! A mail that cannot be sent waits in a queue of the broker's, and comes back after a while. The
//! third time that it fails, the mail is parked in `mails-failed`, with the error, for an operator
//! to look at. The worker can be stopped at any time, since all waiting mails are in queues.

use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use mooq::memory::InMemoryBroker;
use mooq::{Connection, Delivery, Retry};
use serde::{Deserialize, Serialize};

/// Number of attempts for a mail.
const ATTEMPTS: u32 = 3;
/// Time limit for the mail to be parked.
const LIMIT: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Mail {
    to: String,
}

/// Begins to send the mails in the queue `mails` by `send`, while events of `conn` are processed.
async fn start(
    conn: &Connection,
    later: Duration,
    send: impl Fn(&Mail) -> Result<(), String> + Send + Sync + 'static,
) -> mooq::Result<()> {
    let chan = conn.create_channel().await?;
    let policy = Retry::every(later).attempts(ATTEMPTS);
    let send = Arc::new(send);
    chan.register_consumer("mails", "direct")
        .queue("mails")
        .retry(policy.then_park("mails-failed"))
        .callback(move |mail: Delivery<Mail>| {
            let send = Arc::clone(&send);
            async move { send(&mail.msg) }
        })
        .await?;
    Ok(())
}

/// Sends one mail, and fails to send another.
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

    let conn = mooq::connect(&args.url).await?;
    start(&conn, Duration::from_millis(50), |mail| {
        println!("to {}", mail.to);
        if mail.to == "nobody" {
            return Err("there is no nobody".into());
        }
        Ok(())
    })
    .await?;

    let chan = conn.create_channel().await?;
    for to in ["ada", "nobody"] {
        let mail = Mail { to: to.into() };
        chan.publish("mails", &mail).await?;
    }
    // A service that keeps running has `.with_graceful_shutdown(…)` and waits for that.
    let worker = conn.clone();
    tokio::spawn(async move { worker.process_events().await });
    let failed = chan.get::<Mail>("mails-failed").timeout(LIMIT).await?;
    println!("parked: to {}", failed.ack().await?.to);
    conn.close().await
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use mooq::memory::{DeadLetterReason, InMemoryBroker};
    use mooq::testing::TestBroker;
    use mooq::{Channel, FieldValue};

    use super::*;

    /// Time limit for a message on a busy RabbitMQ. Only a failing test waits that long.
    const SOON: Duration = Duration::from_secs(20);

    /// The addresses that the worker has tried to send to.
    #[derive(Default, Clone)]
    struct Tried(Arc<Mutex<Vec<String>>>);

    impl Tried {
        fn note(&self, mail: &Mail) -> usize {
            let mut tried = self.0.lock().unwrap();
            tried.push(mail.to.clone());
            tried.iter().filter(|to| **to == mail.to).count()
        }

        fn all(&self) -> Vec<String> {
            self.0.lock().unwrap().clone()
        }
    }

    /// Runs the worker in the background, and returns a channel to send mails by.
    async fn work(
        broker: &TestBroker,
        later: Duration,
        send: impl Fn(&Mail) -> Result<(), String> + Send + Sync + 'static,
    ) -> mooq::Result<Channel> {
        let worker = mooq::connect(broker).await?;
        start(&worker, later, send).await?;
        tokio::spawn(async move { worker.process_events().await });
        mooq::connect(broker).await?.create_channel().await
    }

    async fn order(chan: &Channel, to: &str) -> mooq::Result<()> {
        let mail = Mail { to: to.into() };
        chan.publish("mails", &mail).message_id("mail-7").await
    }

    #[mooq::test]
    async fn mail_that_fails_once_is_sent_later(broker: TestBroker) -> mooq::Result<()> {
        let (tried, (sent, mut mails)) = (Tried::default(), tokio::sync::mpsc::channel(9));
        let note = tried.clone();
        let worker = mooq::connect(&broker).await?;
        start(&worker, Duration::from_millis(50), move |mail| {
            if mail.to == "ada" && note.note(mail) == 1 {
                return Err("busy".into());
            }
            sent.try_send(mail.to.clone()).map_err(|e| e.to_string())
        })
        .await?;
        let chan = mooq::connect(&broker).await?.create_channel().await?;
        order(&chan, "ada").await?;
        order(&chan, "grace").await?;
        // Only now: otherwise the first mail may be back before the second one is published.
        tokio::spawn(async move { worker.process_events().await });

        // The failed mail holds up no other.
        assert_eq!(mails.recv().await.unwrap(), "grace");
        assert_eq!(mails.recv().await.unwrap(), "ada");
        assert_eq!(tried.all(), ["ada", "ada"]);
        Ok(())
    }

    #[mooq::test]
    async fn mail_that_fails_three_times_is_parked(broker: TestBroker) -> mooq::Result<()> {
        let tried = Tried::default();
        let note = tried.clone();
        let chan = work(&broker, Duration::from_millis(10), move |mail| {
            note.note(mail);
            Err("no such address".into())
        })
        .await?;

        order(&chan, "nobody").await?;

        let failed = chan.get::<Mail>("mails-failed").timeout(SOON).await?;
        assert_eq!(failed.msg.to, "nobody");
        let error = failed.properties.headers.get("mooq-error");
        let error = error.and_then(FieldValue::as_str);
        assert_eq!(error, Some("no such address"));
        assert_eq!(tried.all(), ["nobody"; 3]);
        let id = failed.properties.message_id.as_deref();
        assert_eq!(id, Some("mail-7"));
        failed.ack().await?;
        Ok(())
    }

    #[mooq::test]
    async fn a_mail_waits_for_the_worker(broker: TestBroker) -> mooq::Result<()> {
        let worker = mooq::connect(&broker).await?;
        start(&worker, SOON, |_| Ok(())).await?;
        let chan = mooq::connect(&broker).await?.create_channel().await?;
        order(&chan, "ada").await?;
        worker.close().await?;

        let mail = chan.get::<Mail>("mails").timeout(SOON).await?;
        assert_eq!(mail.ack().await?.to, "ada");
        Ok(())
    }

    /// Attempts are half an hour apart, as in production: the paused clock advances by itself.
    #[mooq::test(paused)]
    async fn the_attempts_are_half_an_hour_apart(
        broker: TestBroker,
        memory: InMemoryBroker,
    ) -> mooq::Result<()> {
        let later = Duration::from_secs(30 * 60);
        let recording = memory.record(100);
        let chan = work(&broker, later, |_| Err("busy".into())).await?;

        let began = tokio::time::Instant::now();
        order(&chan, "ada").await?;
        let failed = chan.get::<Mail>("mails-failed").timeout(3 * later).await?;
        failed.ack().await?;

        assert_eq!(began.elapsed().as_secs() / 60, 60);
        let deaths = recording.dead_letters();
        deaths.reason(DeadLetterReason::Expired).assert_times(2);
        Ok(())
    }
}
