//! AMQP's methods, which must succeed.

use mooq_core::{
    Binding, Consume, ConsumerTag, ErrorKind, ExchangeKind, Fetched, FieldTable, Publish,
    QueueDeclare, Settle, Settlement,
};

use super::{
    Raw, binding, body, consumer, exchange, message, passive_exchange, passive_queue, queue,
};

impl Raw {
    /// Declares a durable queue.
    pub async fn declare(&self, name: &str) {
        self.declare_with(queue(name)).await;
    }

    /// Declares a queue and returns its name.
    pub async fn declare_with(&self, declare: QueueDeclare) -> String {
        let declared = self.channel.declare_queue(declare).await;
        declared.expect("a queue is declared").name.to_string()
    }

    /// Declares a durable exchange.
    pub async fn declare_exchange(&self, name: &str, kind: ExchangeKind) {
        let declared = self.channel.declare_exchange(exchange(name, kind)).await;
        declared.expect("an exchange is declared");
    }

    /// Returns true if the queue exists.
    pub async fn has_queue(&self, name: &str) -> bool {
        let probe = self.sibling().await;
        match probe.channel.declare_queue(passive_queue(name)).await {
            Ok(_) => true,
            Err(err) if err.kind() == ErrorKind::QueueNotFound => false,
            Err(err) => panic!("{err}"),
        }
    }

    /// Returns true if the exchange exists.
    pub async fn has_exchange(&self, name: &str) -> bool {
        let probe = self.sibling().await;
        match probe.channel.declare_exchange(passive_exchange(name)).await {
            Ok(()) => true,
            Err(err) if err.kind() == ErrorKind::ExchangeNotFound => false,
            Err(err) => panic!("{err}"),
        }
    }

    /// Binds a queue.
    pub async fn bind(&self, queue: &str, exchange: &str, key: &str) {
        self.add(binding(queue, exchange, key)).await;
    }

    /// Binds a queue with arguments.
    pub async fn bind_with(&self, queue: &str, exchange: &str, key: &str, arguments: FieldTable) {
        self.add(Binding {
            arguments,
            ..binding(queue, exchange, key)
        })
        .await;
    }

    /// Adds a binding.
    pub async fn add(&self, binding: Binding) {
        self.channel
            .bind(binding)
            .await
            .expect("a binding is added");
    }

    /// Removes a binding.
    pub async fn remove(&self, binding: Binding) {
        let unbound = self.channel.unbind(binding).await;
        unbound.expect("a binding is removed");
    }

    /// Deletes a queue and returns the number of messages that were ready in it.
    pub async fn delete(&self, queue: &str) -> u32 {
        let name = queue.try_into().unwrap();
        let deleted = self.channel.delete_queue(name, false, false).await;
        deleted.expect("a queue is deleted")
    }

    /// Publishes `body` without properties and without waiting.
    pub fn publish(&self, exchange: &str, key: &str, body: &str) {
        self.send(Publish::new(message(exchange, key, body)));
    }

    /// Publishes without waiting.
    pub fn send(&self, publish: Publish) {
        let _ = self
            .channel
            .publish(publish)
            .expect("the transport takes the message");
    }

    /// Publishes `body` without properties, on a channel in confirm mode, and waits for the
    /// confirm: then the message is in every queue that it matches.
    pub async fn put(&mut self, exchange: &str, key: &str, body: &str) {
        self.put_message(Publish::new(message(exchange, key, body)))
            .await;
    }

    /// Publishes on a channel in confirm mode, and waits for the confirm.
    pub async fn put_message(&mut self, publish: Publish) {
        self.send(publish);
        self.confirmed().await;
    }

    /// Publishes `bodies` to a queue, on a channel in confirm mode, and waits for each confirm.
    pub async fn fill(&mut self, queue: &str, bodies: &[&str]) {
        for body in bodies {
            self.put("", queue, body).await;
        }
    }

