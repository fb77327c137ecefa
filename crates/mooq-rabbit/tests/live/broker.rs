//! The container, and what the steps need to talk to it.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use mooq_core::mailbox::Receiver;
use mooq_core::{
    ChannelEvent, ConnectionEvent, Deliver, Endpoint, ExchangeName, Handoff, Message, Properties,
    Publish, QueueDeclare, QueueName, Scheme, Settle, Settlement, TlsOptions, Transport,
    TransportChannel, TransportConnection,
};
use mooq_rabbit::RabbitTransport;
use testcontainers::core::{ContainerPort, ExecCommand};
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, GenericImage, ImageExt};

use mooq_rig::certificates::{Authority, Issued};
use mooq_rig::proxy::Proxy;
use mooq_rig::rabbitmq::{self, Image};

/// Time limit of anything in a step. Only a call that hangs reaches it: thousands of requests one
/// after another, on a machine that is busy with others, do take their time.
pub(crate) const DEADLINE: Duration = Duration::from_secs(240);

pub(crate) struct Broker {
    pub(crate) container: ContainerAsync<GenericImage>,
    pub(crate) endpoint: Endpoint,
    /// Issuer of the broker's certificate.
    pub(crate) authority: Authority,
}

/// Port on which the broker speaks TLS, and asks for a certificate but does without.
pub(crate) const TLS_PORT: u16 = 5671;

/// Port on which a test can have the broker insist on a certificate.
pub(crate) const STRICT_TLS_PORT: u16 = 5670;

/// So that TLS is there too. Both the official image and ours read such a file.
const TLS_CONFIGURATION: &str = "
listeners.ssl.default = 5671
ssl_options.cacertfile = /etc/rabbitmq/tls/ca.pem
ssl_options.certfile = /etc/rabbitmq/tls/server.pem
ssl_options.keyfile = /etc/rabbitmq/tls/server-key.pem
ssl_options.verify = verify_peer
ssl_options.fail_if_no_peer_cert = false
";

impl Broker {
    pub(crate) async fn start() -> Self {
        let authority = Authority::new();
        let Issued { certificate, key } = authority.issue_to_server();
        let file = |name: &str| format!("/etc/rabbitmq/{name}");
        let container = rabbitmq::container(&Image::current())
            .with_mapped_port(0, ContainerPort::Tcp(TLS_PORT))
            .with_mapped_port(0, ContainerPort::Tcp(STRICT_TLS_PORT))
            .with_copy_to(
                file("conf.d/90-tls.conf"),
                TLS_CONFIGURATION.as_bytes().to_vec(),
            )
            .with_copy_to(file("tls/ca.pem"), authority.file())
            .with_copy_to(file("tls/server.pem"), certificate.into_bytes())
            .with_copy_to(file("tls/server-key.pem"), key.into_bytes())
            .start()
            .await
            .unwrap();
        let mut endpoint = Endpoint::default();
        // Not "localhost": on IPv6 Docker may have given the same port to another container.
        endpoint.host = "127.0.0.1".into();
        endpoint.port = container.get_host_port_ipv4(5672).await.unwrap();
        // A machine that is busy with others is slow to log in, and late with heartbeats.
        endpoint.connect_timeout = DEADLINE;
        endpoint.heartbeat = Duration::from_secs(60);
        Self {
            container,
            endpoint,
            authority,
        }
    }

    /// Endpoint at which the broker speaks TLS, on `port` in the container. Its authority is
    /// trusted.
    pub(crate) async fn tls_endpoint(&self, port: u16) -> Endpoint {
        let mut endpoint = self.endpoint.clone();
        endpoint.scheme = Scheme::Amqps;
        endpoint.port = self.container.get_host_port_ipv4(port).await.unwrap();
        endpoint.tls = TlsOptions::new().ca_file(self.authority.file());
        endpoint
    }

    /// A proxy before the broker, and where it is.
    pub(crate) fn proxy(&self) -> (Proxy, Endpoint) {
        let address = self.endpoint.address().parse();
        let proxy = Proxy::to(address.expect("the endpoint's host is an address"));
        let mut endpoint = self.endpoint.clone();
        endpoint.port = proxy.port();
        (proxy, endpoint)
    }

    pub(crate) async fn connect(&self) -> Connection {
        Connection::open(&self.endpoint).await
    }

    pub(crate) async fn channel(&self) -> (Connection, Channel) {
        let connection = self.connect().await;
        let channel = connection.channel().await;
        (connection, channel)
    }

