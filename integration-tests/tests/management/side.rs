//! The two brokers, and a client of each.

use futures_util::StreamExt;
use mooq::server::{Listen, ListenManagement, ManagementServer, Server};
use mooq_conformance::raw::{consumer, message, table};
use mooq_core::{
    ChannelEvent, Consume, Endpoint, OpenedChannel, OpenedConnection, Publish, QueueDeclare,
    Transport,
};
use mooq_memory::{InMemoryBroker, Profile};
use mooq_rabbit::NativeTransport;
use mooq_rig::management::{Answer, Management, Method};
use mooq_rig::rabbitmq::{self, Image};
use testcontainers::core::IntoContainerPort;
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, GenericImage, ImageExt};

/// A broker, and what leads to it.
pub(crate) struct Side {
    pub(crate) http: Management,
    endpoint: Endpoint,
}

/// RabbitMQ in a container.
pub(crate) struct Live {
    pub(crate) side: Side,
    _container: ContainerAsync<GenericImage>,
}

pub(crate) async fn live(image: &Image) -> Live {
    let container = rabbitmq::container(image)
        .with_mapped_port(0, 15672.tcp())
        .start()
        .await
        .expect("RabbitMQ starts");
    let amqp = container.get_host_port_ipv4(5672).await.unwrap();
    let http = container.get_host_port_ipv4(15672).await.unwrap();
    Live {
        side: Side::of(amqp, http),
        _container: container,
    }
}

/// The in-memory broker on its sockets.
pub(crate) struct InMemory {
    pub(crate) side: Side,
    pub(crate) management: ManagementServer,
    _server: Server,
}

pub(crate) async fn in_memory(profile: Profile) -> InMemory {
    let broker = InMemoryBroker::start_as(profile);
    let server = broker.listen("127.0.0.1:0").await.unwrap();
    let management = broker.listen_management("127.0.0.1:0").await.unwrap();
    let (amqp, http) = (server.address().port(), management.address().port());
    InMemory {
        side: Side::of(amqp, http),
        management,
        _server: server,
    }
}

impl Side {
    fn of(amqp: u16, http: u16) -> Self {
        Self {
            http: Management::behind(http),
            endpoint: format!("amqp://127.0.0.1:{amqp}?name=shop")
                .parse()
                .unwrap(),
        }
    }

    pub(crate) async fn ask(&self, method: &Method, path: &str, body: &str) -> Answer {
        self.http.ask(method.clone(), path, body).await
    }

    /// Opens the connection of a client with two channels, unacked and ready messages.
    pub(crate) async fn connect(&self) -> Clients {
        let opened = NativeTransport.open(&self.endpoint).await.unwrap();
        let mut first = opened.connection.open_channel().await.unwrap();
        let second = opened.connection.open_channel().await.unwrap();
        first.channel.qos(1, false).await.unwrap();
        first.channel.confirm_select().await.unwrap();
        second
            .channel
            .raw_methods()
            .unwrap()
            .tx_select()
            .await
            .unwrap();
        let own = QueueDeclare {
            exclusive: true,
            ..QueueDeclare::new("own".try_into().unwrap())
        };
        first.channel.declare_queue(own).await.unwrap();
        for body in ["a pencil", "paper"] {
            let message = message("", "orders", body);
            let _ = first.channel.publish(Publish::new(message)).unwrap();
            let confirmed = first.events.next().await;
            assert!(
                matches!(confirmed, Some(ChannelEvent::Confirm { .. })),
                "{confirmed:?}"
            );
        }
        let till = Consume {
            tag: "till".try_into().unwrap(),
            arguments: table([("x-priority", 2.into())]),
            ..consumer("orders")
        };
        first.channel.consume(till).await.unwrap();
        for (channel, tag) in [(&first, "active"), (&second, "waiting")] {
            let consume = Consume {
                tag: tag.try_into().unwrap(),
                ..consumer("single")
            };
            channel.channel.consume(consume).await.unwrap();
        }
        let delivered = first.events.next().await;
        assert!(
            matches!(delivered, Some(ChannelEvent::Deliver(_))),
            "{delivered:?}"
        );
        Clients {
            _connection: opened,
            _channels: [first, second],
        }
    }

    /// The name of the only connection, and of the node: everything else that differs has other
    /// keys.
    pub(crate) async fn names(&self) -> (String, String) {
        let connections = self.ask(&Method::GET, "/api/connections", "").await.json();
        let mut named = connections.as_array().unwrap().iter();
        let own = named.find(|connection| connection["user_provided_name"] == "shop");
        let own = own.map(|connection| connection["name"].as_str().unwrap());
        let overview = self.ask(&Method::GET, "/api/overview", "").await.json();
        let node = overview["node"].as_str().unwrap();
        (own.unwrap_or("no connection").to_owned(), node.to_owned())
    }
}

/// The clients of a broker, which are gone when this is dropped.
pub(crate) struct Clients {
    _connection: OpenedConnection,
    _channels: [OpenedChannel; 2],
}

impl Side {
    pub(crate) async fn read(&self, path: &str, (connection, node): &(String, String)) -> Answer {
        let connection = connection.replace(' ', "%20").replace('>', "%3E");
        let path = path
            .replace("{connection}", &connection)
            .replace("{node}", node);
        self.ask(&Method::GET, &path, "").await
    }
}
