//! Channels that the broker closes while they are in use, each for another reason.

use std::time::Duration;

use mooq::{Channel, Connection, Error, ErrorKind, Event};

use super::cases::{ends_well, flowing};
use super::site::Site;
use super::workload::Workload;
use mooq_conformance::expect::LIMIT;

/// Time limit for a channel to open again. Only a channel that never does reaches it.
const REOPENED: Duration = LIMIT;

/// The reason why a broker closes a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChannelError {
    /// 403: the name is the broker's own.
    AccessRefused,
    /// 404: the exchange does not exist.
    NotFound,
    /// 405: the queue is exclusive to another connection.
    ResourceLocked,
    /// 406: the queue exists with other arguments.
    PreconditionFailed,
}

impl ChannelError {
    /// Every reason.
    pub const ALL: [Self; 4] = [
        Self::AccessRefused,
        Self::NotFound,
        Self::ResourceLocked,
        Self::PreconditionFailed,
    ];

    fn kind(self) -> ErrorKind {
        match self {
            Self::AccessRefused => ErrorKind::AccessRefused,
            Self::NotFound => ErrorKind::ExchangeNotFound,
            Self::ResourceLocked => ErrorKind::ResourceLocked,
            Self::PreconditionFailed => ErrorKind::PreconditionFailed,
        }
    }
}

/// Resources that calls can fail on.
#[derive(Debug)]
pub struct Provocation {
    /// A connection with an exclusive queue.
    other: Connection,
    _channel: Channel,
    locked: String,
    /// A queue without arguments.
    plain: String,
}

impl Provocation {
    /// Prepares to provoke errors on the channels of `workload`.
    pub async fn prepare(workload: &Workload, site: &Site) -> Self {
        let other = mooq::connect(site.options().timeout(LIMIT))
            .await
            .expect("the broker takes another connection");
        let channel = other.create_channel().await.expect("a channel opens");
        let locked = format!("{}/locked", workload.queue());
        let declaring = channel.declare_queue(&locked).transient().exclusive();
        declaring.await.expect("the queue is declared");
        Self {
            other,
            _channel: channel,
            locked,
            plain: workload.queue(),
        }
    }

    /// Makes the broker close a channel of `workload`, and returns the error of the call. The
    /// channel may be open again before this returns.
    pub async fn provoke(&self, workload: &Workload, chan: &Channel, error: ChannelError) -> Error {
        let outcome = match error {
            ChannelError::NotFound => {
                let publish = chan.publish("no such exchange", &0);
                workload.call("Publish", publish).await
            }
            ChannelError::AccessRefused => declared(workload, chan.declare_queue("amq.mine")).await,
            ChannelError::ResourceLocked => {
                declared(workload, chan.declare_queue(&self.locked)).await
            }
            ChannelError::PreconditionFailed => {
                let declare = chan.declare_queue(&self.plain);
                declared(workload, declare.argument("x-max-length", 5)).await
            }
        };
        outcome.expect_err("the broker closes the channel")
    }

    /// Closes the prepared connection.
    pub async fn close(self) {
        self.other.close().await.expect("the connection closes");
    }
}

async fn declared(workload: &Workload, declare: mooq::topology::DeclareQueue) -> Result<(), Error> {
    workload.call("DeclareQueue", declare).await.map(drop)
}

/// Case: every channel of a workload is closed for every reason.
pub(super) async fn channels_closed_403_404_405_406(site: &Site, name: &str) {
    let workload = flowing(site, name).await;
    let provocation = Provocation::prepare(&workload, site).await;
    for error in ChannelError::ALL {
        for chan in workload.channels() {
            let mark = workload.journal().mark();
            let got = provocation.provoke(&workload, chan, error).await;
            assert_eq!(got.kind(), error.kind(), "{got}");
            let reopened = workload.journal().first(mark, REOPENED, |entry| {
                matches!(&entry.event, Event::ChannelReopened(why) if why.reason() == got.reason())
            });
            reopened.await.expect("the channel is opened again");
        }
        workload.flows().await.expect("all channels work again");
    }
    provocation.close().await;
    ends_well(workload, name, site).await;
}
