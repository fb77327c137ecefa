//! Declaring exchanges.

use std::future::IntoFuture;

use futures_util::future::BoxFuture;
use mooq_core::{
    ExchangeDeclare, ExchangeKind, ExchangeName, FieldValue, FirstError, IntoChecked, Result,
    ShortString,
};

use super::channel::Channel;

/// An exchange to declare: made by
/// [`Channel::declare_exchange`](crate::Channel::declare_exchange), declared by awaiting it.
#[derive(Debug)]
#[must_use = "the exchange is declared when this is awaited"]
pub struct DeclareExchange {
    channel: Channel,
    declare: ExchangeDeclare,
    deferred: FirstError,
}

impl Channel {
    /// Declares an exchange.
    ///
    /// `kind` is an [`ExchangeKind`] or its name. The exchange is durable unless
    /// [`transient`](DeclareExchange::transient) is called.
    ///
    /// # Examples
    /// ```
    /// use mooq::{ErrorKind, ExchangeKind::Topic};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> mooq::Result<()> {
    /// # use mooq::memory::InMemoryBroker;
    /// # let broker = InMemoryBroker::start();
    /// # let conn = mooq::connect(&broker).await?;
    /// # let chan = conn.create_channel().await?;
    /// chan.declare_exchange("orders", Topic).await?;
    /// chan.declare_exchange("orders", "topic").await?; // It is there: nothing changes.
    ///
    /// let err = chan.declare_exchange("orders", "fanout").await.unwrap_err();
    /// assert_eq!(err.kind(), ErrorKind::ExchangeMismatch);
    /// # Ok(())
    /// # }
    /// ```
    pub fn declare_exchange(
        &self,
        exchange: impl IntoChecked<ExchangeName>,
        kind: impl IntoChecked<ExchangeKind>,
    ) -> DeclareExchange {
        DeclareExchange::new(self, exchange, kind)
    }

    /// Declares an exchange, so that messages can be published to it: the name in Python's mooq for
    /// [`declare_exchange`](Self::declare_exchange).
    pub fn register_producer(
        &self,
        exchange: impl IntoChecked<ExchangeName>,
        kind: impl IntoChecked<ExchangeKind>,
    ) -> DeclareExchange {
        self.declare_exchange(exchange, kind)
    }
}

impl DeclareExchange {
    pub(crate) fn new(
        channel: &Channel,
        exchange: impl IntoChecked<ExchangeName>,
        kind: impl IntoChecked<ExchangeKind>,
    ) -> Self {
        let mut deferred = FirstError::default();
        let exchange = deferred.check(exchange).unwrap_or_default();
        let kind = deferred.check(kind).unwrap_or(ExchangeKind::Direct);
        Self {
            channel: channel.clone(),
            declare: ExchangeDeclare::new(exchange, kind),
            deferred,
        }
    }

    pub(crate) fn name(&self) -> &ExchangeName {
        &self.declare.name
    }

    /// Makes the exchange transient: it is deleted when the broker restarts.
    pub fn transient(mut self) -> Self {
        self.declare.durable = false;
        self
    }

    /// Makes the exchange auto-delete: it is deleted when its last binding is removed.
    pub fn auto_delete(mut self) -> Self {
        self.declare.auto_delete = true;
        self
    }

    /// Makes the exchange internal: only other exchanges may publish to it.
    pub fn internal(mut self) -> Self {
        self.declare.internal = true;
        self
    }

    /// Only checks that the exchange exists: fails with `ExchangeNotFound` if it does not.
    pub fn passive(mut self) -> Self {
        self.declare.passive = true;
        self
    }

    /// Exchange for messages that this exchange cannot route ([alternate
    /// exchanges](https://www.rabbitmq.com/docs/ae)).
    pub fn alternate_exchange(mut self, name: impl IntoChecked<ExchangeName>) -> Self {
        match self.deferred.check(name) {
            Some(name) => self.argument("alternate-exchange", name.as_str()),
            None => self,
        }
    }

    /// Adds an argument to the declaration.
    pub fn argument(
        mut self,
        key: impl IntoChecked<ShortString>,
        value: impl Into<FieldValue>,
    ) -> Self {
        self.deferred
            .insert(&mut self.declare.arguments, key, value);
        self
    }
}

impl IntoFuture for DeclareExchange {
    type Output = Result<()>;
    type IntoFuture = BoxFuture<'static, Result<()>>;

    /// # Errors
    /// `ExchangeMismatch` if the exchange exists with another type or other options, or the broker
    /// does not know the type; `AccessRefused` for a reserved name; `InvalidName`; the channel's
    /// close if it is closed.
    ///
    /// # Cancel safety
    /// If the future is dropped midway, the exchange may or may not be declared.
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            self.deferred.finish()?;
            self.channel.exchange_declare(self.declare).await
        })
    }
}
