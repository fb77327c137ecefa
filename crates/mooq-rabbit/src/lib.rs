//! The RabbitMQ transport of mooq, over [amqprs](https://docs.rs/amqprs).
//!
//! [`RabbitTransport`] is all there is to see: it opens connections that the runtime above
//! (mooq-client) drives through the traits of [`mooq_core::transport`].
//!
//! amqprs speaks the protocol; this crate gives it the manners that those traits ask for: futures
//! that may be dropped, one request at a time on a channel, typed reasons, and an end for every
//! wait. How it is built, from the outside in:
//!
//! | Module | Its one job |
//! |---|---|
//! | `transport`, `open`, `unusable` | connect and log in, and say what failed |
//! | `tls`, `flush` | TLS around it, and nothing left lying in it |
//! | `connection` | open channels, close, keep the connection while it is used |
//! | `channel` | AMQP's methods, each as a command in the channel's queue |
//! | `command`, `queue`, `pump` | take the commands in order and perform them, one at a time |
//! | `gate` | nothing is sent on a channel that the broker has closed |
//! | `callbacks`, `consumer`, `events` | what the broker says unasked, in its order |
//! | `state`, `session` | a channel's and a connection's end, and the reason of it |
//! | `confirms` | which publishes a close has to wait for |
//! | `numbers`, `reading` | what wears a connection out, and what ends it again and again |
//! | `convert` | mooq's words in amqprs' types, and back |
//!
//! # What is worked around
//! Each with the tests that fail without it: of `tests/live` unless a file is named.
//!
//! | amqprs 2.1.5 | Here | Tests |
//! |---|---|---|
//! | a dropped future panics a task or kills the reader | `pump`, and a task for each opening, close and login | `requests::requests_may_be_dropped_at_any_point`, `requests::opening_channels_may_be_dropped` |
//! | two requests of one method at once take each other's answer | `pump` | `requests::requests_of_one_method_do_not_mix_up` |
//! | what is sent on a channel that the broker has closed costs the connection | `gate` | `publishing::publishing_into_a_closing_channel_never_costs_the_connection`, `gate.rs` |
//! | the number of a channel that the broker closed is lost | `numbers`, `connection` | `closing::a_connection_is_used_up_in_good_order`, `closing::five_thousand_channels_that_the_broker_closes_cost_connections` |
//! | the writer waits in the socket for ever, and who waits for it | every wait ends with `session`; `connection` ends channels behind a stuck reader | `loss::a_frozen_peer_is_given_up_after_two_heartbeats`, `loss::a_close_by_a_broker_that_does_not_read_ends_every_wait`, `tests/fake_broker.rs`: `an_opening_that_waits_for_a_stuck_writer_does_not_keep_the_connection` |
//! | an alarm is silence | waits may be given up | `publishing::an_alarm_is_silence_that_passes` |
//! | the end of a connection is not told reliably | the drop of `callbacks` tells | `loss::a_killed_broker_ends_every_wait` |
//! | a close fails under traffic, and late confirms are lost | `pump` waits for `confirms`, `connection` for its channels | `closing::confirms_come_before_a_close`, `closing::a_connection_closes_under_traffic` |
//! | a channel that both sides close costs the connection | `callbacks` keeps the dispatcher | `closing::closes_from_both_sides_cost_one_channel_only` |
//! | a consumer ends in silence, or panics alone | `consumer`, no `AsyncConsumer` | `loss::a_connection_closed_by_the_broker_ends_every_wait` |
//! | deliveries after a cancel are kept and forgotten | `channel` waits for the consumer's end | `consuming::no_delivery_follows_a_cancel`, `consuming::a_deleted_queue_cancels_its_consumers` |
//! | a request within a callback waits for itself | `callbacks` only store and push | among the scenarios, `processing::a_callback_may_wait_for_the_broker_on_its_own_channel` |
//! | a heartbeat of 1 spins, one of 0 disconnects; 60 s is the default | `open` refuses them; 6 s | `tests/open.rs`, `loss::a_dead_peer_is_noticed_within_15_s_by_default` |
//! | it takes 8 from the limit of a frame's size, whatever that is | `open` refuses a limit under 4,096 | `tests/fake_broker.rs`: `a_limit_of_frames_that_amqprs_cannot_keep_is_refused` |
//! | no limit of time to connect | `open` | `tests/open.rs` and `tests/tls.rs`: `a_silent_peer_is_given_up_in_time` |
//! | it panics on long names, bad files, and without a provider of cryptography | checked names, `open`, `tls` | `requests::names_of_any_sort_are_taken`, `tests/tls.rs`: `files_that_cannot_be_used_are_named` |
//! | a header that comes twice costs the connection | tables are maps | `publishing::a_header_that_is_set_twice_is_sent_once` |
//! | a header that it cannot read costs every connection | `reading` says so | `poison::a_message_that_ends_every_connection_is_said_to` |
//! | TLS is not flushed | `flush` | `tls::what_tls_holds_back_is_pushed_out` |
//! | it panics when it is dropped outside of tokio, and the last drop closes live channels | `connection`, `open` | `closing::handles_may_be_dropped_outside_of_a_runtime`, `tests/fake_broker.rs`: `an_attempt_may_be_dropped_outside_of_a_runtime`, `closing::the_last_handle_closes_the_connection` |
//! | its reader panics, its writer lives on, and a close then says nothing | `connection` drops it | `tests/fake_broker.rs`: `a_connection_is_closed_though_amqprs_reader_has_panicked` |
//! | URLs are not decoded | mooq-core parses them | `opening::credentials_and_virtual_hosts_are_percent_decoded` |
//! | errors are texts | reasons are stored, TLS is tried again | `requests::the_reason_of_a_close_reaches_every_caller`, `tests/tls.rs` |
//!
//! # TLS
//! `amqps` is TLS 1.2 or 1.3 by [rustls](https://docs.rs/rustls), with ring for its cryptography,
//! which is chosen here and not by the process. The broker's certificate is verified, as
//! [`TlsOptions`](mooq_core::TlsOptions) say, and what is wrong with it is in the error, of kind
//! `TlsFailed`. When the broker refuses a login, a second connection is opened to see whether it
//! is TLS that fails, since amqprs does not tell. Logging in is by name and password, over TLS too.
//!
//! # Features
//! | Feature | Default | What it adds |
//! |---|---|---|
//! | `tls` | yes | `amqps`; without it that is `UnsupportedScheme` |
//!
//! # Limits
//! - With TLS a channel of each connection is taken, on which the broker is asked for an answer
//!   when nothing else is sent: amqprs does not flush, and what it sent last could lie in TLS.
//! - Certificates that are revoked are not known to be.
//! - A broker that sets no limit to the size of frames (`frame_max = 0`) is refused, since amqprs
//!   cannot do without one.
//! - `connection.blocked` is never announced, since amqprs does not ask for it: while the broker
//!   blocks, publishes wait without a word.
//! - What the broker delivers is read at once and kept until it is taken. Prefetch bounds that, but
//!   not for a consumer without acknowledgements: one that is slower than the broker fills the
//!   memory.
//! - Up to 8,192 messages of any size wait in amqprs' own queue on each connection, beyond those
//!   that a channel's queue holds.
//! - A connection on which the broker has closed 1,500 channels ends with `ConnectionLost`, since
//!   amqprs never uses their numbers again, and another one takes its place. It ends as by a close,
//!   within 10 s.
//! - A close sends what was taken before, and waits up to 5 s for confirms of it. A connection's
//!   waits no longer than 1 s for the answer to a request that nobody waits for any more: what is
//!   behind that is not sent.
//! - The order of deliveries is the broker's within each consumer; between consumers of one
//!   channel it is kept only roughly.
//! - A message with a header whose text is not UTF-8 ends the connection (amqprs cannot read it),
//!   goes back to its queue, and ends the next one. When that has happened three times in a row,
//!   the error and a warning name the queue.
//! - When a peer has stopped reading, amqprs' writer stays in the socket until the operating system
//!   gives it up. Nothing else waits for it: all calls end when two heartbeats have passed.
//! - amqprs' feature `traces`, which mooq does not enable, shows the password in trace events.

mod callbacks;
mod channel;
mod command;
mod confirms;
mod connection;
mod consumer;
mod convert;
mod events;
mod flush;
mod gate;
mod numbers;
mod open;
mod pump;
mod queue;
mod reading;
mod session;
mod state;
#[cfg(feature = "tls")]
mod tls;
#[cfg(not(feature = "tls"))]
#[path = "no_tls.rs"]
mod tls;
mod transport;
mod unusable;

pub use transport::RabbitTransport;
