//! A virtual host of a test's own.

use std::process;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use mooq_core::Result;

use super::management::Management;
use super::server;
use crate::choice::Choice;

/// A virtual host, deleted when this is dropped.
#[derive(Debug)]
pub(crate) struct OwnVhost {
    management: Management,
    name: String,
    url: String,
    deleted: AtomicBool,
}

impl OwnVhost {
    /// Makes one for the test of this name, on the RabbitMQ that was chosen.
    pub(crate) fn create(choice: &Choice, test: &str) -> Result<Self> {
        let server = server::of(choice)?;
        let name = name_for(test);
        server.management().add_vhost(&name)?;
        Ok(Self {
            management: server.management().clone(),
            url: server.url_of(&name),
            name,
            deleted: AtomicBool::new(false),
        })
    }

    /// Where it is, with user and password.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Deletes it, with its connections.
    pub(crate) fn delete(&self) {
        if self.deleted.swap(true, Ordering::Relaxed) {
            return;
        }
        // The test has ended: that it left something behind is no failure of its.
        if let Err(err) = self.management.delete_vhost(&self.name) {
            eprintln!("virtual host '{}' is left behind: {err}", self.name);
        }
    }
}

impl Drop for OwnVhost {
    fn drop(&mut self) {
        self.delete();
    }
}

/// A name that no other process and no other test has, with letters alone that need no escape.
fn name_for(test: &str) -> String {
    /// With what comes before it, below the 255 bytes that a name may have.
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
    fn names_differ_and_fit() {
        let long = "tests::ä".repeat(100);
        let (one, other) = (name_for(&long), name_for(&long));
        assert_ne!(one, other);
        assert!(one.len() < 255 && one.contains("-tests---"), "{one}");
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
        assert!(one.chars().all(plain), "{one}");
    }
}
