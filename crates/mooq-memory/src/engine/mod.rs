//! The broker as a state machine: synchronous, deterministic, without clock, I/O or randomness.
//!
//! Whoever drives it says what happens and what time it is, and then does what follows:
//!
//! 1. [`Engine::open_connection`] logs a client in. [`Engine::handle`] takes a [`Command`]: a
//!    method that a client sends on one of its channels.
//! 2. [`Engine::poll_effect`] gives what follows, until there is nothing more. Effects come in the
//!    order in which the broker sends them: the deliveries that a method brings about come after
//!    its reply if they are of its making (`basic.consume`), and before it if they result from
//!    what it ends (`channel.close`). Two effects on one channel never change places.
//! 3. [`Engine::next_deadline`] says when something happens by itself: then [`Engine::advance`]
//!    makes it happen, and there are effects again.
//! 4. With a seed in the [`Options`], things take their time: while [`Engine::is_under_way`] says
//!    so, [`Engine::carry_on`] lets one more arrive.
//!
//! The same calls give the same effects. Time never goes back: an earlier one counts as the
//! latest one so far.
//!
//! ```
//! use mooq_core::{Message, Publish, QueueDeclare};
//! use mooq_memory::engine::{Command, Effect, Engine, Login, Method, Options, Reply, Time};
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
//! What an administrator does comes by methods of its own: [`Engine::set_permissions`] and others.
//! So does what goes wrong: [`Engine::begin_fault`] and others.
//!
//! Where things are: a file per noun (`exchange`, `queue`, `consumer`, `channel`, `connection`,
//! `ledger`, …) holds what one of them is and checks, `bindings` how each exchange kind matches,
//! `router` how a message finds its queues, `direct_reply` how it finds none and a channel instead,
//! `acceptance`, `publishing` and `delivery` how it comes in and goes out, `transit` what is on its
//! way meanwhile, `faults` what goes wrong, `unconsumed` and `endings` what becomes of the rest,
//! `methods` what each AMQP method does with all of these. `inspect`, `recording` and `activity`
//! are for tests to look.

mod acceptance;
mod activity;
mod administration;
mod alarms;
mod arena;
mod arguments;
mod bindings;
mod channel;
mod command;
mod connection;
mod consumer;
mod dead_letter;
mod death_header;
mod delivery;
mod direct_reply;
mod endings;
mod exchange;
mod faults;
mod inspect;
mod ledger;
mod limiter;
mod lookup;
mod methods;
mod names;
mod options;
mod permissions;
mod policy;
mod profile;
mod publishing;
mod queue;
mod quorum_consumers;
mod random;
mod recording;
mod reply_error;
mod router;
mod time;
mod timers;
mod transit;
mod unconsumed;
mod users;
mod vhost;

use std::collections::{HashMap, VecDeque};

use foldhash::fast::RandomState;
use mooq_core::{ChannelEvent, CloseReason, ConnectionEvent, Error};

pub use activity::Activity;
pub use alarms::Alarm;
pub use command::{Capabilities, Command, ConnectionId, Effect, Login, Method, Reply};
pub use faults::{Fault, FaultId, Scope};
pub use inspect::{
    BindingInfo, ChannelInfo, ConnectionInfo, ConsumerInfo, ExchangeInfo, QueueInfo, ReadyMessage,
    UnackedMessage,
};
pub use options::Options;
pub use permissions::Permissions;
pub use policy::{ApplyTo, Policy};
pub use profile::Profile;
pub use queue::tally::QueueTally;
pub use recording::{
    DeadLetterReason, Log, PublishOutcome, RecordedDeadLetter, RecordedDelivery, RecordedPublish,
    RecordingId, Settled,
};
pub use time::Time;

use alarms::Alarms;
use arena::{Arena, Key};
use channel::Channel;
use command::MethodId;
use connection::Connection;
use consumer::Consumer;
use direct_reply::ReplyConsumers;
use exchange::Exchange;
use faults::Faults;
use faults::link::Links;
use names::NameGenerator;
use queue::Queue;
use recording::Recordings;
use reply_error::ReplyError;
use router::Router;
use timers::Timers;
use transit::Transit;
use unconsumed::PendingDeadLetter;
use users::Users;
use vhost::VirtualHost;

