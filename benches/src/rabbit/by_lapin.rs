//! The workloads by lapin, the most used client.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
    ConfirmSelectOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, Result};

use super::{BODY, PREFETCH, QUEUE, WINDOW};

/// Time of `count` confirmed publishes.
pub async fn publish(url: &str, count: u64) -> Result<Duration> {
    let (connection, channel) = open(url).await?;
    channel
        .confirm_select(ConfirmSelectOptions::default())
        .await?;
    let begin = Instant::now();
    let mut window = VecDeque::with_capacity(WINDOW);
    for _ in 0..count {
        if window.len() == WINDOW
            && let Some(oldest) = window.pop_front()
        {
            confirmed(oldest).await?;
        }
        let options = BasicPublishOptions::default();
        let properties = BasicProperties::default().with_delivery_mode(1);
        let sent = channel.basic_publish("".into(), QUEUE.into(), options, &BODY, properties);
        window.push_back(sent.await?);
    }
    for oldest in window {
        confirmed(oldest).await?;
    }
    let taken = begin.elapsed();
    connection.close(200, "done".into()).await?;
    Ok(taken)
}

/// Time to consume and acknowledge `count` messages.
pub async fn consume(url: &str, count: u64) -> Result<Duration> {
    let (connection, channel) = open(url).await?;
    let begin = Instant::now();
    channel
        .basic_qos(PREFETCH, BasicQosOptions::default())
        .await?;
    let options = BasicConsumeOptions::default();
    let mut deliveries = channel
        .basic_consume(
            QUEUE.into(),
            "figures".into(),
            options,
            FieldTable::default(),
        )
        .await?;
    for _ in 0..count {
        let delivery = deliveries.next().await.expect("the consumer goes on");
        delivery?.ack(BasicAckOptions::default()).await?;
    }
    let taken = begin.elapsed();
    connection.close(200, "done".into()).await?;
    Ok(taken)
}

async fn confirmed(sent: lapin::PublisherConfirm) -> Result<()> {
    let confirmation = sent.await?;
    assert!(confirmation.is_ack(), "RabbitMQ refused a message");
    Ok(())
}

async fn open(url: &str) -> Result<(Connection, Channel)> {
    let connection = Connection::connect(url, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    Ok((connection, channel))
}
