//! What a broker has of a topology: by the management API, or by AMQP alone.

use std::collections::BTreeMap;

use mooq_client::{Channel, Connection};
use mooq_core::{ErrorKind, QueueName, Result};

use super::api::Api;
use super::changes::Change;
use super::declare::{about, declare_exchange, declare_queue};
use super::management::Management;
use super::observed::{Counts, Observed, Status};
use crate::topology::Topology;
use crate::value::exchange::Exchange;
use crate::value::queue::Queue;

/// Asks the broker for all that a topology names.
pub(crate) async fn observe(
    topology: &Topology,
    conn: &Connection,
    management: Option<&Management>,
) -> Result<Observed> {
    topology.validate()?;
    match Api::of(management, conn)? {
        Some(api) => Ok(Observed::of(topology, api.inventory().await?)),
        None => Probe::of(conn).await?.observed(topology).await,
    }
}

/// Ready messages and consumers of a queue. None if it does not exist.
pub(crate) async fn counts(chan: &Channel, queue: &QueueName) -> Result<Option<Counts>> {
    match chan.declare_queue(queue).passive().await {
        Ok(declared) => Ok(Some(Counts {
            ready: declared.message_count.into(),
            consumers: declared.consumer_count.into(),
        })),
        Err(err) if err.kind() == ErrorKind::QueueNotFound => Ok(None),
        Err(err) => Err(err),
    }
}

/// Declares, on a channel of its own, which the broker closes with each refusal.
struct Probe<'a> {
    conn: &'a Connection,
    chan: Channel,
}

impl<'a> Probe<'a> {
    async fn of(conn: &'a Connection) -> Result<Self> {
        let chan = conn.create_channel().await?;
        Ok(Self { conn, chan })
    }

    async fn observed(mut self, topology: &Topology) -> Result<Observed> {
        let mut exchanges = BTreeMap::new();
        for exchange in topology.exchanges() {
            let name = exchange.name();
            let status = self.exchange(exchange).await;
            let status = about(status, || format!("exchange '{name}'"))?;
            exchanges.insert(name.clone(), status);
        }
        let mut queues = BTreeMap::new();
        for queue in topology.queues() {
            let name = queue.name();
            let status = self.queue(queue).await;
            let status = about(status, || format!("queue '{name}'"))?;
            queues.insert(name.clone(), status);
        }
        self.chan.close().await?;
        Ok(Observed {
            exchanges,
            queues,
            inventory: None,
        })
    }

    async fn exchange(&mut self, wanted: &Exchange) -> Result<Status> {
        let declare = declare_exchange(&self.chan, wanted);
        let found = match declare.passive().await {
            // It is there: the same once more, but not passive, compares all options.
            Ok(()) => declare_exchange(&self.chan, wanted).await,
            Err(err) => Err(err),
        };
        match found {
            Ok(()) => Ok(Status::Same),
            Err(err) => {
                self.renew().await?;
                match (err.kind(), Change::told_by(&err)) {
                    (ErrorKind::ExchangeNotFound, _) => Ok(Status::Missing),
                    (_, Some(change)) => Ok(Status::Different(vec![change])),
                    _ => Err(err),
                }
            }
        }
    }

    async fn queue(&mut self, wanted: &Queue) -> Result<Status> {
        let found = match declare_queue(&self.chan, wanted).passive().await {
            Ok(_) => declare_queue(&self.chan, wanted).await,
            Err(err) => Err(err),
        };
        match found {
            Ok(_) => Ok(Status::Same),
            Err(err) => {
                self.renew().await?;
                match (err.kind(), Change::told_by(&err)) {
                    (ErrorKind::QueueNotFound, _) => Ok(Status::Missing),
                    (ErrorKind::ResourceLocked, _) => {
                        let change = Change::new("exclusive", false, true);
                        Ok(Status::Different(vec![change]))
                    }
                    (_, Some(change)) => Ok(Status::Different(vec![change])),
                    _ => Err(err),
                }
            }
        }
    }

    /// Opens another channel in place of one that the broker has closed.
    async fn renew(&mut self) -> Result<()> {
        self.chan.close().await?;
        self.chan = self.conn.create_channel().await?;
        Ok(())
    }
}
