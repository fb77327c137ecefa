//! RabbitMQ in containers, for scenarios to run on.

mod conditions;
pub mod container;
mod control;
mod ctl;
mod evaluator;
mod management;
mod network;

use std::sync::{Arc, OnceLock};

use mooq_conformance::{Backend, Broker, Version};
use mooq_core::Transport;
use mooq_rabbit::{NativeTransport, RabbitTransport};

use self::container::{Image, RabbitContainer};
pub(crate) use self::ctl::pause;

/// The transport to RabbitMQ: amqprs, or mooq-rabbit's own driver with `MOOQ_DRIVER=native`.
/// Scenarios hold over both.
#[must_use]
pub fn transport() -> Arc<dyn Transport> {
    if uses_native() {
        Arc::new(NativeTransport)
    } else {
        Arc::new(RabbitTransport)
    }
}

/// Returns true if [`transport`] is mooq-rabbit's own driver, which announces alarms.
#[must_use]
pub fn uses_native() -> bool {
    std::env::var("MOOQ_DRIVER").is_ok_and(|driver| driver == "native")
}

/// RabbitMQ of one image. The first scenario starts its container, all share it, and a drop removes
/// it.
#[derive(Debug)]
pub struct RabbitMq {
    version: Version,
    image: Image,
    /// Lines of RabbitMQ's configuration.
    settings: &'static str,
    /// The container, or its error: a failed start is not repeated, or every scenario would wait
    /// for it in turn.
    container: OnceLock<Result<Arc<RabbitContainer>, String>>,
}

impl RabbitMq {
    /// RabbitMQ from an image that holds this version.
    #[must_use]
    pub fn new(version: Version, image: Image) -> Self {
        Self::with_settings(version, image, "")
    }

    /// RabbitMQ from an image, with lines in its configuration.
    #[must_use]
    pub fn with_settings(version: Version, image: Image, settings: &'static str) -> Self {
        Self {
            version,
            image,
            settings,
            container: OnceLock::new(),
        }
    }
}

impl Backend for RabbitMq {
    fn version(&self) -> Version {
        self.version
    }

    fn broker(&self, _: &str, _: bool) -> Arc<dyn Broker> {
        let container = self.container.get_or_init(|| {
            // The feature is permitted, as in memory. Debian's packages permit it by default.
            let permitted = if self.version >= Version::V4_3 {
                "deprecated_features.permit.transient_nonexcl_queues = true\n"
            } else {
                ""
            };
            let settings = format!("{}{permitted}", self.settings);
            RabbitContainer::start_with(&self.image, self.version, &settings).map(Arc::new)
        });
        match container {
            Ok(container) => Arc::clone(container) as Arc<dyn Broker>,
            Err(reason) => panic!("{reason}"),
        }
    }

    fn needs(&self) -> Option<&str> {
        Some("Docker: integration-tests/run-all")
    }
}
