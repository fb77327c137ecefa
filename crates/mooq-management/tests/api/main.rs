//! The API over a socket: status codes, logins, bodies, and effects on the broker that clients see.

// A failed expectation is meant to panic.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod access;
mod definitions;
mod messages;
mod requests;
mod topology;

use mooq_management::{ListenManagement, ManagementServer};
use mooq_memory::{InMemoryBroker, Profile};
use mooq_rig::management::{Answer, Management, Method};
use serde_json::Value;

/// A broker with its API.
struct Served {
    broker: InMemoryBroker,
    server: ManagementServer,
    http: Management,
}

impl Served {
    async fn start() -> Self {
        Self::start_as(Profile::V4_0).await
    }

    async fn start_as(profile: Profile) -> Self {
        let broker = InMemoryBroker::start_as(profile);
        let server = broker.listen_management("127.0.0.1:0").await.unwrap();
        let http = Management::behind(server.address().port());
        Self {
            broker,
            server,
            http,
        }
    }

    async fn get(&self, path: &str) -> Value {
        let answer = self.ask(Method::GET, path, "").await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        answer.json()
    }

    async fn ask(&self, method: Method, path: &str, body: &str) -> Answer {
        self.http.ask(method, path, body).await
    }

    async fn put(&self, path: &str, body: &Value) -> u16 {
        self.ask(Method::PUT, path, &body.to_string()).await.status
    }

    async fn post(&self, path: &str, body: &Value) -> Answer {
        self.ask(Method::POST, path, &body.to_string()).await
    }
}
