//! Definitions: users, virtual hosts, policies and topology as a JSON file, as RabbitMQ exports and
//! imports them ([definitions](https://www.rabbitmq.com/docs/definitions)).

mod export;
mod import;
mod password;

use mooq_core::{Error, ErrorKind, VirtualHost};
use serde_json::Value;

use super::InMemoryBroker;
use import::Definitions;
pub use password::password_hash;

impl InMemoryBroker {
    /// Imports definitions, as `rabbitmqctl export_definitions` and the management plugin export
    /// them: users with their permissions, virtual hosts, policies, exchanges, queues and bindings.
    /// Existing objects stay: an exchange or a queue as it is, a user with its new password.
    /// Users that are imported have the permissions of the definitions and no others.
    ///
    /// Returns descriptions of what an in-memory broker does not have, and was left out: for
    /// example the parameters of shovels and federation.
    ///
    /// # Errors
    /// `InvalidArgument` if the text is not JSON or not that of definitions, if a password is
    /// hashed by something other than SHA-256 or SHA-512, or if the broker's version of RabbitMQ
    /// refuses an object; `VirtualHostNotFound`; `InvalidName`. The error names the object. What
    /// stands before it is imported.
    ///
    /// # Examples
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use mooq_memory::InMemoryBroker;
    ///
    /// let definitions = r#"{
    ///     "vhosts": [{"name": "/"}],
    ///     "queues": [{"name": "orders", "vhost": "/", "durable": true,
    ///                 "arguments": {"x-queue-type": "quorum"}}],
    ///     "bindings": [{"vhost": "/", "source": "amq.topic", "destination": "orders",
    ///                   "destination_type": "queue", "routing_key": "order.*"}]
    /// }"#;
    /// let broker = InMemoryBroker::start();
    /// let left_out = broker.import_definitions(definitions)?;
    /// assert!(left_out.is_empty());
    /// assert_eq!(broker.queues("orders").len(), 1);
    /// # Ok::<(), mooq_core::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn import_definitions(&self, json: &str) -> Result<Vec<String>, Error> {
        self.import(parse(json)?)
    }

    /// Imports definitions into one virtual host, as [`Self::export_vhost_definitions`] and
    /// RabbitMQ export those of one virtual host: policies, exchanges, queues and bindings.
    ///
    /// # Errors
    /// The errors of [`Self::import_definitions`].
    pub fn import_vhost_definitions(
        &self,
        vhost: &VirtualHost,
        json: &str,
    ) -> Result<Vec<String>, Error> {
        let mut definitions: Value = parse(json)?;
        let Value::Object(lists) = &mut definitions else {
            return Err(invalid("these are no definitions: expected an object"));
        };
        lists.retain(|kind, _| OF_A_VHOST.contains(&kind.as_str()));
        let objects = lists.values_mut().filter_map(Value::as_array_mut).flatten();
        for object in objects.filter_map(Value::as_object_mut) {
            object.insert("vhost".into(), vhost.as_str().into());
        }
        self.import(serde_json::from_value(definitions).map_err(no_definitions)?)
    }

    fn import(&self, definitions: Definitions) -> Result<Vec<String>, Error> {
        self.shared
            .admin(|engine, now| definitions.import(engine, now))
    }

    /// Exports the broker's definitions as JSON, for [`Self::import_definitions`] or for RabbitMQ:
    /// users with their permissions, virtual hosts, policies, exchanges, queues and bindings.
    /// Exclusive queues, which belong to connections, and their bindings are left out, and so are
    /// the exchanges that every virtual host has. Passwords are hashed.
    ///
    /// # Examples
    /// ```
    /// # use mooq::memory::InMemoryBroker;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> mooq::Result<()> {
    /// let broker = InMemoryBroker::start();
    /// let chan = mooq::connect(&broker).await?.create_channel().await?;
    /// chan.declare_queue("orders").await?;
    ///
    /// let copy = InMemoryBroker::start();
    /// copy.import_definitions(&broker.export_definitions())?;
    /// assert_eq!(copy.queues("orders").len(), 1);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn export_definitions(&self) -> String {
        let definitions = self
            .shared
            .with_state_now(|state, _| export::all(&state.engine));
        definitions.to_string()
    }

    /// Exports the definitions of one virtual host as JSON: policies, exchanges, queues and
    /// bindings.
    ///
    /// # Errors
    /// `VirtualHostNotFound` if the virtual host does not exist.
    pub fn export_vhost_definitions(&self, vhost: &VirtualHost) -> Result<String, Error> {
        let definitions = self
            .shared
            .with_state_now(|state, _| export::of_vhost(&state.engine, vhost));
        definitions.map(|definitions| definitions.to_string())
    }
}

/// Kinds of objects in the definitions of one virtual host.
const OF_A_VHOST: [&str; 5] = ["parameters", "policies", "exchanges", "queues", "bindings"];

fn parse<T: serde::de::DeserializeOwned>(json: &str) -> Result<T, Error> {
    serde_json::from_str(json).map_err(no_definitions)
}

fn no_definitions(error: serde_json::Error) -> Error {
    invalid(format!("these are no definitions: {error}")).with_source(error)
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidArgument, message.into())
}

#[cfg(test)]
mod tests;
