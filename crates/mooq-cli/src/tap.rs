//! `mooq tap`: a copy of each message that passes, by a queue of the command's own.

use std::future;
use std::time::Duration;

use clap::Args;
use mooq::bytes::Bytes;
use mooq::{
    Channel, Deliveries, ErrorKind, ExchangeName, FieldTable, QueueName, RawBytes, RoutingKey,
};

use crate::broker::BrokerArguments;
use crate::failure::{Failure, Result};
use crate::message;
use crate::output::{self, Progress};

/// Number of copies that may be on their way to the command.
const PREFETCH: u16 = 100;

const AFTER_HELP: &str = "\
A tap declares an exclusive queue of its own, which is deleted with it, and binds it to the
exchange. The other queues get all that they would get without it.

A queue cannot be tapped: whoever gets a message from a queue takes it from the others. With
--queue, the tap copies the queue's bindings instead, which the management API lists, and so gets a
copy of each message that is routed to that queue by an exchange with a name. Messages to a queue by
the default exchange cannot be copied; `mooq consume` shows those that wait.";

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    /// Exchange to tap
    #[arg(required_unless_present = "queue", conflicts_with = "queue")]
    exchange: Option<ExchangeName>,
    /// Queue whose bindings to copy
    #[arg(long, value_name = "QUEUE")]
    queue: Option<QueueName>,
    /// Routing key or pattern; may be repeated. By default `#`: everything that passes a topic,
    /// fanout or headers exchange. A direct exchange needs its keys
    #[arg(long, short = 'k', value_name = "KEY", conflicts_with = "queue")]
    routing_key: Vec<RoutingKey>,
    /// Ends after this number of messages
    #[arg(long, short = 'n', value_name = "N")]
    count: Option<u64>,
    /// Ends after this time, in seconds
    #[arg(long = "for", value_name = "SECONDS")]
    seconds: Option<u64>,
    /// Number of copies that may wait at the broker for a slow reader; older ones are dropped
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    backlog: u64,
    /// Prints nothing but messages and errors
    #[arg(long, short)]
    quiet: bool,
}

/// A binding of the tap's queue.
struct Source {
    exchange: ExchangeName,
    routing_key: RoutingKey,
    arguments: FieldTable,
}

pub(crate) async fn run(broker: &BrokerArguments, arguments: Arguments) -> Result<()> {
    let sources = sources(broker, &arguments).await?;
    let connection = broker.connect().await?;
    let channel = connection.create_channel().await?;
    let copies = open(&channel, &sources, arguments.backlog).await?;
    if !arguments.quiet {
        for Source {
            exchange,
            routing_key,
            ..
        } in &sources
        {
            eprintln!("taps exchange '{exchange}', routing key '{routing_key}'");
        }
    }
    let mut progress = Progress::new("copied", arguments.quiet);
    let reading = read(copies, arguments.count, &mut progress);
    let over = async {
        match arguments.seconds {
            Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
            None => future::pending().await,
        }
    };
    tokio::select! {
        read = reading => read?,
        () = over => {}
        interrupted = tokio::signal::ctrl_c() => {
            interrupted.map_err(|err| Failure::failed(format!("no interrupt can come: {err}")))?;
        }
    }
    connection.close().await?;
    progress.end();
    Ok(())
}

/// The bindings to make.
async fn sources(broker: &BrokerArguments, arguments: &Arguments) -> Result<Vec<Source>> {
    let Some(exchange) = &arguments.exchange else {
        let queue = arguments.queue.clone().unwrap_or_default();
        return copied(broker, &queue).await;
    };
    if exchange.is_empty() {
        return Err(Failure::wrong_usage(
            "the default exchange cannot be tapped, since no queue can be bound to it; `mooq consume` \
             shows what waits in a queue",
        ));
    }
    let mut keys = arguments.routing_key.clone();
    if keys.is_empty() {
        keys.push(RoutingKey::try_from("#")?);
    }
    let source = |routing_key| Source {
        exchange: exchange.clone(),
        routing_key,
        arguments: FieldTable::new(),
    };
    Ok(keys.into_iter().map(source).collect())
}

/// The bindings of a queue, but for that to the default exchange, which every queue has.
async fn copied(broker: &BrokerArguments, queue: &QueueName) -> Result<Vec<Source>> {
    let bindings = broker.management()?.bindings(queue).await?;
    // Every queue is bound to the default exchange.
    if bindings.is_empty() {
        return Err(Failure::nothing_there(format!(
            "there is no queue '{queue}'"
        )));
    }
    let mut sources = Vec::new();
    for binding in bindings {
        let exchange = ExchangeName::try_from(binding.source)?;
        if !exchange.is_empty() {
            sources.push(Source {
                exchange,
                routing_key: RoutingKey::try_from(binding.routing_key)?,
                arguments: binding.arguments,
            });
        }
    }
    if sources.is_empty() {
        return Err(Failure::failed(format!(
            "queue '{queue}' has no bindings to copy: messages come to it by the default exchange \
             alone. `mooq consume {queue}` shows what waits in it"
        )));
    }
    Ok(sources)
}

async fn open(
    channel: &Channel,
    sources: &[Source],
    backlog: u64,
) -> Result<Deliveries<Bytes, RawBytes>> {
    let own = channel
        .declare_queue("")
        .transient()
        .exclusive()
        .auto_delete();
    let declared = own.max_length(backlog).await?;
    for Source {
        exchange,
        routing_key,
        arguments,
    } in sources
    {
        let mut bind = channel.bind_queue(&declared.name, exchange, routing_key);
        for (name, value) in arguments {
            bind = bind.argument(name, value.clone());
        }
        bind.await?;
    }
    let copies = channel.consume::<Bytes>(&declared.name).codec(RawBytes);
    Ok(copies.prefetch(PREFETCH).await?)
}

async fn read(
    mut copies: Deliveries<Bytes, RawBytes>,
    count: Option<u64>,
    progress: &mut Progress,
) -> Result<()> {
    let most = count.unwrap_or(u64::MAX);
    while progress.count() < most {
        let Some(copy) = copies.next().await else {
            return Err(Failure::failed("the broker has ended the tap"));
        };
        let copy = copy.map_err(|err| match err.kind() {
            ErrorKind::ConnectionLost => Failure::from(err).context("the tap has ended"),
            _ => Failure::from(err),
        })?;
        if !output::line(&message::to_json(&copy).to_string())? {
            return Ok(());
        }
        copy.ack().await?;
        progress.add();
    }
    Ok(())
}