    pub(crate) async fn log(&self) -> String {
        let log = self.container.stdout_to_vec().await.unwrap();
        String::from_utf8(log).unwrap()
    }

    /// Runs `rabbitmqctl` in the container and gives what it prints.
    pub(crate) async fn rabbitmqctl(&self, args: &[&str]) -> String {
        let command = ["rabbitmqctl", "--quiet"].iter().chain(args).copied();
        let command = ExecCommand::new(command.map(str::to_owned));
        let mut result = self.container.exec(command).await.unwrap();
        let output = result.stdout_to_vec().await.unwrap();
        let code = result.exit_code().await.unwrap();
        assert_eq!(code, Some(0), "rabbitmqctl {args:?}");
        String::from_utf8(output).unwrap()
    }
}

/// Waits for `future`, but not for ever.
pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(DEADLINE, future)
        .await
        .expect("it takes too long")
}

pub(crate) struct Connection {
    pub(crate) connection: Arc<dyn TransportConnection>,
    pub(crate) events: Receiver<ConnectionEvent>,
}

impl Connection {
    pub(crate) async fn open(endpoint: &Endpoint) -> Self {
        Self::open_by(&RabbitTransport, endpoint).await
    }

    pub(crate) async fn open_by(transport: &dyn Transport, endpoint: &Endpoint) -> Self {
        let opened = transport.open(endpoint).await.unwrap();
        Self {
            connection: opened.connection,
            events: opened.events,
        }
    }

    pub(crate) async fn channel(&self) -> Channel {
        let opened = soon(self.connection.open_channel()).await.unwrap();
        Channel {
            channel: opened.channel,
            events: opened.events,
        }
    }

    /// The next event, which has to be the last.
    pub(crate) async fn closed(&mut self) -> mooq_core::Error {
        match soon(self.events.next()).await {
            Some(ConnectionEvent::Closed(reason)) => reason,
            other => panic!("expected Closed, got {other:?}"),
        }
    }

    /// Shows that the connection works, and closes it.
    pub(crate) async fn check_and_close(self) {
        let channel = self.channel().await;
        channel.queue().await;
        soon(self.connection.close()).await.unwrap();
    }
}

pub(crate) struct Channel {
    pub(crate) channel: Arc<dyn TransportChannel>,
    pub(crate) events: Receiver<ChannelEvent>,
}

impl Channel {
    /// A queue that the broker names and that goes with the connection.
    pub(crate) async fn queue(&self) -> QueueName {
        let declared = soon(self.channel.declare_queue(QueueDeclare::server_named())).await;
        declared.unwrap().name
    }

    pub(crate) async fn event(&mut self) -> ChannelEvent {
        soon(self.events.next()).await.expect("a last event")
    }

    pub(crate) async fn delivery(&mut self) -> Deliver {
        match self.event().await {
            ChannelEvent::Deliver(deliver) => deliver,
            other => panic!("expected Deliver, got {other:?}"),
        }
    }

    /// The next event, which has to be the last.
    pub(crate) async fn closed(&mut self) -> mooq_core::Error {
        let ChannelEvent::Closed(reason) = self.event().await else {
            panic!("expected Closed");
        };
        assert!(soon(self.events.next()).await.is_none(), "Closed is last");
        reason
    }

    /// Publishes to the default exchange, and waits if the transport is full.
    pub(crate) async fn publish(&self, queue: &QueueName, body: impl Into<Bytes>) {
        let handoff = self.channel.publish(to_queue(queue, body)).unwrap();
        if let Handoff::Full(room) = handoff {
            soon(room).await;
        }
    }

    pub(crate) fn ack(&self, delivery_tag: u64) {
        let settle = Settle {
            delivery_tag,
            multiple: false,
            settlement: Settlement::Ack,
        };
        self.channel.settle(settle).unwrap();
    }
}

pub(crate) fn to_queue(queue: &QueueName, body: impl Into<Bytes>) -> Publish {
    Publish::new(Message {
        exchange: ExchangeName::default(),
        routing_key: queue.clone().into(),
        properties: Arc::new(Properties::default()),
        body: body.into(),
    })
}

pub(crate) fn to_exchange(exchange: &str) -> Publish {
    let mut publish = to_queue(&name(), "");
    publish.message.exchange = exchange.try_into().unwrap();
    publish
}

/// A queue's name that nothing else uses.
pub(crate) fn name() -> QueueName {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("live-{count}").try_into().unwrap()
}
