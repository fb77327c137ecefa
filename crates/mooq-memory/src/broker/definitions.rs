//! Importing definitions: a RabbitMQ's users, virtual hosts, policies and topology as a JSON file
//! ([definitions](https://www.rabbitmq.com/docs/definitions)).

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mooq_core::{
    Binding, BindingDestination, Error, ErrorKind, ExchangeDeclare, ExchangeKind, FieldTable,
    FieldValue, IntoChecked, QueueDeclare, ShortString, VirtualHost,
};
use mooq_engine::{ApplyTo, Engine, Password, Permissions, Policy, Time};
use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256, Sha512};

use super::InMemoryBroker;

/// Number of bytes of a password hash that are its salt.
const SALT: usize = 4;

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
        let definitions: Definitions = serde_json::from_str(json)
            .map_err(|e| invalid(format!("these are no definitions: {e}")).with_source(e))?;
        self.shared
            .admin(|engine, now| definitions.import(engine, now))
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Definitions {
    users: Vec<User>,
    vhosts: Vec<Vhost>,
    permissions: Vec<UserPermissions>,
    topic_permissions: Vec<TopicPermissions>,
    parameters: Vec<Parameter>,
    global_parameters: Vec<GlobalParameter>,
    policies: Vec<NamedPolicy>,
    exchanges: Vec<Exchange>,
    queues: Vec<Queue>,
    bindings: Vec<BindingEntry>,
}

#[derive(Deserialize)]
struct User {
    name: String,
    password: Option<String>,
    password_hash: Option<String>,
    hashing_algorithm: Option<String>,
}

#[derive(Deserialize)]
struct Vhost {
    name: String,
}

#[derive(Deserialize)]
struct UserPermissions {
    user: String,
    vhost: String,
    configure: String,
    write: String,
    read: String,
}

#[derive(Deserialize)]
struct TopicPermissions {
    user: String,
    vhost: String,
    exchange: String,
    write: String,
    read: String,
}

#[derive(Deserialize)]
struct Parameter {
    component: String,
    name: String,
    vhost: String,
    value: Value,
}

#[derive(Deserialize)]
struct GlobalParameter {
    name: String,
}

#[derive(Deserialize)]
struct NamedPolicy {
    name: String,
    vhost: String,
    #[serde(flatten)]
    policy: PolicyBody,
}

#[derive(Deserialize)]
struct PolicyBody {
    pattern: String,
    definition: Map<String, Value>,
    #[serde(default)]
    priority: i64,
    #[serde(default, rename = "apply-to")]
    apply_to: Option<String>,
}

#[derive(Deserialize)]
struct Exchange {
    name: String,
    vhost: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default = "durable")]
    durable: bool,
    #[serde(default)]
    auto_delete: bool,
    #[serde(default)]
    internal: bool,
    #[serde(default)]
    arguments: Map<String, Value>,
}

#[derive(Deserialize)]
struct Queue {
    name: String,
    vhost: String,
    #[serde(default = "durable")]
    durable: bool,
    #[serde(default)]
    auto_delete: bool,
    #[serde(default)]
    arguments: Map<String, Value>,
}

#[derive(Deserialize)]
struct BindingEntry {
    vhost: String,
    source: String,
    destination: String,
    destination_type: String,
    #[serde(default)]
    routing_key: String,
    #[serde(default)]
    arguments: Map<String, Value>,
}

fn durable() -> bool {
    true
}

