//! The workloads by amqprs alone, the base of mooq's adapter.

use std::sync::Arc;
use std::time::{Duration, Instant};

use amqprs::callbacks::ChannelCallback;
use amqprs::channel::{
    BasicAckArguments, BasicCancelArguments, BasicConsumeArguments, BasicPublishArguments,
    BasicQosArguments, Channel, ConfirmSelectArguments,
};
use amqprs::connection::{Connection, OpenConnectionArguments};
use amqprs::error::Error;
use amqprs::{Ack, BasicProperties, Cancel, CloseChannel, Nack, Return};
use async_trait::async_trait;
use mooq::Endpoint;
use tokio::sync::Semaphore;

use super::{BODY, PREFETCH, QUEUE, WINDOW};

/// Time of `count` confirmed publishes.
pub async fn publish(endpoint: &Endpoint, count: u64) -> Result<Duration, Error> {
    let (connection, channel) = open(endpoint).await?;
    let window = Arc::new(Semaphore::new(WINDOW));
    let confirms = Confirms {
        window: Arc::clone(&window),
        confirmed: 0,
    };
    channel.register_callback(confirms).await?;
    channel
        .confirm_select(ConfirmSelectArguments::default())
        .await?;
    let begin = Instant::now();
    for _ in 0..count {
        permits(&window, 1).await;
        let arguments = BasicPublishArguments::new("", QUEUE);
        let properties = BasicProperties::default().with_delivery_mode(1).finish();
        channel
            .basic_publish(properties, BODY.to_vec(), arguments)
            .await?;
    }
    permits(&window, WINDOW as u32).await;
    let taken = begin.elapsed();
    channel.close().await?;
    connection.close().await?;
    Ok(taken)
}

/// Time to consume and acknowledge `count` messages.
pub async fn consume(endpoint: &Endpoint, count: u64) -> Result<Duration, Error> {
    let (connection, channel) = open(endpoint).await?;
    let begin = Instant::now();
    channel
        .basic_qos(BasicQosArguments::new(0, PREFETCH, false))
        .await?;
    let arguments = BasicConsumeArguments::new(QUEUE, "figures");
    let (tag, mut deliveries) = channel.basic_consume_rx(arguments).await?;
    for _ in 0..count {
        let message = deliveries.recv().await.expect("the consumer goes on");
        let deliver = message.deliver.expect("amqprs sets every part");
        let arguments = BasicAckArguments::new(deliver.delivery_tag(), false);
        channel.basic_ack(arguments).await?;
    }
    let taken = begin.elapsed();
    channel
        .basic_cancel(BasicCancelArguments::new(&tag))
        .await?;
    channel.close().await?;
    connection.close().await?;
    Ok(taken)
}

async fn open(endpoint: &Endpoint) -> Result<(Connection, Channel), Error> {
    let credentials = &endpoint.credentials;
    let mut arguments = OpenConnectionArguments::new(
        &endpoint.host,
        endpoint.port,
        &credentials.username,
        &credentials.password,
    );
    arguments.virtual_host(&endpoint.vhost);
    let connection = Connection::open(&arguments).await?;
    let channel = connection.open_channel(None).await?;
    Ok((connection, channel))
}

/// Takes `count` permits for good; each confirm gives one.
async fn permits(window: &Semaphore, count: u32) {
    let permits = window.acquire_many(count).await;
    permits.expect("the channel stays open").forget();
}

struct Confirms {
    window: Arc<Semaphore>,
    confirmed: u64,
}

impl Drop for Confirms {
    fn drop(&mut self) {
        // A task that waits for a confirm would wait for ever.
        self.window.close();
    }
}

#[async_trait]
impl ChannelCallback for Confirms {
    async fn publish_ack(&mut self, _: &Channel, ack: Ack) {
        let newly = if ack.mutiple() {
            ack.delivery_tag().saturating_sub(self.confirmed)
        } else {
            1
        };
        self.confirmed += newly;
        self.window
            .add_permits(usize::try_from(newly).unwrap_or(WINDOW));
    }

    async fn publish_nack(&mut self, _: &Channel, nack: Nack) {
        panic!("RabbitMQ refused a message: {}", nack.delivery_tag());
    }

    async fn close(&mut self, _: &Channel, close: CloseChannel) -> Result<(), Error> {
        panic!("RabbitMQ closed the channel: {close}");
    }

    async fn cancel(&mut self, _: &Channel, _: Cancel) -> Result<(), Error> {
        Ok(())
    }

    async fn flow(&mut self, _: &Channel, active: bool) -> Result<bool, Error> {
        Ok(active)
    }

    async fn publish_return(&mut self, _: &Channel, _: Return, _: BasicProperties, _: Vec<u8>) {}
}