    /// Puts the channel in confirm mode.
    pub async fn confirm_select(&self) {
        self.channel
            .confirm_select()
            .await
            .expect("the channel confirms");
    }

    /// Consumes `queue` with acknowledgement.
    pub async fn consume(&self, queue: &str) -> ConsumerTag {
        self.consume_with(consumer(queue)).await
    }

    /// Consumes a queue.
    pub async fn consume_with(&self, consume: Consume) -> ConsumerTag {
        self.channel
            .consume(consume)
            .await
            .expect("the queue can be consumed")
    }

    /// Cancels a consumer.
    pub async fn cancel(&self, tag: &ConsumerTag) {
        let cancelled = self.channel.cancel(tag.clone()).await;
        cancelled.expect("a consumer is cancelled");
    }

    /// Sets the prefetch count of later consumers.
    pub async fn prefetch(&self, count: u16) {
        let set = self.channel.qos(count, false).await;
        set.expect("the prefetch count is set");
    }

    /// Gets a message with acknowledgement, if one is ready.
    pub async fn get(&self, queue: &str) -> Option<Fetched> {
        let fetched = self.channel.get(queue.try_into().unwrap(), false).await;
        fetched.expect("the queue exists")
    }

    /// Gets a message with acknowledgement, which must be ready.
    pub async fn fetch(&self, queue: &str) -> Fetched {
        self.get(queue).await.expect("a message is ready")
    }

    /// Takes every message that is ready in `queue`, and returns their bodies.
    pub async fn drain(&self, queue: &str) -> Vec<String> {
        let mut bodies = Vec::new();
        let name: mooq_core::QueueName = queue.try_into().unwrap();
        while let Some(fetched) = self
            .channel
            .get(name.clone(), true)
            .await
            .expect("the queue exists")
        {
            bodies.push(body(&fetched.message).to_owned());
        }
        bodies
    }

    /// Asserts that exactly these messages are in `queue` or return to it, in this order, and takes
    /// them.
    ///
    /// For the unacked deliveries of a closed channel: RabbitMQ requeues them once the queue
    /// notices, which may be after the channel's end.
    pub async fn receives(&mut self, queue: &str, expected: &[&str]) {
        let unsettled = Consume {
            no_ack: true,
            ..consumer(queue)
        };
        let tag = self.consume_with(unsettled).await;
        assert_eq!(self.delivered(expected.len()).await, expected);
        self.nothing_from(queue).await;
        self.cancel(&tag).await;
    }

    /// Settles one delivery.
    pub fn settle(&self, delivery_tag: u64, settlement: Settlement) {
        self.settle_with(delivery_tag, false, settlement);
    }

    /// Settles all deliveries up to one.
    pub fn settle_up_to(&self, delivery_tag: u64, settlement: Settlement) {
        self.settle_with(delivery_tag, true, settlement);
    }

    fn settle_with(&self, delivery_tag: u64, multiple: bool, settlement: Settlement) {
        let settle = Settle {
            delivery_tag,
            multiple,
            settlement,
        };
        self.channel.settle(settle).expect("the channel is open");
    }

    /// Acknowledges one delivery.
    pub fn ack(&self, delivery_tag: u64) {
        self.settle(delivery_tag, Settlement::Ack);
    }

    /// Acknowledges all deliveries up to one.
    pub fn ack_up_to(&self, delivery_tag: u64) {
        self.settle_up_to(delivery_tag, Settlement::Ack);
    }

    /// Requeues one delivery.
    pub fn requeue(&self, delivery_tag: u64) {
        self.settle(delivery_tag, Settlement::Nack { requeue: true });
    }

    /// The number of messages that are ready in `queue`, and of its consumers.
    pub async fn counts(&self, queue: &str) -> (u32, u32) {
        let declared = self.channel.declare_queue(passive_queue(queue)).await;
        let declared = declared.expect("the queue exists");
        (declared.message_count, declared.consumer_count)
    }
}