/// A broker's whole state. See the [module's description](self) for how to drive it.
#[derive(Debug)]
pub struct Engine {
    options: Options,
    now: Time,
    /// Whether anything that is here depends on the time, or once did.
    keeps_time: bool,
    names: NameGenerator,
    /// What is under way from queues to channels.
    transit: Transit,
    users: Users,
    vhosts: Arena<VirtualHost>,
    vhosts_by_name: HashMap<mooq_core::VirtualHost, Key<VirtualHost>, RandomState>,
    connections: Arena<Connection>,
    /// How many connections there were, which numbers them.
    connections_opened: u64,
    channels: Arena<Channel>,
    exchanges: Arena<Exchange>,
    queues: Arena<Queue>,
    consumers: Arena<Consumer>,
    reply_consumers: ReplyConsumers,
    router: Router,
    timers: Timers,
    /// Dead letters on their way. They are published after what killed them is done.
    dead_letters: VecDeque<PendingDeadLetter>,
    /// How many times a consumer was parked, which gives the parked ones an order.
    parkings: u64,
    /// How many consumers there were, which orders those of a queue.
    subscriptions: u64,
    alarms: Alarms,
    recordings: Recordings,
    faults: Faults,
    /// What goes slowly or not at all between the broker and a client.
    links: Links,
    /// Commands of connections that are not held up any more, to be done one by one.
    unread: VecDeque<Command>,
    effects: VecDeque<Effect>,
}

/// Who sent the present command.
#[derive(Debug, Clone, Copy)]
struct Caller {
    connection: ConnectionId,
    number: u16,
    channel: Key<Channel>,
    vhost: Key<VirtualHost>,
}

