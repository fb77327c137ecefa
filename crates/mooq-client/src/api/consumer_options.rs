//! Options of a consumer, for all builders that register one.

use mooq_core::{
    Consume, ConsumerTag, FieldValue, FirstError, IntoChecked, QueueName, ShortString,
};

use super::subscription::Place;

/// Default number of unacked deliveries that a consumer may hold.
pub(super) const DEFAULT_PREFETCH: u16 = 256;

#[derive(Debug)]
pub(super) struct ConsumerOptions {
    pub(super) consume: Consume,
    pub(super) prefetch: u16,
    pub(super) place: Place,
    pub(super) deferred: FirstError,
}

impl ConsumerOptions {
    /// The options of a consumer of `queue`.
    pub(super) fn of(queue: impl IntoChecked<QueueName>) -> Self {
        let mut deferred = FirstError::default();
        let queue = deferred.check(queue).unwrap_or_default();
        Self {
            consume: Consume::new(queue),
            prefetch: DEFAULT_PREFETCH,
            place: Place::default(),
            deferred,
        }
    }

    pub(super) fn prefetch(&mut self, n: u16) {
        self.prefetch = self.deferred.prefetch(n);
    }

    pub(super) fn tag(&mut self, tag: impl IntoChecked<ConsumerTag>) {
        if let Some(tag) = self.deferred.check(tag) {
            self.consume.tag = tag;
        }
    }

    pub(super) fn argument(
        &mut self,
        key: impl IntoChecked<ShortString>,
        value: impl Into<FieldValue>,
    ) {
        self.deferred
            .insert(&mut self.consume.arguments, key, value);
    }
}

/// The setters of a builder whose method `options` returns its [`ConsumerOptions`].
macro_rules! consumer_options {
    () => {
        /// Holds at most `n` unacked deliveries, 1 to 65535; 256 by default.
        pub fn prefetch(mut self, n: u16) -> Self {
            self.options().prefetch(n);
            self
        }

        /// The consumer's tag; by default mooq chooses one.
        pub fn tag(mut self, tag: impl ::mooq_core::IntoChecked<::mooq_core::ConsumerTag>) -> Self {
            self.options().tag(tag);
            self
        }

        /// Makes the consumer the only one allowed on the queue.
        pub fn exclusive_consumer(mut self) -> Self {
            self.options().consume.exclusive = true;
            self
        }

        /// Gives the consumer a channel of its own, which is closed when the consumer ends: the
        /// broker requeues the deliveries that no callback has begun with, or that the stream has
        /// not yielded, in order, before another consumer gets later ones. A consumer that is
        /// exclusive, or whose queue this connection declared with `x-single-active-consumer`, has
        /// one anyway.
        pub fn own_channel(mut self) -> Self {
            self.options().place = $crate::api::subscription::Place::OwnChannel;
            self
        }

        /// Adds an argument to the consumer, for example `x-priority`.
        pub fn consumer_argument(
            mut self,
            key: impl ::mooq_core::IntoChecked<::mooq_core::ShortString>,
            value: impl Into<::mooq_core::FieldValue>,
        ) -> Self {
            self.options().argument(key, value);
            self
        }
    };
}

/// The setters of a builder whose method `registration` returns its `Registration`.
macro_rules! callback_options {
    () => {
        /// Runs at most `n` callbacks of this consumer at once. The default is its prefetch, or 1
        /// if the queue is declared with `x-single-active-consumer`. With 1, each callback ends
        /// before the next starts. A delivery that failed and waits for its retry counts as well.
        pub fn concurrency(mut self, n: usize) -> Self {
            self.registration().concurrency(n);
            self
        }

        /// Notes an error, with which the registration fails: for crates that build on this one.
        #[doc(hidden)]
        pub fn fail(mut self, err: ::mooq_core::Error) -> Self {
            self.registration().options.deferred.fail(err);
            self
        }

        /// Wraps `layer` around the callback, within the layers of its channel and connection and
        /// those that were added before: see [`layers`](crate::layers).
        pub fn layer(mut self, layer: impl $crate::layers::CallbackLayer) -> Self {
            self.registration().layers.push(layer);
            self
        }

        /// Acknowledges automatically: the broker counts each message as done when it sends it.
        /// This is fast, but a message is lost if its callback fails, or if the channel, the
        /// connection or the process ends before. The prefetch has no effect then.
        pub fn auto_ack(mut self) -> Self {
            self.registration().ack_mode = $crate::runtime::handler::AckMode::Auto;
            self
        }

        /// Acknowledges by hand: success does not acknowledge. The holder of the delivery settles
        /// it, by [`Delivery::ack`](crate::Delivery::ack) and its siblings, in the callback or
        /// later. A delivery that is dropped unsettled is requeued, or if its callback failed, is
        /// treated as [`retry`](Self::retry) says.
        pub fn manual_ack(mut self) -> Self {
            self.registration().ack_mode = $crate::runtime::handler::AckMode::Manual;
            self
        }

        /// Policy for a delivery whose callback failed or panicked. By default it is retried in
        /// place until it succeeds: see [`Retry`](crate::Retry). The policy has no effect on a
        /// delivery that its callback has settled by hand.
        pub fn retry(mut self, policy: $crate::Retry) -> Self {
            self.registration().retry = Some(policy);
            self
        }

        /// Policy for a delivery whose body does not decode. By default it has failed for good, by
        /// the policy of [`retry`](Self::retry). Without such a policy it is rejected if a
        /// dead-letter exchange is known to take it; otherwise it is kept, and retried now and then.
        pub fn on_decode_error(mut self, policy: $crate::Retry) -> Self {
            self.registration().on_decode_error = Some(policy);
            self
        }
    };
}

pub(super) use {callback_options, consumer_options};
