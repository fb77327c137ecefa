//! `mooq consume`.

use std::time::Duration;

use clap::Args;
use mooq::bytes::Bytes;
use mooq::{Channel, Delivery, ErrorKind, QueueName, RawBytes};

use crate::broker::BrokerArguments;
use crate::failure::{Failure, Result};
use crate::message;
use crate::output::{self, Progress};

/// Number of messages that are shown at most and left in their queue, if no other is asked for:
/// they are all held until the end.
const SHOWN: u64 = 1_000;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Queue to read
    queue: QueueName,
    /// Largest number of messages; by default all that are ready, but 1000 if they stay in the queue
    #[arg(long, short = 'n', value_name = "N")]
    count: Option<u64>,
    /// Takes the messages: each is acknowledged once its line is written
    #[arg(long, conflicts_with = "reject")]
    ack: bool,
    /// Rejects the messages: they are dead-lettered, or dropped
    #[arg(long)]
    reject: bool,
    /// Time to wait for a message when the queue is empty, in seconds; by default the command ends
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    wait: u64,
    /// Prints nothing but messages and errors
    #[arg(long, short)]
    quiet: bool,
}

impl Arguments {
    fn takes(&self) -> bool {
        self.ack || self.reject
    }
}

pub(crate) async fn run(broker: &BrokerArguments, arguments: Arguments) -> Result<()> {
    let connection = broker.connect().await?;
    let channel = connection.create_channel().await?;
    let verb = match (arguments.ack, arguments.reject) {
        (true, _) => "took",
        (_, true) => "rejected",
        _ => "showed",
    };
    let mut progress = Progress::new(verb, arguments.quiet);
    // Kept until the connection is closed: then the broker requeues all of them at once, in order.
    let mut held = Vec::new();
    let reading = read(&channel, &arguments, &mut progress, &mut held);
    tokio::select! {
        read = reading => read?,
        // What is not settled goes back.
        interrupted = tokio::signal::ctrl_c() => {
            interrupted.map_err(|err| Failure::failed(format!("no interrupt can come: {err}")))?;
        }
    }
    connection.close().await?;
    progress.end();
    if progress.count() == 0 {
        let queue = &arguments.queue;
        return Err(Failure::nothing_there(format!("queue '{queue}' is empty")));
    }
    Ok(())
}

async fn read(
    channel: &Channel,
    arguments: &Arguments,
    progress: &mut Progress,
    held: &mut Vec<Delivery<Bytes>>,
) -> Result<()> {
    let default = if arguments.takes() { u64::MAX } else { SHOWN };
    let most = arguments.count.unwrap_or(default);
    let wait = Duration::from_secs(arguments.wait);
    while progress.count() < most {
        let Some(delivery) = next(channel, &arguments.queue, wait).await? else {
            return Ok(());
        };
        if !output::line(&message::to_json(&delivery).to_string())? {
            return Ok(()); // The message was not shown: it goes back.
        }
        progress.add();
        if arguments.ack {
            delivery.ack().await?;
        } else if arguments.reject {
            delivery.reject().await?;
        } else {
            held.push(delivery);
        }
    }
    if arguments.count.is_none() && !arguments.quiet {
        eprintln!("{most} messages are shown at most: --count asks for more");
    }
    Ok(())
}

/// The next message, if there is one within the time.
async fn next(
    channel: &Channel,
    queue: &QueueName,
    wait: Duration,
) -> Result<Option<Delivery<Bytes>>> {
    let get = channel.get::<Bytes>(queue).codec(RawBytes);
    if wait.is_zero() {
        return Ok(get.await?);
    }
    match get.timeout(wait).await {
        Ok(delivery) => Ok(Some(delivery)),
        Err(err) if err.kind() == ErrorKind::ConsumeTimeout => Ok(None),
        Err(err) => Err(err.into()),
    }
}
