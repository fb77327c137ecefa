//! The broker of a fault case, and its faults. Unlike the brokers of mooq-conformance, which stay up
//! and are shared by scenarios, this one may be killed, and serves one case at a time.

use std::time::Duration;

use mooq::ConnectOptions;
use mooq_memory::faults::{FaultGuard, Outage};
use mooq_memory::{Alarm, AlarmGuard, InMemoryBroker};
use tokio::time::Instant;

use super::node::{Node, answers};
use crate::rabbitmq::container::Image;
use mooq_rig::proxy::{LineState, Proxy};

/// The user that the cases log in as, and its password.
const USER: [&str; 2] = ["ada", "analytical"];

/// A memory limit that every RabbitMQ exceeds, and one that none in the tests does.
const MEMORY_LIMITS: [&str; 2] = ["0.000001", "0.6"];

/// A limit of free disk that no machine meets, and RabbitMQ's default.
const DISK_LIMITS: [&str; 2] = ["1000000GB", "50MB"];

/// Delay of a slow network: one way, for each 16 KiB.
pub const SLOWNESS: Duration = Duration::from_millis(150);

/// A fault of a broker, or of its network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fault {
    /// The process is killed.
    Killed,
    /// The broker is stopped in good order.
    Stopped,
    /// The process is paused.
    Paused,
    /// The network resets all connections and takes no new ones.
    NetworkCut,
    /// The network swallows everything.
    NetworkFrozen,
    /// The network is slow.
    NetworkSlow,
    /// All connections are closed by `rabbitmqctl close_all_connections`, and may reconnect.
    ConnectionsClosed,
    /// Memory use is over the limit.
    MemoryAlarm,
    /// Free disk is under the limit.
    DiskAlarm,
    /// The password is changed, and all connections are closed.
    PasswordChanged,
}

impl Fault {
    /// Every fault.
    pub const ALL: [Self; 10] = [
        Self::Killed,
        Self::Stopped,
        Self::Paused,
        Self::NetworkCut,
        Self::NetworkFrozen,
        Self::NetworkSlow,
        Self::ConnectionsClosed,
        Self::MemoryAlarm,
        Self::DiskAlarm,
        Self::PasswordChanged,
    ];
}

/// The broker of a case.
#[derive(Debug)]
pub enum Site {
    /// In memory.
    Memory {
        /// The broker.
        broker: InMemoryBroker,
        /// URL of the broker.
        url: String,
    },
    /// RabbitMQ in a container, behind a proxy.
    RabbitMq(Box<RabbitSite>),
}

/// RabbitMQ in a container, behind a proxy: its address stays the same for clients.
#[derive(Debug)]
pub struct RabbitSite {
    node: Node,
    proxy: Proxy,
}

/// A fault in effect, until it is mended.
#[derive(Debug)]
#[must_use = "a fault is to be mended"]
pub struct Struck<'a> {
    site: &'a Site,
    fault: Fault,
    _in_memory: Vec<InMemory>,
}

/// The guard of a fault on the in-memory broker.
#[derive(Debug)]
#[expect(dead_code, reason = "they are there to be dropped")]
enum InMemory {
    Outage(Outage),
    Fault(FaultGuard),
    Alarm(AlarmGuard),
}

impl Site {
    /// An in-memory broker.
    #[must_use]
    pub fn memory(name: &str) -> Self {
        // The registry is shared by the process, so each case's broker has a host of its own.
        let host = format!("faults-{name}").replace(['_', ':'], "-");
        let broker = InMemoryBroker::new(&host, 5672);
        broker.run();
        broker.add_user(USER[0], USER[1]);
        let url = format!("memory://{host}:5672");
        Self::Memory { broker, url }
    }

    /// RabbitMQ from this image, once it takes logins.
    pub async fn rabbitmq(image: &Image) -> Self {
        let node = Node::run(image, &[]);
        let proxy = Proxy::to(node.address());
        answers(proxy.port()).await;
        node.ctl(&["add_user", USER[0], USER[1]]).await;
        node.ctl(&["set_permissions", USER[0], ".*", ".*", ".*"])
            .await;
        Self::RabbitMq(Box::new(RabbitSite { node, proxy }))
    }

