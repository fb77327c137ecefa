//! Checks of docs/coming-from-python.md: each documented item of Python's mooq has a place, and
//! every place exists.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use mooq::memory::InMemoryBroker;
use mooq::{
    Broker, Channel, ConnectOptions, Connection, Delivery, ErrorKind, ExchangeKind, GetBroker,
    Json, NoCallback, ProcessEvents, Publish, RegisterConsumer,
};
use mooq_broker_ctl::{ControlMethod, RabbitMQBroker};

/// Items that Python's mooq 0.1.1 documents.
const SEED: &[&str] = &[
    "connect",
    "connect(host=)",
    "connect(port=)",
    "connect(broker=)",
    "InMemoryConnection",
    "RabbitMQConnection",
    "Connection.connect",
    "Connection.create_channel",
    "Connection.process_events",
    "Connection.process_events(num_cycles=)",
    "Connection.close",
    "Connection.get_broker",
    "InMemoryChannel",
    "RabbitMQChannel",
    "Channel.register_producer",
    "exchange_type=",
    "Channel.register_consumer",
    "register_consumer(queue_name=)",
    "register_consumer(routing_keys=)",
    "register_consumer(callback=)",
    "resp[\"msg\"]",
    "resp[\"routing_key\"]",
    "Channel.publish",
    "publish(routing_key=)",
    "Broker",
    "Broker.name",
    "broker_registry",
    "InMemoryBroker",
    "InMemoryBroker.run",
    "InMemoryBroker.close",
    "RabbitMQBroker",
    "RabbitMQBroker.run",
    "run(is_running=)",
    "RabbitMQBroker.close",
    "TEST_DISTRIBUTION",
    "Exchange.bind",
    "ConsumerQueue.get_next_message",
    "ConsumerQueue.put",
    "ExchangeNotFound",
    "ConsumerQueueNotFound",
    "ConsumeTimeout",
    "NothingToConsume",
    "BadExchange",
    "BrokerInternalError",
    "BrokerConnectionError",
    "NotImplementedError",
];

/// Names of places, each with a use that does not compile if the place is missing.
macro_rules! places {
    ($($place:literal => $use:expr;)+) => {
        fn places() -> BTreeSet<&'static str> {
            $(let _ = $use;)+
            BTreeSet::from([$($place),+])
        }
    };
}

places! {
    "connect" => |url: &'static str| drop(mooq::connect(url));
    "ConnectOptions::host" => |options: ConnectOptions| options.host("localhost");
    "ConnectOptions::port" => |options: ConnectOptions| options.port(5672);
    "ConnectOptions::broker" => |options: ConnectOptions| options.broker("in_memory");
    "Connection" => |_: Connection| ();
    "Connection::create_channel" => |conn: &Connection| drop(conn.create_channel());
    "Connection::process_events" => |conn: &Connection| conn.process_events();
    "ProcessEvents::cycles" => |events: ProcessEvents| events.cycles(1);
    "Connection::close" => |conn: &Connection| drop(conn.close());
    "GetBroker::get_broker" => |conn: &Connection| conn.get_broker();
    "Channel" => |_: Channel| ();
    "Channel::register_producer" => |chan: &Channel| drop(chan.register_producer("log", "direct"));
    "ExchangeKind::Direct" => ExchangeKind::Direct;
    "ExchangeKind::Topic" => ExchangeKind::Topic;
    "ExchangeKind::Fanout" => ExchangeKind::Fanout;
    "Channel::register_consumer" => |chan: &Channel| drop(chan.register_consumer("log", "direct"));
    "RegisterConsumer::queue" => |consumer: RegisterConsumer<Json, NoCallback>| consumer.queue("queue");
    "RegisterConsumer::routing_keys" => |consumer: RegisterConsumer<Json, NoCallback>| consumer.routing_keys(["key"]);
    "RegisterConsumer::callback" =>
        |consumer: RegisterConsumer<Json, NoCallback>| drop(consumer.callback(|_: Delivery<String>| async {}));
    "Delivery::msg" => |resp: Delivery<String>| resp.msg;
    "Delivery::routing_key" => |resp: Delivery<String>| resp.routing_key;
    "Channel::publish" => |chan: &Channel| drop(chan.publish("log", "Hello World!"));
    "Publish::routing_key" => |publish: Publish<'static>| publish.routing_key("greetings");
    "Broker" => |_: Broker| ();
    "Broker::named" => Broker::named;
    "Broker::lookup" => Broker::lookup;
    "InMemoryBroker::lookup" => InMemoryBroker::lookup;
    "RabbitMQBroker::register" => RabbitMQBroker::register;
    "InMemoryBroker::new" => |host: &'static str| InMemoryBroker::new(host, 5672);
    "InMemoryBroker::run" => InMemoryBroker::run;
    "InMemoryBroker::close" => InMemoryBroker::close;
    "RabbitMQBroker::new" => |host: &'static str| RabbitMQBroker::new(host, 5672);
    "RabbitMQBroker::run" => |broker: &RabbitMQBroker| drop(broker.run());
    "RabbitMQBroker::running" => |broker: &RabbitMQBroker| drop(broker.running());
    "RabbitMQBroker::close" => |broker: &RabbitMQBroker| drop(broker.close());
    "ControlMethod::from_env" => ControlMethod::from_env;
    "Channel::bind_queue" => |chan: &Channel| drop(chan.bind_queue("queue", "log", "key"));
    "Channel::get_one" => |chan: &Channel| drop(chan.get_one::<String>("queue"));
    "ErrorKind::ExchangeNotFound" => ErrorKind::ExchangeNotFound;
    "ErrorKind::QueueNotFound" => ErrorKind::QueueNotFound;
    "ErrorKind::ConsumeTimeout" => ErrorKind::ConsumeTimeout;
    "ErrorKind::NothingToConsume" => ErrorKind::NothingToConsume;
    "ErrorKind::ExchangeMismatch" => ErrorKind::ExchangeMismatch;
    "ErrorKind::BrokerInternalError" => ErrorKind::BrokerInternalError;
    "ErrorKind::ConnectFailed" => ErrorKind::ConnectFailed;
    "ErrorKind::UnsupportedScheme" => ErrorKind::UnsupportedScheme;
}

fn page() -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/coming-from-python.md");
    fs::read_to_string(page).expect("docs/coming-from-python.md can be read")
}

/// The names in code style in a column of the page's tables. Each row must have one.
fn column(page: &str, number: usize) -> BTreeSet<&str> {
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    let cells = rows.map(|row| row.split(" | ").nth(number).expect("a row has three cells"));
    cells
        .flat_map(|cell| {
            assert!(
                cell.contains('`'),
                "the cell '{cell}' has no name in backticks"
            );
            cell.split('`').skip(1).step_by(2)
        })
        .collect()
}

#[test]
fn each_item_of_python_has_a_row() {
    let page = page();
    assert_eq!(column(&page, 0), SEED.iter().copied().collect());
}

#[test]
fn the_places_that_the_page_names_are_there() {
    let page = page();
    assert_eq!(column(&page, 1), places());
}