impl Engine {
    /// A broker with the virtual host `/` and the user `guest`, password `guest`.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let mut engine = Self {
            now: Time::START,
            keeps_time: false,
            names: NameGenerator::new(options.seed.unwrap_or_default()),
            transit: Transit::new(options.seed),
            options,
            users: Users::default(),
            vhosts: Arena::new(),
            vhosts_by_name: HashMap::default(),
            connections: Arena::new(),
            connections_opened: 0,
            channels: Arena::new(),
            exchanges: Arena::new(),
            queues: Arena::new(),
            consumers: Arena::new(),
            reply_consumers: HashMap::default(),
            router: Router::default(),
            timers: Timers::default(),
            dead_letters: VecDeque::new(),
            parkings: 0,
            subscriptions: 0,
            alarms: Alarms::default(),
            faults: Faults::default(),
            links: Links::default(),
            recordings: Recordings::default(),
            unread: VecDeque::new(),
            effects: VecDeque::new(),
        };
        engine.add_vhost(mooq_core::VirtualHost::root());
        engine
    }

    /// How many channels a connection may have, as is agreed with each client.
    #[must_use]
    pub fn channel_max(&self) -> u16 {
        self.options.channel_max
    }

    /// Logs a client in: `connection.start-ok` to `connection.open-ok`.
    ///
    /// # Errors
    /// The reason with which the broker closes the connection: 403 for a user or password that it
    /// does not know, 530 for a virtual host that does not exist or is closed to the user.
    pub fn open_connection(
        &mut self,
        now: Time,
        login: Login,
    ) -> Result<ConnectionId, CloseReason> {
        self.advance(now);
        let mut checked = self.users.check(&login.credentials);
        if self.refuses_login(login.connection_name.as_deref()) {
            checked = Err(ReplyError::login_refused());
        }
        checked.map_err(|refusal| refusal.into_reason(MethodId::NONE))?;
        let name = login.vhost.unwrap_or_else(mooq_core::VirtualHost::root);
        let Some(&vhost) = self.vhosts_by_name.get(&name) else {
            let refusal = ReplyError::not_allowed(format!("vhost {name} not found"));
            return Err(refusal.into_reason(MethodId::CONNECTION_OPEN));
        };
        let username = login.credentials.username;
        let Some(permissions) = self.users.permissions(&username, &name) else {
            let refusal = ReplyError::not_allowed(format!(
                "access to vhost '{name}' refused for user '{username}'"
            ));
            return Err(refusal.into_reason(MethodId::CONNECTION_OPEN));
        };
        let name = login.connection_name;
        let mut connection =
            Connection::new(vhost, username, name, permissions, login.capabilities);
        self.connections_opened += 1;
        connection.number = self.connections_opened;
        let id = ConnectionId(self.connections.insert(connection));
        self.adapt_links();
        Ok(id)
    }

    /// Whether it makes a difference at what time the engine gets this method. If it does not,
    /// the time of an earlier call will do: reading a clock costs as much as acknowledging a
    /// message.
    #[must_use]
    pub fn needs_time(&self, method: &Method) -> bool {
        match method {
            _ if self.links.keep_time() => true,
            Method::BasicPublish(publish) => {
                self.keeps_time || publish.message.properties.expiration.is_some()
            }
            Method::BasicSettle(_) => self.keeps_time,
            _ => true,
        }
    }

    /// Takes a method from a client. What follows from it is then to be had from
    /// [`Self::poll_effect`]. On a connection that is closed, nothing follows.
    pub fn handle(&mut self, now: Time, command: Command) {
        self.advance(now);
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
        let Some(open) = self.connections.get(connection.0) else {
            return;
        };
        if matches!(method, Method::ConnectionClose) {
            self.end_connection(connection);
            self.finish_dead_letters();
            self.reply(connection, number, Reply::Done);
            return;
        }
        let caller = open.channel(number).map(|channel| Caller {
            connection,
            number,
            channel,
            vhost: open.vhost,
        });
        let id = method.id();
        if let Some(caller) = caller
            && !matches!(method, Method::BasicPublish(_) | Method::BasicSettle(_))
        {
            self.await_channel(caller.channel);
        }
        let outcome = match caller {
            None => self.open_channel(connection, number, &method),
            Some(caller) if self.is_closing(caller) => {
                self.handle_while_closing(caller, &method);
                Ok(None)
            }
            Some(caller) => self.dispatch(caller, method),
        };
        match outcome {
            Ok(reply) => {
                if let Some(reply) = reply {
                    self.reply(connection, number, reply);
                }
            }
            Err(error) => self.fail(connection, caller, error, id),
        }
        self.finish_dead_letters();
        self.perhaps_carry_on();
    }

    /// What the broker does next, if anything is left of what the last calls brought about.
    #[inline]
    pub fn poll_effect(&mut self) -> Option<Effect> {
        if self.links.are_good() && self.unread.is_empty() {
            return self.effects.pop_front();
        }
        self.poll_what_was_held_up()
    }

    /// [`Self::poll_effect`] where something is held up or was, which is rare.
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

    /// When something happens by itself, if ever. It may be earlier than what really happens, but
    /// never later.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Time> {
        match (self.timers.next(), self.links.next_arrival()) {
            (Some(wake), Some(arrival)) => Some(wake.min(arrival)),
            (wake, arrival) => wake.or(arrival),
        }
    }

    /// Lets time pass up to `now`. What happens meanwhile happens in order and each at its own time,
    /// however late this is called: a message that expires begins to wait in its next queue then.
    pub fn advance(&mut self, now: Time) {
        let now = self.now.max(now);
        if self.links.keep_time() {
            self.links.advance(now);
        }
        while let Some((at, queue)) = self.timers.pop_due(now) {
            self.now = self.now.max(at);
            self.wake_queue(queue, at);
            self.finish_dead_letters();
        }
        self.now = now;
    }

    /// Closes every connection, as a broker that shuts down does.
    pub fn shut_down(&mut self, now: Time) {
        self.advance(now);
        self.close_connections(
            |_| true,
            |_| "broker forced connection closure with reason 'shutdown'".into(),
        );
        self.finish_dead_letters();
    }

    /// Closes the channel or the connection that a method failed on. Consumers go and deliveries
    /// return to their queues before the client hears of it.
    fn fail(
        &mut self,
        connection: ConnectionId,
        caller: Option<Caller>,
        error: ReplyError,
        method: MethodId,
    ) {
        let is_hard = error.code.is_hard();
        let reason = error.into_reason(method);
        match caller {
            Some(caller) if !is_hard => {
                self.end_channel(caller.channel);
                if let Some(channel) = self.channels.get_mut(caller.channel) {
                    channel.closing = true;
                }
                self.effects.push_back(Effect::Channel {
                    connection,
                    channel: caller.number,
                    event: ChannelEvent::Closed(Error::channel_closed(reason)),
                });
            }
            _ => {
                self.end_connection(connection);
                self.effects.push_back(Effect::Connection {
                    connection,
                    event: ConnectionEvent::Closed(Error::connection_closed(reason)),
                });
            }
        }
    }

    fn reply(&mut self, connection: ConnectionId, channel: u16, reply: Reply) {
        self.effects.push_back(Effect::Reply {
            connection,
            channel,
            reply,
        });
    }
}