    /// Name of the broker in the output of tests.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Memory { .. } => "memory",
            Self::RabbitMq(_) => "RabbitMQ",
        }
    }

    /// Returns true for RabbitMQ itself.
    #[must_use]
    pub fn is_rabbitmq(&self) -> bool {
        matches!(self, Self::RabbitMq(_))
    }

    /// Options to connect to the broker.
    pub fn options(&self) -> ConnectOptions {
        let url = match self {
            Self::Memory { url, .. } => url.clone(),
            Self::RabbitMq(rabbit) => format!("amqp://127.0.0.1:{}", rabbit.proxy.port()),
        };
        let options = ConnectOptions::try_from(url).expect("the URL is valid");
        options.credentials(USER[0], USER[1])
    }

    /// Starts `fault`.
    pub async fn strike(&self, fault: Fault) -> Struck<'_> {
        let in_memory = match self {
            Self::Memory { broker, .. } => strike_memory(broker, fault),
            Self::RabbitMq(rabbit) => {
                rabbit.strike(fault).await;
                Vec::new()
            }
        };
        Struck {
            site: self,
            fault,
            _in_memory: in_memory,
        }
    }
}

impl Struck<'_> {
    /// The fault.
    #[must_use]
    pub fn fault(&self) -> Fault {
        self.fault
    }

    /// Ends the fault, and returns the time since when the broker answers again.
    pub async fn mend(self) -> Instant {
        match self.site {
            Site::Memory { .. } => {
                drop(self);
                Instant::now()
            }
            Site::RabbitMq(rabbit) => rabbit.mend(self.fault).await,
        }
    }
}

fn strike_memory(broker: &InMemoryBroker, fault: Fault) -> Vec<InMemory> {
    let faults = broker.faults();
    match fault {
        // A killed process closes nothing in order, and keeps its data on disk.
        Fault::Killed | Fault::NetworkCut => {
            let refusing = faults.clone().refuse_connections();
            faults.drop_connections();
            vec![InMemory::Fault(refusing)]
        }
        Fault::Stopped => vec![InMemory::Outage(faults.stop())],
        Fault::Paused | Fault::NetworkFrozen => vec![InMemory::Fault(faults.freeze())],
        Fault::NetworkSlow => vec![InMemory::Fault(faults.slow(2 * SLOWNESS))],
        Fault::ConnectionsClosed => {
            faults.close_connections("the test wants it");
            Vec::new()
        }
        Fault::MemoryAlarm => vec![InMemory::Alarm(faults.raise_alarm(Alarm::Memory))],
        Fault::DiskAlarm => vec![InMemory::Alarm(faults.raise_alarm(Alarm::Disk))],
        Fault::PasswordChanged => {
            let refusing = faults.clone().refuse_logins();
            faults.close_connections("the password is changed");
            vec![InMemory::Fault(refusing)]
        }
    }
}

impl RabbitSite {
    async fn strike(&self, fault: Fault) {
        match fault {
            Fault::Killed => self.node.docker("kill").await,
            Fault::Stopped => self.node.docker("stop").await,
            Fault::Paused => self.node.pause().await,
            Fault::NetworkCut => self.proxy.set(LineState::Cut),
            Fault::NetworkFrozen => self.proxy.set(LineState::Frozen),
            Fault::NetworkSlow => self.proxy.set(LineState::Slow(SLOWNESS)),
            Fault::ConnectionsClosed => self.close_all_connections().await,
            Fault::MemoryAlarm => self.limit_memory(MEMORY_LIMITS[0]).await,
            Fault::DiskAlarm => self.limit_disk(DISK_LIMITS[0]).await,
            Fault::PasswordChanged => {
                self.change_password("difference").await;
                self.close_all_connections().await;
            }
        }
    }

    async fn mend(&self, fault: Fault) -> Instant {
        match fault {
            Fault::Killed | Fault::Stopped => {
                self.node.docker("start").await;
                self.proxy.lead_to(self.node.address());
            }
            Fault::Paused => self.node.docker("unpause").await,
            Fault::NetworkCut | Fault::NetworkFrozen | Fault::NetworkSlow => {
                self.proxy.set(LineState::Sound);
            }
            Fault::ConnectionsClosed => {}
            Fault::MemoryAlarm => self.limit_memory(MEMORY_LIMITS[1]).await,
            Fault::DiskAlarm => self.limit_disk(DISK_LIMITS[1]).await,
            Fault::PasswordChanged => self.change_password(USER[1]).await,
        }
        answers(self.proxy.port()).await
    }

    async fn close_all_connections(&self) {
        let command = ["close_all_connections", "the test wants it"];
        self.node.ctl(&command).await;
    }

    async fn limit_memory(&self, fraction: &str) {
        let command = ["set_vm_memory_high_watermark", fraction];
        self.node.ctl(&command).await;
    }

    async fn limit_disk(&self, free: &str) {
        self.node.ctl(&["set_disk_free_limit", free]).await;
    }

    async fn change_password(&self, password: &str) {
        self.node.ctl(&["change_password", USER[0], password]).await;
    }
}
