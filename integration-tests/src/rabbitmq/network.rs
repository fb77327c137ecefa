//! The network between one client and RabbitMQ: a proxy.

use std::net::SocketAddr;

use async_trait::async_trait;
use mooq_conformance::Condition;
use mooq_conformance::line::{ClientNetwork, Disturbance, Disturbed};
use mooq_rig::proxy::{LineState, Proxy};

/// A network that leads through a proxy.
#[derive(Debug)]
pub(super) struct BehindProxy(Proxy);

impl BehindProxy {
    /// A network to this port of this machine.
    pub(super) fn to(port: u16) -> Self {
        Self(Proxy::to(SocketAddr::from(([127, 0, 0, 1], port))))
    }
}

impl ClientNetwork for BehindProxy {
    fn port(&self) -> Option<u16> {
        Some(self.0.port())
    }

    fn cut(&self, _: &str) {
        self.0.set(LineState::Cut);
    }

    fn disturb(&self, how: Disturbance) -> Box<dyn Disturbed + '_> {
        self.0.set(match how {
            Disturbance::LoseConfirm => LineState::Unanswered,
            Disturbance::LoseAck => LineState::Unheard,
            Disturbance::Slow(delay) => LineState::Slow(delay),
            Disturbance::Down => LineState::Cut,
            other => panic!("the proxy does not support {other:?}"),
        });
        Box::new(ProxyDisturbed(&self.0))
    }

    /// A proxy that was cut takes no connections.
    fn refuse_connections(&self) -> Option<Box<dyn Condition>> {
        None
    }
}

/// A proxy that loses or delays frames.
#[derive(Debug)]
struct ProxyDisturbed<'a>(&'a Proxy);

#[async_trait]
impl Disturbed for ProxyDisturbed<'_> {
    async fn cut(&self) {
        self.0.set(LineState::Cut);
    }

    fn end(self: Box<Self>) {
        self.0.set(LineState::Sound);
    }
}