impl Definitions {
    /// Imports everything, each kind of object before those that refer to it.
    fn import(self, engine: &mut Engine, now: Time) -> Result<Vec<String>, Error> {
        for user in self.users {
            let at = format!("user '{}'", user.name);
            let password = user.password().map_err(|e| named(&at, e))?;
            engine.import_user(user.name, password);
        }
        for vhost in self.vhosts {
            engine.add_vhost(vhost.name.into_checked()?);
        }
        for of in self.permissions {
            let at = format!("permissions of user '{}' in vhost '{}'", of.user, of.vhost);
            of.import(engine).map_err(|e| named(&at, e))?;
        }
        for of in self.topic_permissions {
            let at = format!(
                "topic permissions of user '{}' in vhost '{}'",
                of.user, of.vhost
            );
            of.import(engine).map_err(|e| named(&at, e))?;
        }
        let mut left_out = Vec::new();
        for parameter in self.parameters {
            let at = format!(
                "parameter '{}' of component '{}' in vhost '{}'",
                parameter.name, parameter.component, parameter.vhost
            );
            match parameter.component.as_str() {
                "operator_policy" => parameter
                    .import_operator_policy(engine, now)
                    .map_err(|e| named(&at, e))?,
                _ => left_out.push(at),
            }
        }
        let global = self.global_parameters.into_iter();
        left_out.extend(global.filter_map(|parameter| {
            // Names of the cluster, which a broker of its own has no use for.
            let is_name = ["cluster_name", "internal_cluster_id", "cluster_tags"]
                .contains(&parameter.name.as_str());
            (!is_name).then(|| format!("global parameter '{}'", parameter.name))
        }));
        for NamedPolicy {
            name,
            vhost,
            policy,
        } in self.policies
        {
            let at = format!("policy '{name}' in vhost '{vhost}'");
            let set = || engine.set_policy(now, &vhost.into_checked()?, &name, policy.parse()?);
            set().map_err(|e| named(&at, e))?;
        }
        for exchange in self.exchanges {
            let at = format!("exchange '{}' in vhost '{}'", exchange.name, exchange.vhost);
            exchange.import(engine, now).map_err(|e| named(&at, e))?;
        }
        for queue in self.queues {
            let at = format!("queue '{}' in vhost '{}'", queue.name, queue.vhost);
            queue.import(engine, now).map_err(|e| named(&at, e))?;
        }
        for binding in self.bindings {
            let at = format!(
                "binding of {} '{}' to exchange '{}' in vhost '{}'",
                binding.destination_type, binding.destination, binding.source, binding.vhost
            );
            binding.import(engine, now).map_err(|e| named(&at, e))?;
        }
        Ok(left_out)
    }
}

impl User {
    /// The password. A user without one cannot log in by password, as in RabbitMQ.
    fn password(&self) -> Result<Password, Error> {
        if let Some(password) = &self.password {
            return Ok(Password::Plain(password.clone()));
        }
        let hash = self.password_hash.as_deref().unwrap_or_default();
        let hash = STANDARD
            .decode(hash)
            .map_err(|e| invalid("its password hash is not base64").with_source(e))?;
        let algorithm = self.hashing_algorithm.as_deref();
        let digest: fn(&[u8], &str) -> Vec<u8> = match algorithm {
            Some("rabbit_password_hashing_sha256") | None => salted::<Sha256>,
            Some("rabbit_password_hashing_sha512") => salted::<Sha512>,
            Some(other) => {
                let message =
                    format!("its password is hashed by '{other}', expected SHA-256 or SHA-512");
                return Err(invalid(message));
            }
        };
        Ok(Password::Hashed(Arc::new(move |password| {
            let Some((salt, hash)) = hash.split_at_checked(SALT) else {
                return false;
            };
            digest(salt, password) == hash
        })))
    }
}

fn salted<D: Digest>(salt: &[u8], password: &str) -> Vec<u8> {
    let hash = D::new().chain_update(salt).chain_update(password);
    hash.finalize().to_vec()
}

impl UserPermissions {
    fn import(self, engine: &mut Engine) -> Result<(), Error> {
        let vhost: VirtualHost = self.vhost.into_checked()?;
        let permissions = Permissions::new(&self.configure, &self.write, &self.read)?;
        engine.set_permissions(&self.user, &vhost, Some(permissions))
    }
}

impl TopicPermissions {
    fn import(self, engine: &mut Engine) -> Result<(), Error> {
        let vhost: VirtualHost = self.vhost.into_checked()?;
        let limits = Some((self.write.as_str(), self.read.as_str()));
        let exchange = self.exchange.into_checked()?;
        engine.set_topic_permissions(&self.user, &vhost, exchange, limits)
    }
}

