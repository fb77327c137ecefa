//! Import of definitions: each object as it stands in the file, and its way into the engine.

use mooq_core::json::table_from;
use mooq_core::{
    Binding, BindingDestination, Error, ErrorKind, ExchangeDeclare, ExchangeKind, IntoChecked,
    QueueDeclare, VirtualHost,
};
use mooq_engine::{ApplyTo, Engine, Password, Permissions, Policy, Time, VirtualHostMetadata};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{invalid, password};

/// A file with definitions.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Definitions {
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
    #[serde(default)]
    tags: Tags,
    #[serde(default)]
    limits: Value,
}

/// Tags of a user or of a virtual host: a list, or a text with commas.
#[derive(Deserialize)]
#[serde(untagged)]
enum Tags {
    List(Vec<String>),
    Text(String),
}

#[derive(Deserialize)]
struct Vhost {
    name: String,
    #[serde(flatten)]
    description: Described,
    /// The same once more, as RabbitMQ exports it since 3.11.
    #[serde(default)]
    metadata: Described,
    #[serde(default)]
    limits: Value,
}

#[derive(Default, Deserialize)]
struct Described {
    description: Option<String>,
    tags: Option<Tags>,
    default_queue_type: Option<String>,
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
    pub(super) fn import(self, engine: &mut Engine, now: Time) -> Result<Vec<String>, Error> {
        let mut left_out = Vec::new();
        for user in self.users {
            let at = format!("user '{}'", user.name);
            if has_entries(&user.limits) {
                left_out.push(format!("limits of {at}"));
            }
            user.import(engine).map_err(|e| named(&at, e))?;
        }
        for vhost in self.vhosts {
            let at = format!("vhost '{}'", vhost.name);
            if has_entries(&vhost.limits) {
                left_out.push(format!("limits of {at}"));
            }
            if let Some(kind) = vhost.other_queue_type() {
                left_out.push(format!("default queue type '{kind}' of {at}"));
            }
            vhost.import(engine).map_err(|e| named(&at, e))?;
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
            // One of a broker's own that this one does not have, as RabbitMQ's for its log.
            let is_reserved = exchange.name.starts_with("amq.");
            match exchange.import(engine, now) {
                Err(error) if is_reserved && error.kind() == ErrorKind::InvalidArgument => {
                    left_out.push(at);
                }
                imported => imported.map_err(|e| named(&at, e))?,
            }
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

/// Returns true if a value has something in it.
fn has_entries(value: &Value) -> bool {
    match value {
        Value::Object(entries) => !entries.is_empty(),
        Value::Array(entries) => !entries.is_empty(),
        Value::Null => false,
        _ => true,
    }
}

impl User {
    fn import(self, engine: &mut Engine) -> Result<(), Error> {
        let password = self.password()?;
        engine.import_user(&self.name, password);
        engine.set_user_tags(&self.name, self.tags.into_list())
    }

    /// The password. A user without one cannot log in by password, as in RabbitMQ.
    fn password(&self) -> Result<Password, Error> {
        if let Some(password) = &self.password {
            return Ok(Password::Plain(password.clone()));
        }
        let hash = self.password_hash.as_deref().unwrap_or_default();
        password::hashed(hash, self.hashing_algorithm.as_deref())
    }
}

impl Default for Tags {
    fn default() -> Self {
        Self::List(Vec::new())
    }
}

impl Tags {
    fn into_list(self) -> Vec<String> {
        match self {
            Self::List(tags) => tags,
            Self::Text(tags) => {
                let tags = tags.split(',').map(|tag| tag.trim().to_owned());
                tags.filter(|tag| !tag.is_empty()).collect()
            }
        }
    }
}

impl Vhost {
    fn import(self, engine: &mut Engine) -> Result<(), Error> {
        let name: VirtualHost = self.name.into_checked()?;
        engine.add_vhost(name.clone());
        let (description, tags) = (
            self.description.description.or(self.metadata.description),
            self.description.tags.or(self.metadata.tags),
        );
        if description.is_none() && tags.is_none() {
            return Ok(());
        }
        let metadata = VirtualHostMetadata {
            description: description.unwrap_or_default(),
            tags: tags.unwrap_or_default().into_list(),
        };
        engine.describe_vhost(&name, metadata)
    }

    /// The type of queues that name none, if it is another than classic.
    fn other_queue_type(&self) -> Option<&str> {
        let kinds = [&self.description, &self.metadata].into_iter();
        let mut kinds = kinds.filter_map(|of| of.default_queue_type.as_deref());
        kinds.find(|kind| !matches!(*kind, "" | "classic" | "undefined"))
    }
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
            Some(name) => name.parse()?,
            None => ApplyTo::All,
        };
        let policy = Policy::new(&self.pattern, &table_from(self.definition)?)?;
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
            arguments: table_from(self.arguments)?,
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
            arguments: table_from(self.arguments)?,
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
            arguments: table_from(self.arguments)?,
        };
        engine.import_binding(now, &self.vhost.into_checked()?, binding)
    }
}

fn named(object: &str, error: Error) -> Error {
    Error::new(error.kind(), format!("{object}: {error}")).with_source(error)
}
