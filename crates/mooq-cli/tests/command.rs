//! The command against an in-memory broker of this process, on a socket.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail as tests do"
)]

use std::io::Write as _;
use std::process::Stdio;

use mooq_memory::{Alarm, InMemoryBroker};
use mooq_server::{Listen, ListenManagement, ManagementServer, Server};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};

/// A broker on a socket, and its management API.
struct Place {
    broker: InMemoryBroker,
    server: Server,
    management: ManagementServer,
    /// The tests' own client.
    chan: mooq::Channel,
    _conn: mooq::Connection,
}

/// The end of a command.
#[derive(Debug)]
struct Ended {
    code: i32,
    out: String,
    err: String,
}

impl Ended {
    /// The lines of the output, as JSON.
    #[track_caller]
    fn json(&self) -> Vec<Value> {
        let lines = self.out.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// The routing keys of the messages in the output.
    #[track_caller]
    fn routing_keys(&self) -> Vec<Value> {
        let lines = self.json().into_iter();
        lines.map(|line| line["routing_key"].clone()).collect()
    }
}

impl Place {
    async fn start() -> Self {
        let broker = InMemoryBroker::start();
        let server = broker.listen("127.0.0.1:0").await.unwrap();
        let management = broker.listen_management("127.0.0.1:0").await.unwrap();
        let conn = mooq::connect(server.url()).await.unwrap();
        let chan = conn.create_channel().await.unwrap();
        Self {
            broker,
            server,
            management,
            chan,
            _conn: conn,
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mooq"));
        command.args(arguments);
        command.env("MOOQ_URL", self.server.url());
        let management = format!("http://{}", self.management.address());
        command.env("MOOQ_MANAGEMENT", management);
        command.kill_on_drop(true);
        command.stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    async fn run(&self, arguments: &[&str]) -> Ended {
        ended(self.command(arguments).output().await.unwrap())
    }

    /// Runs a command with this input.
    async fn run_with(&self, arguments: &[&str], input: &str) -> Ended {
        let mut command = self.command(arguments);
        let mut running = command.stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = running.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).await.unwrap();
        drop(stdin);
        ended(running.wait_with_output().await.unwrap())
    }

    async fn declare(&self, queue: &str) {
        self.chan.declare_queue(queue).await.unwrap();
    }

    async fn publish(&self, queue: &str, msg: &str) {
        self.chan.publish("", msg).routing_key(queue).await.unwrap();
    }

    /// The bodies that are ready in a queue.
    fn ready(&self, queue: &str) -> Vec<String> {
        let ready = self.broker.ready_messages(queue);
        let bodies = ready.iter().map(|ready| ready.message.body.to_vec());
        bodies
            .map(|body| String::from_utf8(body).unwrap())
            .collect()
    }
}

/// Waits for the broker to be in a state.
async fn until(is_there: impl Fn() -> bool) {
    let waiting = async {
        while !is_there() {
            tokio::task::yield_now().await;
        }
    };
    let limit = std::time::Duration::from_secs(60);
    tokio::time::timeout(limit, waiting)
        .await
        .expect("it comes about");
}

fn ended(output: std::process::Output) -> Ended {
    Ended {
        code: output.status.code().expect("the command ends by itself"),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn publish_sends_a_body_with_its_properties_and_headers() {
    let place = Place::start().await;
    place.declare("orders").await;
    let published = place
        .run(&[
            "publish",
            "a pencil",
            "--routing-key",
            "orders",
            "--mandatory",
            "--content-type",
            "text/plain",
            "--message-id",
            "m1",
            "--type",
            "order",
            "--priority",
            "3",
            "--expiration",
            "60000",
            "--timestamp",
            "7",
            "--header",
            "shop=north",
            "--header-json",
            "attempt=2",
        ])
        .await;
    assert_eq!((published.code, &*published.out), (0, ""), "{published:?}");
    assert_eq!(published.err, "published 1 message\n");

    let shown = place.run(&["consume", "orders", "--quiet"]).await;
    assert_eq!(shown.err, "");
    let expected = json!({
        "exchange": "",
        "routing_key": "orders",
        "redelivered": false,
        "properties": {
            "content_type": "text/plain",
            "delivery_mode": 2,
            "expiration": "60000",
            "message_id": "m1",
            "priority": 3,
            "timestamp": 7,
            "type": "order",
        },
        "headers": {"attempt": 2, "shop": "north"},
        "body": "a pencil",
    });
    assert_eq!(shown.json(), [expected]);
}

#[tokio::test(flavor = "multi_thread")]
async fn publish_reads_its_body_or_its_lines_from_a_file_or_the_input() {
    let place = Place::start().await;
    place.declare("orders").await;
    let to_orders = ["publish", "--routing-key", "orders"];
    let whole = place.run_with(&to_orders, "one\ntwo\n").await;
    assert_eq!(whole.code, 0, "{whole:?}");
    assert_eq!(place.ready("orders"), ["one\ntwo\n"]);
    place.chan.purge_queue("orders").await.unwrap();

    let lines = [&to_orders[..], &["--lines"]].concat();
    let each = place.run_with(&lines, "one\r\n\nthree").await;
    assert_eq!(each.err, "published 3 messages\n");
    assert_eq!(place.ready("orders"), ["one", "", "three"]);
    place.chan.purge_queue("orders").await.unwrap();

    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("orders.txt");
    let mut file = std::fs::File::create(&path).unwrap();
    let many: Vec<_> = (0..1_000).map(|n| n.to_string()).collect();
    write!(file, "{}", many.join("\n")).unwrap();
    let from_file = [
        &lines[..],
        &["--no-confirm", "--quiet", "--file", path.to_str().unwrap()],
    ];
    let each = place.run(&from_file.concat()).await;
    assert_eq!((each.code, &*each.err), (0, ""), "{each:?}");
    assert_eq!(place.ready("orders"), many);
}

#[tokio::test(flavor = "multi_thread")]
async fn publish_fails_if_the_message_goes_nowhere_or_is_refused() {
    let place = Place::start().await;
    let nowhere = ["publish", "x", "--routing-key", "orders"];
    // RabbitMQ drops it, and confirms.
    assert_eq!(place.run(&nowhere).await.code, 0);
    let returned = place.run(&[&nowhere[..], &["--mandatory"]].concat()).await;
    assert_eq!(returned.code, 3, "{returned:?}");
    assert!(returned.err.contains("NO_ROUTE"), "{returned:?}");

    let missing = place.run(&["publish", "x", "--exchange", "orders"]).await;
    assert_eq!(missing.code, 3, "{missing:?}");
    assert!(
        missing.err.contains("no exchange 'orders' in vhost '/'"),
        "{missing:?}"
    );

    place.declare("full").await;
    let _full = place.broker.faults().queue("full").fill_queues();
    let refused = place.run(&["publish", "x", "--routing-key", "full"]).await;
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.err.starts_with("mooq: "), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn publish_says_how_many_were_published_before_a_failure() {
    let place = Place::start().await;
    place
        .chan
        .declare_queue("full")
        .max_length(2)
        .overflow(mooq::topology::Overflow::RejectPublish)
        .await
        .unwrap();
    let lines = ["publish", "--routing-key", "full", "--lines"];
    let refused = place.run_with(&lines, "1\n2\n3\n").await;
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(
        refused.err.starts_with("published 2 before this\nmooq: "),
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn consume_shows_messages_and_leaves_them_in_order() {
    let place = Place::start().await;
    place.declare("orders").await;
    for order in ["one", "two", "three"] {
        place.publish("orders", order).await;
    }
    let shown = place.run(&["consume", "orders", "--count", "2"]).await;
    let bodies: Vec<_> = shown
        .json()
        .iter()
        .map(|line| line["body"].clone())
        .collect();
    assert_eq!(
        (shown.code, bodies),
        (0, vec![json!("\"one\""), json!("\"two\"")])
    );
    assert_eq!(shown.err, "showed 2 messages\n");
    assert_eq!(place.ready("orders"), ["\"one\"", "\"two\"", "\"three\""]);

    let again = place.run(&["consume", "orders"]).await;
    let redelivered = again
        .json()
        .iter()
        .map(|line| line["redelivered"].clone())
        .collect::<Vec<_>>();
    assert_eq!(redelivered, [json!(true), json!(true), json!(false)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn consume_takes_or_rejects_messages_when_it_is_told_to() {
    let place = Place::start().await;
    place.declare("dead").await;
    place
        .chan
        .declare_queue("orders")
        .dead_letter("", "dead")
        .await
        .unwrap();
    for order in ["one", "two", "three"] {
        place.publish("orders", order).await;
    }
    let taken = place
        .run(&["consume", "orders", "--ack", "--count", "1"])
        .await;
    assert_eq!((taken.code, taken.json().len()), (0, 1), "{taken:?}");
    assert_eq!(place.ready("orders"), ["\"two\"", "\"three\""]);
    let rejected = place.run(&["consume", "orders", "--reject"]).await;
    assert_eq!(rejected.err, "rejected 2 messages\n");
    assert_eq!(place.ready("dead"), ["\"two\"", "\"three\""]);
    assert_eq!(place.broker.queues("orders")[0].ready, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn consume_of_nothing_ends_with_3() {
    let place = Place::start().await;
    let missing = place.run(&["consume", "orders"]).await;
    assert_eq!(missing.code, 3, "{missing:?}");
    assert!(
        missing.err.contains("no queue 'orders' in vhost '/'"),
        "{missing:?}"
    );
    place.declare("orders").await;
    let empty = place.run(&["consume", "orders", "--quiet"]).await;
    assert_eq!(
        (empty.code, &*empty.err),
        (3, "mooq: queue 'orders' is empty\n")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn consume_waits_for_messages_if_asked_to() {
    let place = Place::start().await;
    place.declare("orders").await;
    let waiting = [
        "consume", "orders", "--ack", "--count", "1", "--wait", "600",
    ];
    let running = place.command(&waiting).spawn().unwrap();
    // The command waits once it consumes.
    until(|| !place.broker.consumers("orders").is_empty()).await;
    place.publish("orders", "one").await;
    let taken = ended(running.wait_with_output().await.unwrap());
    assert_eq!((taken.code, taken.json().len()), (0, 1), "{taken:?}");
    assert_eq!(place.broker.queues("orders")[0].ready, 0);
}

/// Starts a tap of this number of bindings, and waits until it is open. Returns what it says then.
async fn tap(place: &Place, arguments: &[&str], bindings: usize) -> (Child, Vec<String>) {
    let mut running = place
        .command(&[&["tap"], arguments].concat())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(running.stderr.take().unwrap()).lines();
    let mut told = Vec::new();
    for _ in 0..bindings {
        told.push(lines.next_line().await.unwrap().expect("the tap opens"));
    }
    // Its last line needs a reader.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    (running, told)
}

#[tokio::test(flavor = "multi_thread")]
async fn tap_copies_what_passes_and_takes_nothing() {
    let place = Place::start().await;
    place
        .chan
        .declare_exchange("orders", "topic")
        .await
        .unwrap();
    place.declare("to-bill").await;
    place
        .chan
        .bind_queue("to-bill", "orders", "order.#")
        .await
        .unwrap();

    let (running, told) = tap(&place, &["orders", "--count", "2"], 1).await;
    assert_eq!(told, ["taps exchange 'orders', routing key '#'"]);
    for key in ["order.new", "refund.new"] {
        place
            .chan
            .publish("orders", key)
            .routing_key(key)
            .await
            .unwrap();
    }
    let copied = ended(running.wait_with_output().await.unwrap());
    let keys = copied.routing_keys();
    assert_eq!(
        (copied.code, keys),
        (0, vec![json!("order.new"), json!("refund.new")])
    );
    assert_eq!(place.ready("to-bill"), ["\"order.new\""]);
    // Its queue goes with it.
    until(|| place.broker.queues("*").len() == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tap_by_a_queue_copies_its_bindings() {
    let place = Place::start().await;
    place
        .chan
        .declare_exchange("orders", "direct")
        .await
        .unwrap();
    place.declare("to-bill").await;
    for key in ["new", "changed"] {
        place
            .chan
            .bind_queue("to-bill", "orders", key)
            .await
            .unwrap();
    }
    let (running, told) = tap(&place, &["--queue", "to-bill", "--count", "2"], 2).await;
    assert!(
        told.iter()
            .all(|line| line.starts_with("taps exchange 'orders'")),
        "{told:?}"
    );
    for key in ["new", "deleted", "changed"] {
        place
            .chan
            .publish("orders", key)
            .routing_key(key)
            .await
            .unwrap();
    }
    let copied = ended(running.wait_with_output().await.unwrap());
    let keys = copied.routing_keys();
    assert_eq!(keys, [json!("new"), json!("changed")]);
    assert_eq!(place.ready("to-bill").len(), 2);

    place.declare("unbound").await;
    let refused = place.run(&["tap", "--queue", "unbound"]).await;
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(
        refused.err.contains("has no bindings to copy"),
        "{refused:?}"
    );
    let missing = place.run(&["tap", "--queue", "no-such"]).await;
    assert_eq!(
        (missing.code, &*missing.err),
        (3, "mooq: there is no queue 'no-such'\n")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn tap_refuses_what_cannot_be_tapped() {
    let place = Place::start().await;
    let default = place.run(&["tap", ""]).await;
    assert_eq!(default.code, 2, "{default:?}");
    assert!(
        default
            .err
            .contains("the default exchange cannot be tapped"),
        "{default:?}"
    );
    let missing = place.run(&["tap", "orders"]).await;
    assert_eq!(missing.code, 3, "{missing:?}");
    assert_eq!(place.run(&["tap"]).await.code, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn queues_are_listed_as_a_table_or_as_json() {
    let place = Place::start().await;
    place.declare("orders").await;
    place.declare("refunds").await;
    place.publish("orders", "one").await;
    let table = place.run(&["queues"]).await;
    let expected = "\
name     type     ready  unacked  consumers
orders   classic      1        0          0
refunds  classic      0        0          0
";
    assert_eq!((table.code, &*table.out), (0, expected), "{table:?}");
    let listed = place.run(&["queues", "orders", "--json"]).await;
    let orders =
        json!({"name": "orders", "type": "classic", "ready": 1, "unacked": 0, "consumers": 0});
    assert_eq!(listed.json(), [orders]);
    let missing = place.run(&["queues", "orders", "invoices"]).await;
    assert_eq!(
        (missing.code, &*missing.err),
        (3, "mooq: there is no queue 'invoices'\n")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn failure_to_reach_the_broker_names_it() {
    let place = Place::start().await;
    let nobody = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let url = format!("amqp://{nobody}");
    let refused = place
        .run(&["queues", "--management", &format!("http://{nobody}")])
        .await;
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.err.contains(&nobody.to_string()), "{refused:?}");
    let refused = place.run(&["consume", "orders", "--url", &url]).await;
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.err.contains(&nobody.to_string()), "{refused:?}");

    let (user, host) = ("guest:wrong", place.server.address());
    let refused = place
        .run(&[
            "consume",
            "orders",
            "--url",
            &format!("amqp://{user}@{host}"),
        ])
        .await;
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.err.contains("ACCESS_REFUSED"), "{refused:?}");
    assert!(!refused.err.contains("wrong"), "{refused:?}");
    let wrong = place
        .run(&["consume", "orders", "--url", "memory://localhost"])
        .await;
    assert_eq!(wrong.code, 2, "{wrong:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn command_ends_within_its_timeout() {
    let place = Place::start().await;
    place.declare("orders").await;
    let _alarm = place.broker.raise_alarm(Alarm::Memory);
    let blocked = ["publish", "x", "--routing-key", "orders", "--timeout", "1"];
    let blocked = place.run(&blocked).await;
    assert_eq!(blocked.code, 1, "{blocked:?}");
    assert!(
        blocked.err.contains("orders") || blocked.err.contains("1s"),
        "{blocked:?}"
    );
}
