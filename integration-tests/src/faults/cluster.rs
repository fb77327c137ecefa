//! A cluster of three nodes, and a queue whose leader is killed.

use std::time::Duration;

use mooq::{Channel, ConnectOptions, Connection, Deliveries, ErrorKind, Event};
use tokio::time::{Instant, timeout};

use super::cases::{DEADLINE, LATE_FAILURES, comes_back_at_once};
use super::journal::Entry;
use super::node::{Node, answers, docker};
use super::workload::{Plan, Workload};
use crate::rabbitmq::container::{Image, PATIENT_HANDSHAKE, RUN_LABEL, run};
use mooq_conformance::expect::LIMIT;
use mooq_conformance::within;
use mooq_rig::proxy::Proxy;

/// Time limit for the election of a leader. Only an election that never ends reaches it.
const ELECTED: Duration = LIMIT;

/// Time after which RabbitMQ gives up on a queue whose node is down.
const OVER_A_QUEUE: Duration = Duration::from_secs(60);

/// A shorter time: a call that ends within it has not waited for the queue.
const NOT_OVER_A_QUEUE: Duration = Duration::from_secs(45);

/// Time limit of a node to connect to one that has left the network; Erlang's default is 7 s. A
/// channel of RabbitMQ blocks for as long if it publishes to a queue before the node knows the new
/// leader, and answers only afterwards.
const SETUP_TIME: Duration = Duration::from_secs(1);

/// Number of nodes. A reconnect attempt tries each of them.
const NODES: usize = 3;

/// Three nodes on a network of their own. They share their image's Erlang cookie.
struct Cluster {
    nodes: Vec<Node>,
    proxies: Vec<Proxy>,
    /// Dropped last: a network in use cannot be removed.
    _network: Network,
}

struct Network(String);

impl Drop for Network {
    fn drop(&mut self) {
        // Errors are ignored: the reason of a failed case must stay visible.
        let _ = std::process::Command::new("docker")
            .args(["network", "rm", &self.0])
            .output();
    }
}

impl Cluster {
    async fn form(image: &Image) -> Self {
        let network = Network(format!("mooq-faults-{}", std::process::id()));
        let label = format!("{RUN_LABEL}={}", run());
        docker(&["network", "create", "--label", &label, &network.0]).await;
        let (variable, patience) = PATIENT_HANDSHAKE;
        let setup_time = format!(
            "{variable}={patience} -kernel net_setuptime {}",
            SETUP_TIME.as_secs()
        );
        let mut nodes = Vec::new();
        for number in 1..=NODES {
            let host = format!("n{number}");
            let options = [
                "--network",
                &network.0,
                "--hostname",
                &host,
                "--env",
                &setup_time,
            ];
            nodes.push(Node::run(
                image,
                &[&options[..], &["--network-alias", &host]].concat(),
            ));
        }
        let proxies: Vec<_> = nodes.iter().map(|node| Proxy::to(node.address())).collect();
        for proxy in &proxies {
            answers(proxy.port()).await;
        }
        for node in &nodes[1..] {
            node.ctl(&["stop_app"]).await;
            node.ctl(&["join_cluster", "rabbit@n1"]).await;
            node.ctl(&["start_app"]).await;
        }
        for proxy in &proxies {
            answers(proxy.port()).await;
        }
        Self {
            nodes,
            proxies,
            _network: network,
        }
    }

    /// Options to connect to node `first`, or else to the others.
    fn options(&self, first: usize) -> ConnectOptions {
        let url = format!("amqp://127.0.0.1:{}", self.proxies[first].port());
        let options = ConnectOptions::try_from(url).expect("the URL is valid");
        let others = (0..self.proxies.len()).filter(|other| *other != first);
        others.fold(options, |options, other| {
            options.or_host("127.0.0.1", self.proxies[other].port())
        })
    }

    /// The number of the node on which `queue` has its leader, once node `asked` knows it.
    async fn leader(&self, queue: &str, asked: usize) -> usize {
        let list = ["list_queues", "--no-table-headers", "name", "leader"];
        let known = async {
            loop {
                let listed = self.nodes[asked].ctl(&list).await;
                let leader = listed.lines().find_map(|line| {
                    let (name, leader) = line.split_once('\t')?;
                    let number = leader.strip_prefix("rabbit@n")?.parse::<usize>().ok()?;
                    (name == queue).then(|| number - 1)
                });
                if let Some(leader) = leader {
                    return leader;
                }
            }
        };
        within("the election of a queue's leader", known).await
    }
}

/// A consumer, on a connection of its own, of a classic queue on one node alone.
struct Stranded {
    conn: Connection,
    queue: String,
    chan: Channel,
    deliveries: Deliveries<u64>,
}

impl Stranded {
    async fn on(cluster: &Cluster, node: usize, deadline: Duration, queue: &str) -> Self {
        let options = cluster.options(node).timeout(deadline);
        let conn = mooq::connect(options).await.expect("a node answers");
        let chan = conn.create_channel().await.expect("a channel opens");
        chan.declare_queue(queue)
            .await
            .expect("declaring the queue succeeds");
        let deliveries = chan
            .consume(queue)
            .await
            .expect("the queue can be consumed");
        Self {
            conn,
            queue: queue.into(),
            chan,
            deliveries,
        }
    }

