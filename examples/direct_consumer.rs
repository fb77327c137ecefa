//! The consumer of the page docs/direct.md: prints messages with either of its keys.

use mooq::Delivery;
use mooq::ExchangeKind::Direct;

#[tokio::main]
async fn main() -> mooq::Result<()> {
    let url = std::env::args().nth(1);
    let conn = mooq::connect(url.as_deref().unwrap_or("amqp://localhost:5672")).await?;
    let chan = conn.create_channel().await?;
    chan.register_consumer("example_direct_log", Direct)
        .routing_keys(["warning", "error"])
        .callback(|log: Delivery<String>| async move {
            println!("{}: {}", log.routing_key, log.msg);
        })
        .await?;
    println!("waiting for warnings and errors");

    let ctrl_c = async {
        tokio::signal::ctrl_c().await.ok();
    };
    conn.process_events().with_graceful_shutdown(ctrl_c).await?;
    conn.close().await
}
