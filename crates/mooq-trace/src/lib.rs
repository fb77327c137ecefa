//! OpenTelemetry for mooq: spans by the [conventions for
//! messaging](https://opentelemetry.io/docs/specs/semconv/messaging/), and [W3C trace
//! context](https://www.w3.org/TR/trace-context/) in the headers of messages.
//!
//! Services use it through the facade, `mooq`, with the feature `otel`: `mooq::otel::traced`
//! connects with traces. Spans are those of the [tracing](https://docs.rs/tracing) crate; they reach OpenTelemetry through the layer of
//! [tracing-opentelemetry](https://docs.rs/tracing-opentelemetry), and without that layer no header
//! is added.
//!
//! | File | Contents |
//! |---|---|
//! | `context` | trace context in headers |
//! | `publishing` | [`TracePublishes`]: a span for each publish |
//! | `processing` | [`TraceCallbacks`]: a span for each callback |
//! | `failure` | failures on spans |
//! | `connecting` | [`Traced`] and [`trace_recovery`]: spans for connecting and recovery |

mod connecting;
mod context;
mod failure;
mod processing;
mod publishing;

use mooq_client::ConnectOptions;

pub use connecting::{Traced, trace_recovery};
pub use context::{extract, inject};
pub use processing::{TraceCallbacks, TracedCallback};
pub use publishing::{TracePublishes, TracedPublish};

/// Adds [`TraceCallbacks`] and [`TracePublishes`] to the layers of a connection.
pub fn with_layers(options: ConnectOptions) -> ConnectOptions {
    options
        .callback_layer(TraceCallbacks::default())
        .publish_layer(TracePublishes::default())
}
