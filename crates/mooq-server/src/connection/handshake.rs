//! Negotiation before a connection is open: properties, limits, credentials.

use std::time::Duration;

use mooq_core::{Credentials, FieldTable, FieldValue, ShortString};
use mooq_engine::{Capabilities, ClientDetails, Mechanism};
use mooq_memory::Profile;
use mooq_wire::method::{ConnectionStart, ConnectionStartOk, ConnectionTune, ConnectionTuneOk};

use super::Settings;
use super::sasl::{self, External};

/// The broker's extensions, as every RabbitMQ since 3.10 lists them.
const CAPABILITIES: [&str; 9] = [
    "publisher_confirms",
    "exchange_exchange_bindings",
    "basic.nack",
    "consumer_cancel_notify",
    "connection.blocked",
    "consumer_priorities",
    "authentication_failure_close",
    "per_consumer_qos",
    "direct_reply_to",
];

/// The limits that the server proposes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Proposal {
    pub(crate) channel_max: u16,
    pub(crate) frame_max: u32,
    pub(crate) heartbeat: Duration,
}

/// A client's properties and credentials.
#[derive(Debug)]
pub(super) struct Client {
    /// The client's credentials. `None` if it cannot log in: its mechanism is unknown, or its
    /// response malformed.
    pub(super) credentials: Option<(Mechanism, Credentials)>,
    pub(super) connection_name: Option<ShortString>,
    pub(super) capabilities: Capabilities,
    /// True if the client wants to receive the reason of a refused login.
    pub(super) authentication_failure_close: bool,
    /// The number of channels that was agreed, once it was. `None` for no limit.
    pub(super) channel_max: Option<u16>,
    /// Details for listings.
    pub(super) details: ClientDetails,
}

/// The limits that were agreed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tuned {
    pub(super) frame_max: u32,
    /// Number of channels. `None` for no limit.
    pub(super) channel_max: Option<u16>,
    /// Interval of heartbeats. `None` for no heartbeats.
    pub(super) heartbeat: Option<Duration>,
}

/// `connection.start`.
pub(super) fn start(profile: Profile, external: &External) -> ConnectionStart {
    let capabilities = CAPABILITIES.into_iter();
    let capabilities = capabilities.map(|name| (text(name), FieldValue::Bool(true)));
    let properties = [
        ("capabilities", FieldValue::Table(capabilities.collect())),
        ("cluster_name", "rabbit@mooq".into()),
        ("copyright", "The in-memory broker of mooq".into()),
        ("information", "Behaves as RabbitMQ does, for tests".into()),
        (
            "platform",
            concat!("mooq ", env!("CARGO_PKG_VERSION")).into(),
        ),
        // Clients use these two to find out the broker's features.
        ("product", "RabbitMQ".into()),
        ("version", profile.server_version().into()),
    ];
    let properties = properties.into_iter();
    ConnectionStart {
        version_major: 0,
        version_minor: 9,
        server_properties: properties.map(|(key, value)| (text(key), value)).collect(),
        mechanisms: sasl::mechanisms(profile, external).into(),
        locales: "en_US".into(),
    }
}

/// A short string. None of this module's strings is over 255 bytes.
fn text(text: &str) -> ShortString {
    ShortString::try_from(text).unwrap_or_default()
}

/// Reads `connection.start-ok`.
pub(super) fn client(
    start_ok: &ConnectionStartOk,
    settings: Settings,
    external: &External,
) -> Client {
    let properties = &start_ok.client_properties;
    let has = |name| match properties.get("capabilities") {
        Some(FieldValue::Table(capabilities)) => {
            capabilities.get(name) == Some(&FieldValue::Bool(true))
        }
        _ => false,
    };
    let capabilities = Capabilities {
        consumer_cancel_notify: has("consumer_cancel_notify"),
        connection_blocked: has("connection.blocked"),
    };
    let profile = settings.profile;
    let credentials = sasl::credentials(&start_ok.mechanism, &start_ok.response, profile, external);
    let mut details = ClientDetails::default();
    details.properties = properties.clone();
    details.socket = settings.socket;
    if let Some((mechanism, _)) = &credentials {
        details.mechanism = *mechanism;
    }
    Client {
        credentials,
        connection_name: connection_name(properties),
        capabilities,
        authentication_failure_close: has("authentication_failure_close"),
        channel_max: None,
        details,
    }
}

/// The name that a client gives its connection. A name over 255 bytes is cut.
fn connection_name(properties: &FieldTable) -> Option<ShortString> {
    let name = properties.get("connection_name")?.as_str()?;
    let mut end = name.len().min(255);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    ShortString::try_from(&name[..end]).ok()
}

/// `connection.tune`.
pub(super) fn tune(proposal: Proposal) -> ConnectionTune {
    ConnectionTune {
        channel_max: proposal.channel_max,
        frame_max: proposal.frame_max,
        heartbeat: u16::try_from(proposal.heartbeat.as_secs()).unwrap_or(u16::MAX),
    }
}

/// Checks the limits that a client has chosen. Returns `None` if they exceed the proposal: 0 stands
/// for no limit, which exceeds any limit. Returns `None` as well for frames that are too short.
pub(super) fn check(
    chosen: &ConnectionTuneOk,
    proposal: Proposal,
    profile: Profile,
) -> Option<Tuned> {
    let within = |chosen: u32, limit: u32| limit == 0 || (1..=limit).contains(&chosen);
    let fits = within(chosen.frame_max, proposal.frame_max)
        && within(chosen.channel_max.into(), proposal.channel_max.into())
        && (chosen.frame_max == 0 || chosen.frame_max >= profile.min_frame_max());
    fits.then(|| Tuned {
        frame_max: match chosen.frame_max {
            0 => u32::MAX,
            chosen => chosen,
        },
        channel_max: Some(chosen.channel_max).filter(|max| *max > 0),
        heartbeat: match chosen.heartbeat {
            0 => None,
            seconds => Some(Duration::from_secs(seconds.into())),
        },
    })
}
