//! The in-memory broker as a state machine: synchronous, deterministic, without clock, I/O or
//! randomness.
//!
//! The caller passes in commands and the time, and then carries out the effects:
//!
//! 1. [`Engine::open_connection`] logs a client in. [`Engine::handle`] takes a [`Command`]: a
//!    method that a client sends on one of its channels.
//! 2. [`Engine::poll_effect`] returns the effects one by one, until none are left. Effects come in
//!    the order in which the broker sends them. Deliveries that a method brings about come after
//!    the method's reply if the method starts them (`basic.consume`), and before the reply if they
//!    result from what the method ends (`channel.close`). Two effects on one channel never change
//!    places.
//! 3. [`Engine::next_deadline`] returns the time at which something happens by itself.
//!    [`Engine::advance`] then makes that happen, and there are effects again.
//! 4. With a seed in the [`Options`], items in transit inside the broker take their time: while
//!    [`Engine::is_under_way`] returns true, [`Engine::carry_on`] lets one more item arrive. So do
//!    dead letters that circle between queues, with a seed and without.
//!
//! The same calls give the same effects. Time never goes back: a time earlier than the latest one
//! so far counts as the latest one.
//!
//! ```
//! use mooq_core::{Message, Publish, QueueDeclare};
//! use mooq_engine::{Command, Effect, Engine, Login, Method, Options, Reply, Time};
//!
//! let mut engine = Engine::new(Options::default());
//! let connection = engine.open_connection(Time::START, Login::default()).unwrap();
//! for method in [
//!     Method::ChannelOpen,
//!     Method::QueueDeclare(QueueDeclare::new("orders".try_into()?)),
//!     Method::BasicPublish(Publish::new(Message {
//!         exchange: "".try_into()?,
//!         routing_key: "orders".try_into()?,
//!         properties: Default::default(),
//!         body: "one book".into(),
//!     })),
//!     Method::BasicGet { queue: "orders".try_into()?, no_ack: true },
//! ] {
//!     engine.handle(Time::START, Command { connection, channel: 1, method });
//! }
//! let last = std::iter::from_fn(|| engine.poll_effect()).last();
//! let Some(Effect::Reply { reply: Reply::Fetched(Some(fetched)), .. }) = last else { panic!() };
//! assert_eq!(fetched.message.body, "one book");
//! # Ok::<(), mooq_core::Error>(())
//! ```
//!
//! Actions of an administrator have methods of their own: [`Engine::set_permissions`] and others.
//! So do faults: [`Engine::begin_fault`] and others.
//!
//! Layout: a file per noun (`exchange`, `queue`, `consumer`, `channel`, `connection`, `unacked`, …)
//! holds the noun's state and checks. `bindings` holds the matching of each exchange kind, `router`
//! a message's way to its queues, and `direct_reply` its way to a channel instead of a queue.
//! `validate_publish`, `publishing` and `delivery` cover a message's way in and out,
//! `classic_consumers`, `quorum_consumers` and `consumer_credit` the consumer that gets it,
//! `settling` and `requeue` its settlement, `consumer_timeouts` the time that it may stay unacked,
//! and `in_transit` the items on their way meanwhile. `faults` covers injected failures,
//! `dead_letters` dead-lettering, `queue_timer` the timers of queues, and `teardown` the end of
//! channels, connections, queues and exchanges. `methods` holds the handling of each AMQP method,
//! which uses all of these. `inspect`, `recording` and `activity` let tests look inside.

mod activity;
mod administration;
mod alarms;
mod apply_to;
mod arguments;
mod bindings;
mod channel;
mod classic_consumers;
mod client;
mod command;
mod connection;
mod consumer;
mod consumer_credit;
mod consumer_timeouts;
mod dead_letters;
mod delayed_exchange;
mod delivery;
mod deprecated;
mod direct_reply;
mod erlang;
mod exchange;
mod faults;
mod history;
mod ids;
mod import;
mod in_transit;
mod inspect;
mod limiter;
mod lookup;
mod message;
mod methods;
mod names;
mod options;
mod permission_cache;
mod permissions;
mod plugins;
mod policy;
mod profile;
mod publishing;
mod queue;
mod queue_timer;
mod quorum_consumers;
mod random;
mod recording;
mod reply_code;
mod reply_error;
mod requeue;
mod routed;
mod router;
mod settling;
mod teardown;
mod time;
mod timers;
mod unacked;
mod users;
mod validate_publish;
mod vhost;

