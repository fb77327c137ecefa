//! A virtual host of a test's own.

use std::process;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use mooq_core::{Error, ErrorKind, FieldValue, Result};
use mooq_memory::{ApplyTo, Policy};
use serde_json::{Map, Value, json};

use super::management::Management;
use super::server;
use crate::choice::Choice;

/// A virtual host, deleted when it is dropped, with the users that were created for it.
#[derive(Debug)]
pub(crate) struct OwnVhost {
    management: Management,
    name: String,
    url: String,
    users: Mutex<Vec<String>>,
    deleted: AtomicBool,
}

impl OwnVhost {
    /// Creates a virtual host for the test of this name, on the chosen RabbitMQ.
    pub(crate) fn create(choice: &Choice, test: &str) -> Result<Self> {
        let server = server::of(choice)?;
        let name = name_for(test);
        server.management().add_vhost(&name)?;
        Ok(Self {
            management: server.management().clone(),
            url: server.url_of(&name),
            name,
            users: Mutex::default(),
            deleted: AtomicBool::new(false),
        })
    }

    /// URL of the virtual host, with user and password.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn set_policy(&self, name: &str, policy: &Policy) -> Result<()> {
        let definition = policy.definition().iter().map(|(key, value)| {
            let value = json_of(value).ok_or_else(|| {
                let message = format!("'{key}' of policy '{name}' is no text, number or boolean");
                Error::new(ErrorKind::InvalidArgument, message)
            })?;
            Ok((key.to_string(), value))
        });
        let policy = json!({
            "pattern": policy.pattern(),
            "definition": definition.collect::<Result<Map<_, _>>>()?,
            "priority": policy.priority_value(),
            "apply-to": match policy.applies_to() {
                ApplyTo::Queues => "queues",
                ApplyTo::Exchanges => "exchanges",
                _ => "all",
            },
        });
        self.management.set_policy(&self.name, name, &policy)
    }

    pub(crate) fn clear_policy(&self, name: &str) -> Result<()> {
        self.management.clear_policy(&self.name, name)
    }

    /// Adds a user, whose name gets a suffix that no other test's users have. The user has no
    /// permissions yet.
    pub(crate) fn add_user(&self, name: &str, password: &str) -> Result<String> {
        // All virtual hosts share their users.
        let name = format!("{name}-of-{}", self.name);
        self.users().push(name.clone());
        self.management.add_user(&name, password)?;
        Ok(name)
    }

    pub(crate) fn set_permissions(
        &self,
        user: &str,
        [configure, write, read]: [&str; 3],
    ) -> Result<()> {
        let permissions = json!({"configure": configure, "write": write, "read": read});
        self.management
            .set_permissions(&self.name, user, &permissions)
    }

    fn users(&self) -> MutexGuard<'_, Vec<String>> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Deletes the virtual host, with its connections.
    pub(crate) fn delete(&self) {
        if self.deleted.swap(true, Ordering::Relaxed) {
            return;
        }
        // The test has ended: a virtual host or user that is left behind does not fail the test.
        if let Err(err) = self.management.delete_vhost(&self.name) {
            eprintln!("virtual host '{}' is left behind: {err}", self.name);
        }
        for user in self.users().drain(..) {
            if let Err(err) = self.management.delete_user(&user) {
                eprintln!("user '{user}' is left behind: {err}");
            }
        }
    }
}

impl Drop for OwnVhost {
    fn drop(&mut self) {
        self.delete();
    }
}

fn json_of(value: &FieldValue) -> Option<Value> {
    match value {
        FieldValue::String(text) => Some(text.as_str().into()),
        FieldValue::Bool(set) => Some((*set).into()),
        other => other.as_i64().map(Value::from),
    }
}

/// Returns a name that no other process and no other test has, made of characters that need no
/// escape.
fn name_for(test: &str) -> String {
    /// Length that, with the text before it, stays below the 255 bytes that a name may have.
    const KEPT: usize = 150;
    static MADE: AtomicU64 = AtomicU64::new(1);

    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let test: String = test.chars().take(KEPT).map(plain).collect();
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let (process, n) = (process::id(), MADE.fetch_add(1, Ordering::Relaxed));
    format!("mooq-test-{:x}-{process}-{n}-{test}", now.as_micros())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vhost_names_differ_and_fit() {
        let long = "tests::ä".repeat(100);
        let (one, other) = (name_for(&long), name_for(&long));
        assert_ne!(one, other);
        assert!(one.len() < 255 && one.contains("-tests---"), "{one}");
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
        assert!(one.chars().all(plain), "{one}");
    }
}
