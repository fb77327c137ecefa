//! Resource alarms that tests raise.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::InMemoryBroker;
use super::shared::Shared;
use mooq_engine::Alarm;

/// Keeps an alarm on until the guard is dropped.
#[must_use = "the alarm ends when this is dropped"]
pub struct AlarmGuard {
    broker: Arc<Shared>,
    alarm: Alarm,
}

impl InMemoryBroker {
    /// Raises an alarm, like a RabbitMQ that runs low on memory or disk, for as long as the guard
    /// is kept ([alarms](https://www.rabbitmq.com/docs/alarms)).
    ///
    /// A connection that publishes during the alarm is blocked: everything that it sends from then
    /// on, including calls and acknowledgements, waits, and is handled in order when the last alarm
    /// ends. Connections that only consume and acknowledge are unaffected. mooq's connections get
    /// no notice of the block, as from RabbitMQ, unless
    /// [`announce_blocked`](Self::announce_blocked) is called before. Other clients, over a socket
    /// of `mooq-server`, get `connection.blocked` if they announce that capability.
    ///
    /// # Examples
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use futures_util::{FutureExt, StreamExt};
    /// use mooq_core::{Endpoint, Message, Publish, QueueDeclare, Scheme, Transport};
    /// use mooq_memory::{Alarm, InMemoryBroker};
    ///
    /// let broker = InMemoryBroker::start();
    /// broker.announce_blocked();
    /// let mut opened = broker.transport().open(&Endpoint::new(Scheme::Memory)).await?;
    /// let channel = opened.connection.open_channel().await?.channel;
    ///
    /// let alarm = broker.raise_alarm(Alarm::Memory);
    /// let _ = channel.publish(Publish::new(Message {
    ///     exchange: "".try_into()?,
    ///     routing_key: "orders".try_into()?,
    ///     properties: Default::default(),
    ///     body: "one book".into(),
    /// }))?;
    /// let event = opened.events.next().await;
    /// assert_eq!(format!("{event:?}"), r#"Some(Blocked("low on memory"))"#);
    /// let orders = QueueDeclare::new("orders".try_into()?);
    /// let mut declaring = channel.declare_queue(orders);
    /// assert!((&mut declaring).now_or_never().is_none(), "it waits");
    ///
    /// drop(alarm);
    /// declaring.await?;
    /// # Ok::<(), mooq_core::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn raise_alarm(&self, alarm: Alarm) -> AlarmGuard {
        self.shared.admin(|engine, _| engine.raise_alarm(alarm));
        AlarmGuard {
            broker: Arc::clone(&self.shared),
            alarm,
        }
    }

    /// Notifies connections that are opened from now on when an alarm blocks them, and when it ends
    /// (`connection.blocked`, which a client receives as an event).
    ///
    /// Off by default: mooq's connections to RabbitMQ are not notified, because amqprs does not
    /// announce that it supports this. A service that sheds load by these events alone works in a
    /// test that calls this method, and is blind in production; a service that has deadlines works
    /// in both.
    pub fn announce_blocked(&self) {
        self.shared.announces_blocked.store(true, Ordering::Relaxed);
    }
}

impl Drop for AlarmGuard {
    fn drop(&mut self) {
        self.broker.clear_alarm(self.alarm);
    }
}

impl fmt::Debug for AlarmGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AlarmGuard").field(&self.alarm).finish()
    }
}
