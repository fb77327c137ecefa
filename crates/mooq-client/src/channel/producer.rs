//! Declaring exchanges.

use std::future::IntoFuture;

use futures_util::future::BoxFuture;
use mooq_core::{
    ExchangeDeclare, ExchangeKind, ExchangeName, FieldValue, IntoChecked, Result, ShortString,
};

use super::Channel;
use crate::deferred::Deferred;

/// An exchange to be declared: made by
/// [`Channel::register_producer`](crate::Channel::register_producer), declared by awaiting it.
#[derive(Debug)]
#[must_use = "the exchange is declared when this is awaited"]
pub struct RegisterProducer {
    channel: Channel,
    declare: ExchangeDeclare,
    deferred: Deferred,
}

impl RegisterProducer {
    pub(crate) fn new(
        channel: &Channel,
        exchange: impl IntoChecked<ExchangeName>,
        kind: impl IntoChecked<ExchangeKind>,
    ) -> Self {
        let mut deferred = Deferred::default();
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

    /// The exchange goes when the broker restarts.
    pub fn transient(mut self) -> Self {
        self.declare.durable = false;
        self
    }

    /// The exchange goes when its last binding goes.
    pub fn auto_delete(mut self) -> Self {
        self.declare.auto_delete = true;
        self
    }

    /// Only other exchanges may publish to it.
    pub fn internal(mut self) -> Self {
        self.declare.internal = true;
        self
    }

    /// Only asks whether it exists: `ExchangeNotFound` if not.
    pub fn passive(mut self) -> Self {
        self.declare.passive = true;
        self
    }

    /// Where a message goes that this exchange routes nowhere
    /// ([alternate exchanges](https://www.rabbitmq.com/docs/ae)).
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

impl IntoFuture for RegisterProducer {
    type Output = Result<()>;
    type IntoFuture = BoxFuture<'static, Result<()>>;

    /// # Errors
    /// `BadExchange` if the exchange exists with another type or other options, or the broker
    /// does not know the type; `AccessRefused` for a reserved name; `InvalidName`; the channel's
    /// close if it is closed.
    ///
    /// # Cancel safety
    /// Dropped midway, the exchange is declared or not.
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            self.deferred.finish()?;
            self.channel.exchange_declare(self.declare).await
        })
    }
}