use std::collections::{HashMap, VecDeque};

use foldhash::fast::RandomState;
use mooq_core::{ChannelEvent, CloseReason, ConnectionEvent, Error, ErrorKind};
use slotmap::SlotMap;

pub use activity::Activity;
pub use alarms::Alarm;
pub use apply_to::ApplyTo;
pub use client::{ClientDetails, ClientSocket};
pub use command::{Capabilities, Command, Effect, Login, Mechanism, Method, Reply};
pub use deprecated::DeprecatedFeatures;
pub use faults::{Fault, FaultId, Scope};
pub use ids::{ConnectionId, RecordingId, TimelineId};
pub use inspect::{
    BindingInfo, ChannelInfo, ConnectionInfo, ConsumerInfo, ExchangeInfo, PermissionsInfo,
    PolicyInfo, QueueDetails, QueueInfo, ReadyMessage, TopicPermissionsInfo, UnackedMessage,
    UserInfo, VirtualHostInfo,
};
pub use options::Options;
pub use permissions::Permissions;
pub use plugins::Plugin;
pub use policy::Policy;
pub use profile::Profile;
pub use queue::kind::QueueType;
pub use queue::tally::QueueTally;
pub use recording::{
    DeadLetterReason, Log, MessageExcerpt, PublishOutcome, RecordedDeadLetter, RecordedDelivery,
    RecordedPublish, Settled, Timeline, TimelineClient, TimelineEntry, TimelineEvent,
};
pub use time::Time;
pub use users::Password;
pub use vhost::VirtualHostMetadata;

use alarms::Alarms;
use channel::{Channel, Ended};
use connection::Connection;
use consumer::Consumer;
use consumer_timeouts::Stamps;
use dead_letters::PendingDeadLetter;
use direct_reply::ReplyConsumers;
use exchange::Exchange;
use faults::Faults;
use faults::link::Links;
use ids::{ChannelId, ConsumerId, ExchangeId, MethodId, QueueId, VhostId};
use in_transit::InTransit;
use names::NameGenerator;
use queue::Queue;
use recording::Recordings;
use reply_error::ReplyError;
use router::Router;
use timers::{Due, Timers};
use users::Users;
use vhost::VirtualHost;

/// A broker's whole state. The [crate's description](self) explains how to drive it.
#[derive(Debug)]
pub struct Engine {
    options: Options,
    now: Time,
    /// True if any state depends on the time, or once did.
    keeps_time: bool,
    /// Timestamps of deliveries and channel activity otherwise.
    stamps: Stamps,
    names: NameGenerator,
    /// Items in transit from queues to channels.
    in_transit: InTransit,
    users: Users,
    vhosts: SlotMap<VhostId, VirtualHost>,
    vhosts_by_name: HashMap<mooq_core::VirtualHost, VhostId, RandomState>,
    connections: SlotMap<ConnectionId, Connection>,
    /// Number of connections opened so far, which numbers them.
    connections_opened: u64,
    channels: SlotMap<ChannelId, Channel>,
    exchanges: SlotMap<ExchangeId, Exchange>,
    queues: SlotMap<QueueId, Queue>,
    /// Number of queues declared so far, which numbers them.
    queues_declared: u64,
    consumers: SlotMap<ConsumerId, Consumer>,
    reply_consumers: ReplyConsumers,
    router: Router,
    timers: Timers,
    /// Dead letters on their way. Each is published after the operation that killed it is done.
    dead_letters: VecDeque<PendingDeadLetter>,
    /// Number of times that a consumer was blocked, which orders the blocked consumers.
    times_blocked: u64,
    /// Consumers without acknowledgements whose deliveries their channels have acknowledged to
    /// quorum queues, which do not know that yet; one entry for each delivery.
    automatic_acks: Vec<ConsumerId>,
    /// Number of consumers so far, which orders the consumers of a queue.
    subscriptions: u64,
    alarms: Alarms,
    recordings: Recordings,
    faults: Faults,
    /// Slow and frozen links between the broker and its clients.
    links: Links,
    /// Commands of connections that are no longer held up, to be handled one by one.
    unread: VecDeque<Command>,
    effects: VecDeque<Effect>,
}

