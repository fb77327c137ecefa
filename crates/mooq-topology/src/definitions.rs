//! A topology as a file of definitions.

use mooq_core::{Error, ErrorKind, IntoChecked, Result, VirtualHost};
use serde_json::{Value, json};

use crate::objects::{Object, of_binding, of_exchange, of_policy, of_queue};
use crate::topology::Topology;

impl Topology {
    /// Writes the topology as [definitions](https://www.rabbitmq.com/docs/definitions) for a virtual
    /// host: the JSON that `rabbitmqctl import_definitions`, the management API and
    /// `InMemoryBroker::import_definitions` take.
    ///
    /// # Errors
    /// Those of [`validate`](Self::validate); `InvalidName` if the virtual host's name is too long.
    ///
    /// # Examples
    /// ```
    /// use mooq::memory::InMemoryBroker;
    /// use mooq::topology::{Queue, Topology};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> mooq::Result<()> {
    /// let topology = Topology::new().queue(Queue::new("clicks").max_length(1_000));
    /// let text = topology.to_definitions("/")?;
    /// assert_eq!(Topology::from_definitions("/", &text)?, topology);
    /// # Ok(())
    /// # }
    /// ```
    pub fn to_definitions(&self, vhost: impl IntoChecked<VirtualHost>) -> Result<String> {
        self.validate()?;
        let vhost = vhost.into_checked()?;
        let within = |mut object: Value| {
            object["vhost"] = vhost.as_str().into();
            object
        };
        let exchanges = self.exchanges().iter().map(of_exchange);
        let queues = self.queues().iter().map(of_queue);
        let bindings = self.bindings().iter().map(of_binding);
        let policies = self.policies().iter().map(of_policy);
        let definitions = json!({
            "exchanges": exchanges.map(within).collect::<Vec<_>>(),
            "queues": queues.map(within).collect::<Vec<_>>(),
            "bindings": bindings.map(within).collect::<Vec<_>>(),
            "policies": policies.map(within).collect::<Vec<_>>(),
        });
        Ok(format!("{definitions:#}"))
    }

    /// Reads the exchanges, queues, bindings and policies of a virtual host from
    /// [definitions](https://www.rabbitmq.com/docs/definitions), and nothing else. In definitions of
    /// a single virtual host no object names one: these are all read.
    ///
    /// # Errors
    /// `Decode` if the text is no JSON; `InvalidArgument` for an object that lacks a part, or has one
    /// that mooq does not know; those of [`validate`](Self::validate).
    pub fn from_definitions(
        vhost: impl IntoChecked<VirtualHost>,
        definitions: &str,
    ) -> Result<Self> {
        let vhost = vhost.into_checked()?;
        let definitions: Value = serde_json::from_str(definitions).map_err(|err| {
            let message = format!("definitions that are no JSON: {err}");
            Error::new(ErrorKind::Decode, message).with_source(err)
        })?;
        let objects = |list: &str, what: &'static str| -> Result<Vec<Object<'_>>> {
            let list = definitions.get(list).and_then(Value::as_array);
            let mut objects = Vec::new();
            for value in list.into_iter().flatten() {
                let object = Object::of(what, value)?;
                let within = object.optional_text("vhost");
                if within.is_none_or(|within| vhost == *within) {
                    objects.push(object);
                }
            }
            Ok(objects)
        };
        let mut topology = Self::new();
        for object in objects("exchanges", "an exchange")? {
            topology = topology.exchange_with(object.exchange()?);
        }
        for object in objects("queues", "a queue")? {
            topology = topology.queue(object.queue()?);
        }
        for object in objects("bindings", "a binding")? {
            topology = topology.bind_with(object.binding()?);
        }
        for object in objects("policies", "a policy")? {
            topology = topology.policy(object.policy()?);
        }
        topology.validate()?;
        Ok(topology)
    }
}

#[cfg(test)]
mod tests {
    // A failed expectation is meant to panic.
    #![allow(clippy::unwrap_used)]

    use std::time::Duration;

    use super::*;
    use crate::value::binding::Binding;
    use crate::value::exchange::Exchange;
    use crate::value::policy::{AppliesTo, Policy};
    use crate::value::queue::Queue;

    fn every_part() -> Topology {
        let orders = Exchange::new("orders", "x-consistent-hash")
            .transient()
            .auto_delete()
            .internal()
            .alternate_exchange("lost")
            .argument("hash-header", "customer");
        let billing = Queue::new("billing")
            .quorum()
            .message_ttl(Duration::from_secs(1))
            .dead_letter("lost", "billing");
        let by_headers = Binding::of_queue("billing", "amq.headers", "")
            .argument("x-match", "any")
            .argument("sum", 5_u8);
        let limits = Policy::new("limits", "^billing")
            .applies_to(AppliesTo::QuorumQueues)
            .priority(-3)
            .set("max-length", 7);
        Topology::new()
            .exchange_with(orders)
            .exchange("lost", "fanout")
            .queue(billing)
            .queue(Queue::new("gone").transient().auto_delete())
            .bind_queue("billing", "orders", "10")
            .bind_exchange("lost", "orders", "1")
            .bind_with(by_headers)
            .policy(limits)
    }

    #[test]
    fn topology_comes_back_from_its_definitions() {
        let text = every_part().to_definitions("/shop").unwrap();
        assert_eq!(
            Topology::from_definitions("/shop", &text).unwrap(),
            every_part()
        );
        let other = Topology::from_definitions("/", &text).unwrap();
        assert_eq!(other, Topology::new());
    }

    #[test]
    fn definitions_of_one_virtual_host_name_none() {
        let text = r#"{"users": [{"name": "guest"}], "queues": [{"name": "q", "durable": true,
            "auto_delete": false, "arguments": []}]}"#;
        let read = Topology::from_definitions("/", text).unwrap();
        assert_eq!(read, Topology::new().queue("q"));
    }

    #[test]
    fn definitions_that_lack_a_part_are_refused() {
        for (text, kind, said) in [
            ("{", ErrorKind::Decode, "no JSON"),
            (
                r#"{"queues": [1]}"#,
                ErrorKind::InvalidArgument,
                "a queue that is no JSON object",
            ),
            (
                r#"{"queues": [{}]}"#,
                ErrorKind::InvalidArgument,
                "a queue without the text 'name'",
            ),
            (
                r#"{"bindings": [{"source": "e", "destination": "s", "destination_type": "shovel",
                    "routing_key": ""}]}"#,
                ErrorKind::InvalidArgument,
                "a binding of a 'shovel'",
            ),
            (
                r#"{"policies": [{"name": "p", "pattern": "", "apply-to": "users"}]}"#,
                ErrorKind::InvalidArgument,
                "applies to 'users'",
            ),
        ] {
            let err = Topology::from_definitions("/", text).unwrap_err();
            assert_eq!(err.kind(), kind, "{text}");
            assert!(err.to_string().contains(said), "{err}");
        }
    }
}
