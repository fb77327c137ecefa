//! `mooq publish`.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use mooq::bytes::Bytes;
use mooq::{
    Channel, Confirmation, DeliveryMode, ExchangeName, FieldTable, FieldValue, Properties, Publish,
    RawBytes, RoutingKey, ShortString,
};

use crate::broker::BrokerArguments;
use crate::failure::{Failure, Result};
use crate::header;
use crate::output::Progress;

/// Number of publishes in flight before the oldest one's confirm is awaited.
const WINDOW: usize = 256;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Body of the message; without it and --file, the body is read from the standard input
    body: Option<String>,
    /// Exchange to publish to; the default exchange routes to the queue that the key names
    #[arg(long, short, default_value = "")]
    exchange: ExchangeName,
    /// Routing key
    #[arg(long, short = 'k', default_value = "")]
    routing_key: RoutingKey,
    /// File with the body; `-` stands for the standard input
    #[arg(long, short, value_name = "FILE", conflicts_with = "body")]
    file: Option<PathBuf>,
    /// Publishes each line of the input as a message of its own, without the line's end
    #[arg(long, conflicts_with = "body")]
    lines: bool,
    /// Fails, with 3, if the message reaches no queue
    #[arg(long)]
    mandatory: bool,
    /// Does not wait for the broker's confirms: a message that is refused is not noticed
    #[arg(long, conflicts_with = "mandatory")]
    no_confirm: bool,
    /// Prints nothing but errors
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    properties: PropertyArguments,
}

/// Properties of the message.
#[derive(Debug, Args)]
#[command(next_help_heading = "Properties")]
struct PropertyArguments {
    /// Header with a text; may be repeated
    #[arg(long, short = 'H', value_name = "NAME=TEXT", value_parser = header::text)]
    header: Vec<(ShortString, FieldValue)>,
    /// Header with a value in JSON, such as `attempt=1`; may be repeated
    #[arg(long, value_name = "NAME=JSON", value_parser = header::json)]
    header_json: Vec<(ShortString, FieldValue)>,
    /// MIME type of the body, such as application/json
    #[arg(long, value_name = "TYPE")]
    content_type: Option<ShortString>,
    /// MIME encoding of the body, such as gzip
    #[arg(long, value_name = "ENCODING")]
    content_encoding: Option<ShortString>,
    /// Id that ties a reply to its request
    #[arg(long, value_name = "ID")]
    correlation_id: Option<ShortString>,
    /// Queue that a reply goes to
    #[arg(long, value_name = "QUEUE")]
    reply_to: Option<ShortString>,
    /// Time that the message may wait in a queue, in milliseconds
    #[arg(long, value_name = "MILLISECONDS")]
    expiration: Option<u32>,
    /// Id of the message
    #[arg(long, value_name = "ID")]
    message_id: Option<ShortString>,
    /// Type of the message
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<ShortString>,
    /// Name of the publishing application
    #[arg(long, value_name = "NAME")]
    app_id: Option<ShortString>,
    /// Priority, for queues with priorities
    #[arg(long, value_name = "0-255")]
    priority: Option<u8>,
    /// Time of the message, in seconds since 1970
    #[arg(long, value_name = "SECONDS")]
    timestamp: Option<u64>,
    /// The message is lost when the broker restarts
    #[arg(long)]
    transient: bool,
}

impl PropertyArguments {
    fn properties(self) -> Properties {
        let mut properties = Properties::default();
        properties.content_type = self.content_type;
        properties.content_encoding = self.content_encoding;
        properties.correlation_id = self.correlation_id;
        properties.reply_to = self.reply_to;
        let expiration = self.expiration.map(|millis| millis.to_string());
        properties.expiration = expiration.and_then(|text| text.try_into().ok());
        properties.message_id = self.message_id;
        properties.kind = self.kind;
        properties.app_id = self.app_id;
        properties.priority = self.priority;
        properties.timestamp = self.timestamp;
        properties.delivery_mode = Some(match self.transient {
            true => DeliveryMode::Transient,
            false => DeliveryMode::Persistent,
        });
        let mut headers = FieldTable::new();
        for (name, value) in self.header.into_iter().chain(self.header_json) {
            headers.insert(name, value);
        }
        properties.headers = headers;
        properties
    }
}

