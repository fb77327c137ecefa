//! One connection with one channel, on a blocking socket.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bytes::BytesMut;
use mooq_core::{Endpoint, FieldTable, QueueName};
use mooq_wire::frame::{FrameDecoder, PROTOCOL_HEADER, Payload};
use mooq_wire::method::{
    BasicConsume, BasicQos, ChannelOpen, ConfirmSelect, ConnectionOpen, ConnectionStartOk,
    ConnectionTuneOk, Method, QueueDeclare, QueueDelete, QueuePurge,
};
use mooq_wire::{Limits, Output};

/// Number of the channel.
pub(super) const CHANNEL: u16 = 1;

/// Bytes that are read at a time.
const READ: usize = 256 * 1024;

/// Time that a broker may take for anything.
const LIMIT: Duration = Duration::from_secs(60);

/// A connection with channel 1 open.
#[derive(Debug)]
pub struct Peer {
    pub(super) stream: TcpStream,
    pub(super) input: BytesMut,
    chunk: Vec<u8>,
}

impl Peer {
    /// Connects to a broker and logs in.
    ///
    /// # Errors
    /// The socket's error, or `InvalidData` for anything that is not the expected answer.
    pub fn connect(endpoint: &Endpoint) -> io::Result<Self> {
        let stream = TcpStream::connect((endpoint.host.as_str(), endpoint.port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LIMIT))?;
        let mut peer = Self {
            stream,
            input: BytesMut::with_capacity(READ),
            chunk: vec![0; READ],
        };
        peer.stream.write_all(&PROTOCOL_HEADER)?;
        peer.expect("connection.start")?;
        let credentials = &endpoint.credentials;
        let response = format!("\0{}\0{}", credentials.username, credentials.password);
        peer.send(
            0,
            ConnectionStartOk {
                client_properties: FieldTable::new(),
                mechanism: "PLAIN".try_into().map_err(invalid)?,
                response: response.into(),
                locale: "en_US".try_into().map_err(invalid)?,
            },
        )?;
        let Method::ConnectionTune(tune) = peer.expect("connection.tune")? else {
            return Err(invalid("no connection.tune"));
        };
        peer.send(
            0,
            ConnectionTuneOk {
                channel_max: tune.channel_max,
                frame_max: tune.frame_max,
                heartbeat: 0,
            },
        )?;
        let virtual_host = endpoint.vhost.clone();
        peer.send(0, ConnectionOpen { virtual_host })?;
        peer.expect("connection.open-ok")?;
        peer.call(ChannelOpen {}, "channel.open-ok")?;
        Ok(peer)
    }

    /// Declares a durable queue, and empties it.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub fn declare(&mut self, queue: &QueueName) -> io::Result<()> {
        let declare = QueueDeclare {
            queue: queue.clone(),
            passive: false,
            durable: true,
            exclusive: false,
            auto_delete: false,
            nowait: false,
            arguments: FieldTable::new(),
        };
        self.call(declare, "queue.declare-ok")?;
        let purge = QueuePurge {
            queue: queue.clone(),
            nowait: false,
        };
        self.call(purge, "queue.purge-ok")?;
        Ok(())
    }

    /// Deletes a queue.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub fn delete(&mut self, queue: &QueueName) -> io::Result<()> {
        let delete = QueueDelete {
            queue: queue.clone(),
            if_unused: false,
            if_empty: false,
            nowait: false,
        };
        self.call(delete, "queue.delete-ok")?;
        Ok(())
    }

    /// Asks for confirms.
    pub(super) fn confirm(&mut self) -> io::Result<()> {
        self.call(ConfirmSelect { nowait: false }, "confirm.select-ok")?;
        Ok(())
    }

    /// Consumes from a queue with acknowledgements.
    pub(super) fn consume(&mut self, queue: &QueueName, prefetch: u16) -> io::Result<()> {
        let qos = BasicQos {
            prefetch_size: 0,
            prefetch_count: prefetch,
            global: false,
        };
        self.call(qos, "basic.qos-ok")?;
        let consume = BasicConsume {
            queue: queue.clone(),
            consumer_tag: "t".try_into().map_err(invalid)?,
            no_local: false,
            no_ack: false,
            exclusive: false,
            nowait: false,
            arguments: FieldTable::new(),
        };
        self.call(consume, "basic.consume-ok")?;
        Ok(())
    }

    fn call(&mut self, method: impl Into<Method>, answer: &str) -> io::Result<Method> {
        self.send(CHANNEL, method)?;
        self.expect(answer)
    }

    fn send(&mut self, channel: u16, method: impl Into<Method>) -> io::Result<()> {
        let mut output = Output::new();
        output.method(channel, &method.into());
        self.stream.write_all(&output.to_bytes())
    }

    /// Reads the next method, which is to have this name.
    fn expect(&mut self, name: &str) -> io::Result<Method> {
        let limits = Limits::default();
        let decoder = FrameDecoder::new(limits);
        loop {
            match decoder.decode(&mut self.input).map_err(invalid)? {
                None => self.read()?,
                Some(frame) => {
                    let Payload::Method(bytes) = frame.payload else {
                        continue;
                    };
                    let method = Method::decode(bytes, &limits).map_err(invalid)?;
                    if method.name() == name {
                        return Ok(method);
                    }
                    return Err(invalid(format!("{method:?} where {name} was expected")));
                }
            }
        }
    }

    /// Reads what is there, or waits for it.
    pub(super) fn read(&mut self) -> io::Result<()> {
        let count = self.stream.read(&mut self.chunk)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.input.extend_from_slice(&self.chunk[..count]);
        Ok(())
    }
}

fn invalid(err: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, err)
}