impl Parameter {
    fn import_operator_policy(self, engine: &mut Engine, now: Time) -> Result<(), Error> {
        let body: PolicyBody = serde_json::from_value(self.value)
            .map_err(|e| invalid(format!("this is no policy: {e}")).with_source(e))?;
        let vhost = self.vhost.into_checked()?;
        engine.set_operator_policy(now, &vhost, &self.name, body.parse()?)
    }
}

impl PolicyBody {
    fn parse(self) -> Result<Policy, Error> {
        let apply_to = match self.apply_to.as_deref() {
            Some("all") | None => ApplyTo::All,
            Some("queues") => ApplyTo::Queues,
            Some("exchanges") => ApplyTo::Exchanges,
            Some(other) => {
                let message =
                    format!("it applies to '{other}', expected 'all', 'queues' or 'exchanges'");
                return Err(invalid(message));
            }
        };
        let policy = Policy::new(&self.pattern, &table(self.definition)?)?;
        Ok(policy.apply_to(apply_to).priority(self.priority))
    }
}

impl Exchange {
    fn import(self, engine: &mut Engine, now: Time) -> Result<(), Error> {
        let kind: ExchangeKind = self.kind.into_checked()?;
        let declare = ExchangeDeclare {
            durable: self.durable,
            auto_delete: self.auto_delete,
            internal: self.internal,
            arguments: table(self.arguments)?,
            ..ExchangeDeclare::new(self.name.into_checked()?, kind)
        };
        engine.import_exchange(now, &self.vhost.into_checked()?, declare)
    }
}

impl Queue {
    fn import(self, engine: &mut Engine, now: Time) -> Result<(), Error> {
        let declare = QueueDeclare {
            durable: self.durable,
            auto_delete: self.auto_delete,
            arguments: table(self.arguments)?,
            ..QueueDeclare::new(self.name.into_checked()?)
        };
        engine.import_queue(now, &self.vhost.into_checked()?, declare)
    }
}

impl BindingEntry {
    fn import(self, engine: &mut Engine, now: Time) -> Result<(), Error> {
        let destination = match self.destination_type.as_str() {
            "queue" => BindingDestination::Queue(self.destination.into_checked()?),
            "exchange" => BindingDestination::Exchange(self.destination.into_checked()?),
            other => {
                let message =
                    format!("its destination is a '{other}', expected 'queue' or 'exchange'");
                return Err(invalid(message));
            }
        };
        let binding = Binding {
            source: self.source.into_checked()?,
            destination,
            routing_key: self.routing_key.into_checked()?,
            arguments: table(self.arguments)?,
        };
        engine.import_binding(now, &self.vhost.into_checked()?, binding)
    }
}

fn table(entries: Map<String, Value>) -> Result<FieldTable, Error> {
    let mut table = FieldTable::new();
    for (key, value) in entries {
        let key: ShortString = key.into_checked()?;
        table.insert(key, field(value)?);
    }
    Ok(table)
}

/// Converts a value as RabbitMQ's import does: a whole number is a signed one of 64 bits.
fn field(value: Value) -> Result<FieldValue, Error> {
    Ok(match value {
        Value::Null => FieldValue::Void,
        Value::Bool(flag) => FieldValue::Bool(flag),
        Value::String(text) => FieldValue::String(text),
        Value::Array(values) => {
            let values = values.into_iter().map(field);
            FieldValue::Array(values.collect::<Result<_, _>>()?)
        }
        Value::Object(entries) => FieldValue::Table(table(entries)?),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => FieldValue::I64(whole),
            (None, Some(real)) => FieldValue::F64(real),
            (None, None) => return Err(invalid(format!("the number {number} is too large"))),
        },
    })
}

fn named(object: &str, error: Error) -> Error {
    Error::new(error.kind(), format!("{object}: {error}")).with_source(error)
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidArgument, message.into())
}

#[cfg(test)]
mod tests;
