//! Channels and consumers that the broker ends.

use super::Faults;

/// Channels and consumers.
impl Faults {
    /// Closes channels with this reply code and text, which stands for any channel error. Returns
    /// the number of closed channels. Their unacked deliveries are requeued.
    ///
    /// RabbitMQ closes channels with the codes 311, 312, 313, 403, 404, 405 and 406. Its texts
    /// begin with the code's name, as in `PRECONDITION_FAILED - delivery acknowledgement on channel
    /// 1 timed out`.
    ///
    /// Can be limited to connections.
    ///
    /// # Examples
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use futures_util::StreamExt;
    /// use mooq_core::{ChannelEvent, Endpoint, ErrorKind, Scheme, Transport};
    /// use mooq_memory::InMemoryBroker;
    ///
    /// let broker = InMemoryBroker::start();
    /// let opened = broker.transport().open(&Endpoint::new(Scheme::Memory)).await?;
    /// let mut channel = opened.connection.open_channel().await?;
    ///
    /// let text = "PRECONDITION_FAILED - delivery acknowledgement on channel 1 timed out";
    /// assert_eq!(broker.faults().close_channels(406, text), 1);
    /// let Some(ChannelEvent::Closed(err)) = channel.events.next().await else { panic!() };
    /// assert_eq!(err.kind(), ErrorKind::PreconditionFailed);
    /// opened.connection.open_channel().await?; // The connection goes on.
    /// # Ok::<(), mooq_core::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn close_channels(&self, code: u16, text: &str) -> usize {
        self.broker
            .shared
            .admin(|engine, now| engine.close_channels(now, &self.scope, code, text))
    }

    /// Cancels consumers by `basic.cancel`, as a queue does whose node goes down, and keeps the
    /// queues. Returns the number of cancelled consumers. Messages already delivered to them can
    /// still be settled.
    ///
    /// Can be limited to connections and to queues.
    ///
    /// # Examples
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use futures_util::StreamExt;
    /// use mooq_core::{ChannelEvent, Consume, Endpoint, QueueDeclare, Scheme, Transport};
    /// use mooq_memory::InMemoryBroker;
    ///
    /// let broker = InMemoryBroker::start();
    /// let opened = broker.transport().open(&Endpoint::new(Scheme::Memory)).await?;
    /// let mut opened = opened.connection.open_channel().await?;
    /// let channel = &opened.channel;
    /// channel.declare_queue(QueueDeclare::new("orders".try_into()?)).await?;
    /// let tag = channel.consume(Consume::new("orders".try_into()?)).await?;
    ///
    /// assert_eq!(broker.faults().queue("ord*").cancel_consumers(), 1);
    /// let Some(ChannelEvent::ConsumerCancelled(cancelled)) = opened.events.next().await else {
    ///     panic!()
    /// };
    /// assert_eq!(cancelled, tag);
    /// # Ok::<(), mooq_core::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn cancel_consumers(&self) -> usize {
        self.broker
            .shared
            .admin(|engine, now| engine.cancel_consumers(now, &self.scope))
    }
}