/// Sender of the current command.
#[derive(Debug, Clone, Copy)]
struct Caller {
    connection: ConnectionId,
    number: u16,
    channel: ChannelId,
    vhost: VhostId,
}

impl Engine {
    /// Creates a broker with the virtual host `/` and the user `guest`, password `guest`.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let router_seed = options.seed.unwrap_or_default();
        let mut engine = Self {
            now: Time::START,
            keeps_time: false,
            stamps: Stamps::default(),
            names: NameGenerator::new(options.seed.unwrap_or_default()),
            in_transit: InTransit::new(options.seed),
            options,
            users: Users::default(),
            vhosts: SlotMap::with_key(),
            vhosts_by_name: HashMap::default(),
            connections: SlotMap::with_key(),
            connections_opened: 0,
            channels: SlotMap::with_key(),
            exchanges: SlotMap::with_key(),
            queues: SlotMap::with_key(),
            queues_declared: 0,
            consumers: SlotMap::with_key(),
            reply_consumers: HashMap::default(),
            router: Router::new(router_seed),
            timers: Timers::default(),
            dead_letters: VecDeque::new(),
            times_blocked: 0,
            automatic_acks: Vec::new(),
            subscriptions: 0,
            alarms: Alarms::default(),
            faults: Faults::default(),
            links: Links::default(),
            recordings: Recordings::default(),
            unread: VecDeque::new(),
            effects: VecDeque::new(),
        };
        engine.add_vhost(mooq_core::VirtualHost::root());
        for vhost in engine.vhosts.values_mut() {
            vhost.metadata.description = "Default virtual host".into();
        }
        engine
    }

    /// Returns the options that the broker was created with.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Returns the number of channels that a connection may have, as agreed with each client.
    #[must_use]
    pub fn channel_max(&self) -> u16 {
        self.options.channel_max
    }

    /// Checks a client's name and password, as RabbitMQ does at `connection.start-ok`: before the
    /// client names a virtual host. With [`Mechanism::External`] the user needs no password.
    ///
    /// # Errors
    /// The reason with which the broker closes the connection: 403.
    pub fn authenticate(
        &mut self,
        mechanism: Mechanism,
        credentials: &mooq_core::Credentials,
        connection_name: Option<&str>,
    ) -> Result<(), CloseReason> {
        if !self.strike_login(connection_name) && self.users.check(mechanism, credentials) {
            return Ok(());
        }
        let refusal = ReplyError::login_refused(mechanism);
        Err(self.refuse_login(connection_name, refusal, MethodId::NONE))
    }

    fn refuse_login(
        &mut self,
        connection_name: Option<&str>,
        refusal: ReplyError,
        method: MethodId,
    ) -> CloseReason {
        let reason = refusal.into_reason(method);
        self.note_refused_login(connection_name, &reason);
        reason
    }

    /// Logs a client in: `connection.start-ok` to `connection.open-ok`.
    ///
    /// # Errors
    /// The reason with which the broker closes the connection: 403 for a user or password that the
    /// broker does not know, 530 for a virtual host that does not exist or is closed to the user.
    pub fn open_connection(
        &mut self,
        now: Time,
        login: Login,
    ) -> Result<ConnectionId, CloseReason> {
        let name = login.connection_name.as_deref();
        self.authenticate(Mechanism::Plain, &login.credentials, name)?;
        self.open_authenticated(now, login)
    }

    /// Opens the connection of a client that [was authenticated](Self::authenticate):
    /// `connection.open`.
    ///
    /// # Errors
    /// The reason with which the broker closes the connection: 530 for a virtual host that does
    /// not exist or is closed to the user.
    pub fn open_authenticated(
        &mut self,
        now: Time,
        login: Login,
    ) -> Result<ConnectionId, CloseReason> {
        self.advance(now);
        let name = login.vhost.unwrap_or_else(mooq_core::VirtualHost::root);
        let Some(&vhost) = self.vhosts_by_name.get(&name) else {
            let refusal = ReplyError::not_allowed(format!("vhost {name} not found"));
            let client = login.connection_name.as_deref();
            return Err(self.refuse_login(client, refusal, MethodId::CONNECTION_OPEN));
        };
        let username = login.credentials.username;
        let permissions = self.users.permissions(&username, &name);
        let Some(permissions) = permissions.filter(|of| !of.are_cleared()) else {
            let refusal = ReplyError::not_allowed(format!(
                "access to vhost '{name}' refused for user '{username}'"
            ));
            let client = login.connection_name.as_deref();
            return Err(self.refuse_login(client, refusal, MethodId::CONNECTION_OPEN));
        };
        let name = login.connection_name;
        let mut connection =
            Connection::new(vhost, username, name, permissions, login.capabilities);
        connection.channel_max = login.channel_max.unwrap_or(self.options.channel_max);
        connection.client = login.client;
        Ok(self.add_connection(connection))
    }

    fn add_connection(&mut self, mut connection: Connection) -> ConnectionId {
        self.connections_opened += 1;
        connection.number = self.connections_opened;
        connection.opened = self.now;
        let id = self.connections.insert(connection);
        self.note_opened(id);
        self.adapt_links();
        id
    }

    /// Returns true if the time at which the engine gets this method makes a difference. If it
    /// makes none, the time of an earlier call will do: reading a clock costs as much as
    /// acknowledging a message.
    #[must_use]
    pub fn needs_time(&self, method: &Method) -> bool {
        match method {
            _ if self.links.keep_time() => true,
            Method::BasicPublish(publish) => {
                self.keeps_time
                    || self.stamps.want_time()
                    || publish.message.properties.expiration.is_some()
            }
            Method::BasicSettle(_) => self.keeps_time || self.stamps.want_time(),
            _ => true,
        }
    }

    /// Takes a method from a client. [`Self::poll_effect`] then returns the method's effects. A
    /// method on a closed connection has no effects.
    pub fn handle(&mut self, now: Time, command: Command) {
        self.advance(now);
        self.use_stamp(&command.method);
        while let Some(unread) = self.unread.pop_front() {
            self.read(unread);
        }
        self.read(command);
    }

    fn read(&mut self, command: Command) {
        if let Some(command) = self.leave_unread(command) {
            self.perform(command);
        }
    }

    fn perform(&mut self, command: Command) {
        let Command {
            connection,
            channel: number,
            method,
        } = command;
        let Some(open) = self.connections.get(connection) else {
            return;
        };
        if matches!(method, Method::ConnectionClose) {
            self.note(connection, 0, || TimelineEvent::ConnectionClosed {
                reason: None,
            });
            self.end_connection(connection);
            self.finish();
            self.reply(connection, number, Reply::Done);
            return;
        }
        if matches!(method, Method::UpdateSecret) {
            self.update_secret(connection, number);
            return;
        }
        if let Method::Refuse { reason } = method {
            self.refuse(connection, reason);
            return;
        }
        let caller = open.channel(number).map(|channel| Caller {
            connection,
            number,
            channel,
            vhost: open.vhost,
        });
        let id = method.id();
        let mut overtaken = None;
        if let Some(caller) = caller
            && !matches!(method, Method::BasicPublish(_) | Method::BasicSettle(_))
        {
            if let Method::BasicCancel { tag } = &method {
                overtaken = self.overtake(caller.channel, tag);
            }
            self.await_channel(caller.channel);
        }
        let is_closing = caller.is_some_and(|caller| self.touch_channel(caller.channel));
        let noted = self.note_request(connection, number, &method);
        let outcome = match caller {
            None => self.open_channel(connection, number, &method),
            Some(caller) if is_closing => self.handle_while_closing(caller, &method),
            Some(caller) => self.dispatch(caller, method),
        };
        self.note_outcome(connection, number, noted, &outcome);
        match outcome {
            Ok(reply) => {
                if let Some(reply) = reply {
                    self.reply(connection, number, reply);
                }
            }
            Err(error) => self.fail(connection, caller, error, id),
        }
        if let Some(overtaken) = overtaken {
            self.send_back(overtaken);
        }
        self.finish();
        self.perhaps_carry_on();
    }

    /// Takes a client's new secret. As in RabbitMQ, the passwords of the broker's own users do not
    /// expire, and any secret will do; a fault stands for a service that refuses it.
    fn update_secret(&mut self, connection: ConnectionId, number: u16) {
        let name = self
            .connections
            .get(connection)
            .and_then(|open| open.name.clone());
        if self.strike_login(name.as_deref()) {
            let refusal = ReplyError::not_allowed("New secret was refused by one of the backends");
            self.fail(connection, None, refusal, MethodId::UPDATE_SECRET);
            self.finish();
        } else {
            self.reply(connection, number, Reply::Done);
        }
    }

    /// Returns the next effect of the last calls, if any is left.
    #[inline]
    pub fn poll_effect(&mut self) -> Option<Effect> {
        if self.links.are_good() && self.unread.is_empty() {
            return self.effects.pop_front();
        }
        self.poll_what_was_held_up()
    }

    /// Implements [`Self::poll_effect`] where something is or was held up, which is rare.
    fn poll_what_was_held_up(&mut self) -> Option<Effect> {
        loop {
            if let Some(effect) = self.links.next_arrived() {
                return Some(effect);
            }
            if let Some(effect) = self.effects.pop_front() {
                if let Some(effect) = self.links.hold_up(self.now, effect) {
                    return Some(effect);
                }
            } else {
                let unread = self.unread.pop_front()?;
                self.read(unread);
            }
        }
    }

    /// Returns the time at which something next happens by itself, if ever. The returned time may
    /// be too early, but never too late.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Time> {
        match (self.timers.next(), self.links.next_arrival()) {
            (Some(wake), Some(arrival)) => Some(wake.min(arrival)),
            (wake, arrival) => wake.or(arrival),
        }
    }

    /// Lets time pass up to `now`. Everything that happens meanwhile happens in order and at its
    /// own time, however late this call comes: a message that expires begins to wait in its next
    /// queue at the time of its expiry.
    pub fn advance(&mut self, now: Time) {
        let now = self.now.max(now);
        if self.links.keep_time() {
            self.links.advance(now);
        }
        while let Some((at, due)) = self.timers.pop_due(now) {
            self.now = self.now.max(at);
            match due {
                Due::Queue(queue) => self.wake_queue(queue, at),
                Due::Exchange(exchange) => self.release_delayed(exchange, at),
                Due::Channel(channel) => self.tick_channel(channel, at),
                Due::Stamps => self.renew_stamps(),
            }
            self.finish();
        }
        self.now = now;
    }

    /// Closes every connection, as a broker that shuts down does.
    pub fn shut_down(&mut self, now: Time) {
        self.advance(now);
        self.note_of_broker(|| TimelineEvent::Stopped);
        self.close_connections(
            |_| true,
            |_| "broker forced connection closure with reason 'shutdown'".into(),
        );
        self.finish();
    }

    /// Closes the channel or the connection on which a method failed. Consumers are cancelled and
    /// deliveries are requeued before the client is notified.
    fn fail(
        &mut self,
        connection: ConnectionId,
        caller: Option<Caller>,
        error: ReplyError,
        method: MethodId,
    ) {
        let error = error.or_crash(self.options.profile);
        let is_hard = error.code.is_hard();
        let reason = error.into_reason(method);
        match caller {
            Some(caller) if !is_hard => {
                self.note_close(connection, caller.number, &reason);
                self.end_channel(caller.channel, Ended::Failed, Settled::ChannelClosed);
                self.effects.push_back(Effect::Channel {
                    connection,
                    channel: caller.number,
                    event: ChannelEvent::Closed(Error::channel_closed(reason)),
                });
            }
            _ => {
                self.note_close(connection, 0, &reason);
                self.end_connection(connection);
                self.effects.push_back(Effect::Connection {
                    connection,
                    event: ConnectionEvent::Closed(Error::connection_closed(reason)),
                });
            }
        }
    }

    /// Closes a connection for a reason that mooq-server has found.
    fn refuse(&mut self, connection: ConnectionId, reason: Option<CloseReason>) {
        match &reason {
            Some(reason) => self.note_close(connection, 0, reason),
            None => self.note(connection, 0, || TimelineEvent::ConnectionLost),
        }
        self.end_connection(connection);
        let why = match reason {
            Some(reason) => Error::connection_closed(reason),
            None => Error::connection(
                ErrorKind::ConnectionLost,
                "the broker hung up on malformed input",
            ),
        };
        self.effects.push_back(Effect::Connection {
            connection,
            event: ConnectionEvent::Closed(why),
        });
        self.finish();
    }

    fn reply(&mut self, connection: ConnectionId, channel: u16, reply: Reply) {
        self.effects.push_back(Effect::Reply {
            connection,
            channel,
            reply,
        });
    }
}