    /// Asserts that other channels of the connection work while the queue's node is down.
    async fn holds_nothing_up(&self) {
        let another = self
            .conn
            .create_channel()
            .await
            .expect("the connection goes on");
        let declared = another.declare_queue("").exclusive().await;
        declared.expect("another channel goes on");
    }

    /// Asserts that the connection can be closed while an answer is outstanding.
    async fn closes(self) {
        self.conn
            .create_channel()
            .await
            .expect("the connection is back");
        let closing = timeout(NOT_OVER_A_QUEUE, self.conn.close()).await;
        closing
            .expect("closing does not wait for the queue")
            .expect("the connection closes");
    }

    /// Asserts that the consumer is back once its node is up again.
    async fn comes_back(mut self) {
        let publish = self.chan.publish("", &1).routing_key(&*self.queue);
        let publish = publish.mandatory().timeout(ELECTED).await;
        publish.expect("the channel is back");
        let delivery = timeout(ELECTED, self.deliveries.next()).await;
        let delivery = delivery
            .expect("a delivery comes in time")
            .expect("the stream goes on");
        let delivery = delivery.expect("the consumer has not ended");
        assert_eq!(delivery.ack().await.expect("the delivery is acked"), 1);
        self.conn.close().await.expect("the connection closes");
    }
}

/// Case: the node with a quorum queue's leader and the client's connections is killed. The client
/// reconnects to another node, and the queue elects another leader. A consumer of a queue on the
/// killed node alone comes back with that node, and holds nothing else up.
pub(super) async fn cluster_leader_killed(name: &'static str) {
    let cluster = Cluster::form(&Image::current()).await;
    let plan = |options| Plan {
        quorum: true,
        ..Plan::new(name, options, DEADLINE)
    };
    let workload = Workload::begin(plan(cluster.options(0))).await;
    workload.flows().await.expect("the cluster works");

    // Twice: the second time the first node is back, and the leader is another one.
    let mut connected = 0;
    for round in 1..=2 {
        let leader = cluster.leader(&workload.queue(), connected).await;
        let classic = format!("{name}/classic-{round}");
        let stranded = Stranded::on(&cluster, leader, NOT_OVER_A_QUEUE, &classic).await;
        let closing = Stranded::on(&cluster, leader, OVER_A_QUEUE, &format!("{classic}-too")).await;
        let mark = workload.journal().mark();
        let killing = Instant::now();
        cluster.nodes[leader].docker("kill").await;
        let probe = probe(&cluster, (leader + 1) % NODES, &workload);
        let first = workload.record().first_confirm(Instant::now(), ELECTED);
        let (answering, confirmed) = tokio::join!(probe, first);
        let confirmed = confirmed.expect("publishes are confirmed again");
        let journal = workload.journal().since(mark);
        let failure = last_failure(&journal, confirmed);
        let answering = failure.map_or(answering, |at| answering.max(at));
        let took = confirmed.saturating_duration_since(answering);
        println!(
            "{name}, round {round}: first confirm {:?} after the kill, {took:?} after the cluster \
             answered",
            confirmed - killing
        );
        comes_back_at_once(&workload, answering, confirmed, NODES * LATE_FAILURES);
        workload.flows().await.expect("the cluster works with two");
        stranded.holds_nothing_up().await;
        closing.closes().await;

        cluster.nodes[leader].docker("start").await;
        cluster.proxies[leader].lead_to(cluster.nodes[leader].address());
        answers(cluster.proxies[leader].port()).await;
        stranded.comes_back().await;
        connected = (leader + 1) % NODES;
        workload
            .flows()
            .await
            .expect("the cluster works with three");
    }
    let verdict = workload.finish().await;
    println!("{name} on RabbitMQ: {verdict}");
    verdict.assert();
}

/// The time of RabbitMQ's last internal error before `before`: over a queue without a leader it
/// closes the whole connection, some time after it has answered others.
fn last_failure(journal: &[Entry], before: Instant) -> Option<Instant> {
    let failures = journal.iter().filter(|entry| {
        matches!(&entry.event, Event::Lost(err) if err.kind() == ErrorKind::BrokerInternalError)
    });
    failures
        .map(|entry| entry.at)
        .filter(|at| *at <= before)
        .max()
}

/// The time when the cluster has answered the calls of a recovering workload: declares of all its
/// queues, whose leaders are elected one by one, and publishes to the consumed ones.
async fn probe(cluster: &Cluster, node: usize, workload: &Workload) -> Instant {
    let options = cluster.options(node).timeout(ELECTED);
    let conn = mooq::connect(options).await.expect("a node answers");
    let chan = conn.create_channel().await.expect("a channel opens");
    let declare = chan.declare_queue(workload.idle_queue()).passive();
    declare.await.expect("the cluster has the queue");
    for queue in workload.queues() {
        let declare = chan.declare_queue(&queue).passive();
        declare.await.expect("the cluster has the queue");
        // No number of the workload's: its consumer ignores the message.
        let publish = chan.publish("", &u64::MAX).routing_key(queue);
        publish.await.expect("the cluster takes a publish");
    }
    let answering = Instant::now();
    conn.close().await.expect("the connection closes");
    answering
}
