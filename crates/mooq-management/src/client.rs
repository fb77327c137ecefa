//! AMQP methods on behalf of a user: what a request declares, publishes or fetches goes the way of
//! every client, with the user's permissions.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::time::Duration;

use mooq_core::{ChannelEvent, CloseReason, ConnectionEvent, Credentials, VirtualHost};
use mooq_engine::{ClientDetails, Effect, Login, Method, Reply};
use mooq_memory::{LoginRefused, ProtocolConnection};
use tokio::time::timeout;

use crate::access::{Api, Caller};
use crate::failure::Failure;

/// The client's only channel.
const CHANNEL: u16 = 1;

/// Time limit for an answer of the broker. Only a slow link, which is a fault, takes any time.
const LIMIT: Duration = Duration::from_secs(30);

/// A connection with one channel, which is closed when this is dropped.
#[derive(Debug)]
pub(crate) struct Client {
    connection: ProtocolConnection,
    effects: VecDeque<Effect>,
}

/// A method that did not succeed.
#[derive(Debug)]
pub(crate) enum Refused {
    /// The broker closed the channel or the connection for this reason.
    ByBroker(CloseReason),
    /// There was no answer.
    Unanswered(Failure),
}

impl Refused {
    /// The failure of a request that stands for the method.
    pub(crate) fn of_method(self) -> Failure {
        match self {
            Self::ByBroker(reason) => Failure::of_method(&reason),
            Self::Unanswered(failure) => failure,
        }
    }
}

impl Client {
    /// Logs a user in to a virtual host.
    pub(crate) async fn open(
        api: &Api,
        caller: &Caller,
        vhost: &VirtualHost,
    ) -> Result<Self, Failure> {
        let mut client = ClientDetails::default();
        client.internal = true;
        let login = Login {
            credentials: Credentials::new(caller.name.clone(), ""),
            vhost: Some(vhost.clone()),
            client,
            ..Login::default()
        };
        let opened = api.broker.open_protocol_connection(login);
        let connection = opened.map_err(|refused| match refused {
            LoginRefused::Closed(reason) => Failure::of_method(&reason),
            _ => Failure::unavailable("the broker is not running"),
        })?;
        let mut client = Self {
            connection,
            effects: VecDeque::new(),
        };
        client
            .call(Method::ChannelOpen)
            .await
            .map_err(Refused::of_method)?;
        Ok(client)
    }

    /// Sends a method, and waits for its reply.
    pub(crate) async fn call(&mut self, method: Method) -> Result<Reply, Refused> {
        self.send(method);
        loop {
            if let Effect::Reply { reply, .. } = self.next().await? {
                return Ok(reply);
            }
        }
    }

    /// Sends a method that has no reply.
    pub(crate) fn send(&mut self, method: Method) {
        self.connection.send([(CHANNEL, method)]);
    }

    /// Waits for the broker's next effect, other than the end of the channel or the connection.
    pub(crate) async fn next(&mut self) -> Result<Effect, Refused> {
        if self.effects.is_empty() {
            let (connection, effects) = (&mut self.connection, &mut self.effects);
            let news = poll_fn(|cx| connection.poll_effects(cx, effects));
            if timeout(LIMIT, news).await.is_err() {
                let late = format!("the broker did not answer within {LIMIT:?}");
                return Err(Refused::Unanswered(Failure::unavailable(late)));
            }
        }
        let lost = || Refused::Unanswered(Failure::unavailable("the broker was stopped"));
        let effect = self.effects.pop_front().ok_or_else(lost)?;
        let closed = match &effect {
            Effect::Channel {
                event: ChannelEvent::Closed(why),
                ..
            }
            | Effect::Connection {
                event: ConnectionEvent::Closed(why),
                ..
            } => why.reason().cloned(),
            _ => return Ok(effect),
        };
        Err(closed.map_or_else(lost, Refused::ByBroker))
    }
}

/// Carries out one method in a virtual host.
pub(crate) async fn perform(
    api: &Api,
    caller: &Caller,
    vhost: &VirtualHost,
    method: Method,
) -> Result<Reply, Failure> {
    let mut client = Client::open(api, caller, vhost).await?;
    client.call(method).await.map_err(Refused::of_method)
}
