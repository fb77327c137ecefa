//! Every scenario on RabbitMQ in a container.

use std::process::ExitCode;

use mooq_conformance::{Backend, Version, suite};
use mooq_integration_tests::rabbitmq::RabbitMq;
use mooq_integration_tests::rabbitmq::container::{self, Image};

fn main() -> ExitCode {
    let arguments = suite::arguments();
    let will_run = (arguments.include_ignored || arguments.ignored) && !arguments.list;
    suite::main_with(&arguments, backends(will_run))
}

/// RabbitMQ from each image, one for each version. Docker reports the version only if a test will
/// run: for a list, or ignored tests, the names of the images give the version.
fn backends(will_run: bool) -> Vec<Box<dyn Backend>> {
    let mut backends: Vec<Box<dyn Backend>> = Vec::new();
    for (meant, image) in [
        (Version::V4_0, Image::current()),
        (Version::V3_10, Image::v3_10()),
        (Version::V4_3, Image::v4_3()),
    ] {
        let version = if will_run {
            container::version(&image)
        } else {
            meant
        };
        if backends.iter().all(|other| other.version() != version) {
            backends.push(Box::new(RabbitMq::new(version, image)));
        }
    }
    backends
}
