//! A topology as a value: declared, compared with a broker that has drifted, and brought about by a
//! plan that replaces a queue without losing its messages.
//!
//! ```console
//! $ cargo run --example topology
//! ```

use mooq::ExchangeKind::{Fanout, Topic};
use mooq::memory::InMemoryBroker;
use mooq::server::ListenManagement;
use mooq::topology::{Exchange, Queue, Topology};

/// What the shop needs from now on: billing on a quorum queue, with dead letters kept.
fn shop() -> Topology {
    Topology::new()
        .exchange_with(Exchange::new("orders", Topic).alternate_exchange("unrouted"))
        .exchange("unrouted", Fanout)
        .queue(
            Queue::new("billing")
                .quorum()
                .dead_letter("", "billing.dead"),
        )
        .queue("billing.dead")
        .queue("lost and found")
        .bind_queue("billing", "orders", "order.*")
        .bind_queue("lost and found", "unrouted", "")
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // On RabbitMQ: amqp://localhost, and http://localhost:15672 of the management plugin.
    let broker = InMemoryBroker::start();
    let api = broker.listen_management("127.0.0.1:0").await?;
    let conn = mooq::connect(&broker).await?;

    // The broker as it has come to be over the years.
    let chan = conn.create_channel().await?;
    chan.declare_queue("billing").await?;
    chan.publish("", "an unpaid order")
        .routing_key("billing")
        .await?;

    let diff = shop().diff(&conn).management(api.url()).await?;
    println!("{diff}\n");

    // A dry run, and then the real one.
    let plan = shop().plan(&conn).management(api.url()).migrate().await?;
    print!("{plan}");
    plan.apply(&conn).await?;

    shop().check(&conn).management(api.url()).await?;
    let order = chan.get_one::<String>("billing").await?;
    println!("\nstill there: {}", order.ack().await?);
    println!("\n{}", shop().mermaid());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A rule that a service's tests can hold its topology to, without a connection.
    #[test]
    fn every_queue_of_the_shop_but_the_dead_letters_is_bound() {
        let shop = shop();
        let is_bound = |queue: &Queue| {
            let mut bindings = shop.bindings().iter();
            bindings.any(|binding| binding.queue() == Some(queue.name()))
        };
        let unbound: Vec<_> = shop.queues().iter().filter(|one| !is_bound(one)).collect();
        assert_eq!(unbound, [&Queue::new("billing.dead")]);
    }
}
