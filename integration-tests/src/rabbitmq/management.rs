//! The management plugin of a RabbitMQ in a container, and other access to that container.

use std::sync::Arc;

use mooq_rig::management;
use tokio::sync::Mutex;

use super::evaluator::Evaluator;

/// A RabbitMQ in a container, and its management plugin.
#[derive(Debug, Clone)]
pub(super) struct Management {
    container: String,
    api: management::Management,
    evaluator: Evaluator,
    /// A lock around changes of policies. RabbitMQ reads all policies first and then updates the
    /// queues, so of two changes at a time the older reading may win, and a queue miss a policy
    /// that is set (`update_matched_objects` in `rabbit_policy`).
    policies: Arc<Mutex<()>>,
}

impl Management {
    /// The plugin behind a port of this machine, of the RabbitMQ in the container with this id, and
    /// the evaluator in it.
    pub(super) fn of(container: impl Into<String>, port: u16, evaluator: Evaluator) -> Self {
        Self {
            container: container.into(),
            api: management::Management::behind(port),
            evaluator,
            policies: Arc::default(),
        }
    }

    /// The plugin's URL.
    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.api.port())
    }

    pub(super) fn container(&self) -> &str {
        &self.container
    }

    pub(super) fn evaluator(&self) -> &Evaluator {
        &self.evaluator
    }

    /// Evaluates an Erlang expression in RabbitMQ.
    pub(super) async fn evaluate(&self, expression: &str) -> String {
        self.evaluator.evaluate(&self.container, expression).await
    }

    /// Sends a PUT request, which must succeed.
    pub(super) async fn put(&self, path: &[&str], value: serde_json::Value) {
        self.api.put(path, &value).await;
    }

    /// Sends a DELETE request, which must find its target.
    pub(super) async fn delete(&self, path: &[&str]) {
        self.api.delete(path).await;
    }

    /// Sets a policy or an operator policy, which must succeed.
    pub(super) async fn put_policy(&self, path: &[&str], policy: serde_json::Value) {
        let _turn = self.policies.lock().await;
        self.put(path, policy).await;
    }

    /// Clears a policy or an operator policy, which must exist.
    pub(super) async fn delete_policy(&self, path: &[&str]) {
        let _turn = self.policies.lock().await;
        self.delete(path).await;
    }
}