pub(crate) async fn run(broker: &BrokerArguments, arguments: Arguments) -> Result<()> {
    let input = Input::open(arguments.body, arguments.file, arguments.lines)?;
    let connection = broker.connect().await?;
    let channel = connection.create_channel().await?;
    let publisher = Publisher {
        channel,
        exchange: arguments.exchange,
        routing_key: arguments.routing_key,
        properties: Arc::new(arguments.properties.properties()),
        mandatory: arguments.mandatory,
        confirms: !arguments.no_confirm,
    };
    let mut progress = Progress::new("published", arguments.quiet);
    let published = publisher.publish_all(input, &mut progress).await;
    if published.is_err() && progress.count() > 0 {
        eprintln!("published {} before this", progress.count());
    }
    published?;
    // What was not confirmed has to reach the broker.
    connection.close().await?;
    progress.end();
    Ok(())
}

/// The address and the properties of the messages.
struct Publisher {
    channel: Channel,
    exchange: ExchangeName,
    routing_key: RoutingKey,
    properties: Arc<Properties>,
    mandatory: bool,
    confirms: bool,
}

impl Publisher {
    async fn publish_all(&self, mut input: Input, progress: &mut Progress) -> Result<()> {
        let mut in_flight: VecDeque<Confirmation> = VecDeque::new();
        while let Some(body) = input.next()? {
            let publish = self.publish(&body);
            if !self.confirms {
                publish.unconfirmed().await?;
                progress.add();
                continue;
            }
            in_flight.push_back(publish.send().await?);
            if in_flight.len() >= WINDOW
                && let Some(oldest) = in_flight.pop_front()
            {
                oldest.await?;
                progress.add();
            }
        }
        for confirmation in in_flight {
            confirmation.await?;
            progress.add();
        }
        Ok(())
    }

    fn publish(&self, body: &Bytes) -> Publish<'_> {
        let publish = self
            .channel
            .publish_with(&self.exchange, body, RawBytes)
            .routing_key(&self.routing_key)
            .properties(Arc::clone(&self.properties));
        match self.mandatory {
            true => publish.mandatory(),
            false => publish,
        }
    }
}

/// The bodies.
enum Input {
    One(Option<Bytes>),
    Lines(Box<dyn BufRead + Send>),
}

impl Input {
    fn open(body: Option<String>, file: Option<PathBuf>, lines: bool) -> Result<Self> {
        if let Some(body) = body {
            return Ok(Self::One(Some(body.into())));
        }
        let mut reader: Box<dyn BufRead + Send> = match file {
            Some(path) if path.as_os_str() != "-" => {
                let file = File::open(&path);
                let file = file.map_err(|err| {
                    Failure::failed(format!("{} cannot be read: {err}", path.display()))
                })?;
                Box::new(BufReader::new(file))
            }
            _ => Box::new(BufReader::new(io::stdin())),
        };
        if lines {
            return Ok(Self::Lines(reader));
        }
        let mut body = Vec::new();
        reader
            .read_to_end(&mut body)
            .map_err(|err| unreadable(&err))?;
        Ok(Self::One(Some(body.into())))
    }

    /// The next body. Blocks: nothing else runs meanwhile that would wait for this.
    fn next(&mut self) -> Result<Option<Bytes>> {
        let lines = match self {
            Self::One(body) => return Ok(body.take()),
            Self::Lines(lines) => lines,
        };
        let mut line = Vec::new();
        if lines
            .read_until(b'\n', &mut line)
            .map_err(|err| unreadable(&err))?
            == 0
        {
            return Ok(None);
        }
        if line.ends_with(b"\n") {
            line.pop();
            if line.ends_with(b"\r") {
                line.pop();
            }
        }
        Ok(Some(line.into()))
    }
}

fn unreadable(err: &io::Error) -> Failure {
    Failure::failed(format!("the input cannot be read: {err}"))
}
