//! The producer of the page docs/direct.md: publishes four lines of a log, each with its own key.

use mooq::ExchangeKind::Direct;

#[tokio::main]
async fn main() -> mooq::Result<()> {
    let url = std::env::args().nth(1);
    let conn = mooq::connect(url.as_deref().unwrap_or("amqp://localhost:5672")).await?;
    let chan = conn.create_channel().await?;
    chan.register_producer("example_direct_log", Direct).await?;

    for (severity, line) in [
        ("info", "listening on port 80"),
        ("warning", "the disk is nearly full"),
        ("error", "the disk is full"),
        ("debug", "42"),
    ] {
        chan.publish("example_direct_log", line)
            .routing_key(severity)
            .await?;
        println!("published: {line}");
    }
    conn.close().await
}
