//! The RabbitMQ transport of mooq, over [amqprs](https://docs.rs/amqprs).
//!
//! [`RabbitTransport`] is the whole API: it opens connections that the runtime above (mooq-client)
//! drives through the traits of [`mooq_core::transport`]. With the feature `native` there is a second
//! one, `NativeTransport`, which does the same without amqprs: see [below](#native).
//!
//! amqprs speaks the protocol; this crate adds the behaviour that those traits ask for: futures
//! that may be dropped, one request at a time on a channel, typed reasons, and an end for every
//! wait. The modules, from the outside in:
//!
//! | Module | Responsibility |
//! |---|---|
//! | `transport`, `open`, `invalid_endpoint`, `verdict` | connect and log in, and report the step that failed |
//! | `driver` | the threads that run everything |
//! | `tls`, `flush` | TLS around the connection, and flushing it |
//! | `connection` | open channels, close, keep the connection while it is used |
//! | `channel` | AMQP's methods, each as a command in the channel's queue |
//! | `command`, `command_queue`, `worker` | take the commands in order and perform them, one at a time |
//! | `send_barrier` | keep frames off a channel that the broker has closed |
//! | `callbacks`, `consumer`, `events` | the broker's unsolicited events, in its order |
//! | `state`, `session` | a channel's and a connection's end, and the reason of it |
//! | `confirms` | the publishes that a close has to wait for |
//! | `channel_ids`, `poison` | limits of a connection's channel numbers, and messages that end it again and again |
//! | `convert` | conversion between mooq's types and amqprs' types |
//! | `native` | the driver without amqprs |
//!
//! # Workarounds
//! Each with the tests that fail without it: in `tests/live` unless a file is named.
//!
//! | amqprs 2.1.5 | Here | Tests |
//! |---|---|---|
//! | a dropped future panics a task or kills the reader | `worker`, and a task for each opening, close and login | `requests::requests_may_be_dropped_at_any_point`, `requests::opening_channels_may_be_dropped` |
//! | two requests of one method at once take each other's answer | `worker` | `requests::requests_of_one_method_do_not_mix_up` |
//! | a frame sent on a channel that the broker has closed costs the connection | `send_barrier` | `publishing::publishing_into_a_closing_channel_never_costs_the_connection`, `send_barrier.rs` |
//! | the number of a channel that the broker closed is lost | `channel_ids`, `connection` | `closing::a_connection_is_used_up_in_good_order`, `closing::five_thousand_channels_that_the_broker_closes_cost_connections` |
//! | the writer waits in the socket for ever, and so do tasks that wait for it | every wait ends with `session`; `connection` ends channels behind a stuck reader | `loss::a_frozen_peer_is_given_up_after_two_heartbeats`, `loss::a_close_by_a_broker_that_does_not_read_ends_every_wait`, `tests/fake_broker.rs`: `an_opening_that_waits_for_a_stuck_writer_does_not_keep_the_connection` |
//! | an alarm is silence | waits may be given up | `publishing::an_alarm_is_silence_that_passes` |
//! | the end of a connection is not reported reliably | the drop of `callbacks` reports it | `loss::a_killed_broker_ends_every_wait` |
//! | a close fails under traffic, and late confirms are lost | `worker` waits for `confirms`, `connection` for its channels | `closing::confirms_come_before_a_close`, `closing::a_connection_closes_under_traffic` |
//! | a channel that both sides close costs the connection | `callbacks` keeps the dispatcher | `closing::closes_from_both_sides_cost_one_channel_only` |
//! | a consumer ends in silence, or panics alone | `consumer`, no `AsyncConsumer` | `loss::a_connection_closed_by_the_broker_ends_every_wait` |
//! | deliveries after a cancel are kept and then dropped | `channel` waits for the consumer's end | `consuming::no_delivery_follows_a_cancel`, `consuming::a_deleted_queue_cancels_its_consumers` |
//! | a request within a callback waits for itself | `callbacks` only store and push | among the scenarios, `processing::a_callback_may_wait_for_the_broker_on_its_own_channel` |
//! | a heartbeat of 1 spins, one of 0 disconnects; 60 s is the default | `open` refuses them; 6 s | `tests/open.rs`, `loss::a_dead_peer_is_noticed_soon_by_default` |
//! | a heartbeat before the answer to `connection.open` fails the login | `open` logs in again | `tests/fake_broker.rs`: `a_broker_whose_heartbeat_overtakes_its_answer_is_logged_in_to_again` |
//! | it subtracts 8 from the frame size limit, even a small one | `open` refuses a limit under 4,096 | `tests/fake_broker.rs`: `a_limit_of_frames_that_amqprs_cannot_keep_is_refused` |
//! | no time limit for connecting | `open` | `tests/open.rs` and `tests/tls.rs`: `a_silent_peer_is_given_up_in_time` |
//! | it panics on long names, bad files, and without a cryptography provider | checked names, `open`, `tls` | `requests::queue_names_of_any_sort_are_taken`, `tests/tls.rs`: `certificate_files_that_cannot_be_used_are_named` |
//! | a duplicate header costs the connection | tables are maps | `publishing::a_header_that_is_set_twice_is_sent_once` |
//! | it reads nested tables by recursive calls | `driver` has the stack for it, `convert` stops at 100 levels | `poison::a_header_may_nest_as_deep_as_a_frame_allows`, `tests/fake_broker.rs`: `a_broker_whose_properties_nest_deep_is_read` |
//! | a header that it cannot read costs every connection | `poison` reports it, and stops reading from its queue | `poison::message_that_ends_every_connection_is_reported`, `poison::a_queue_that_ends_every_connection_is_left_off` |
//! | TLS is not flushed | `flush` | `tls::tls_pushes_out_what_it_holds_back` |
//! | it panics when it is dropped outside of tokio, and the last drop closes live channels | `connection`, `open` | `closing::handles_may_be_dropped_outside_of_a_runtime`, `tests/fake_broker.rs`: `an_attempt_may_be_dropped_outside_of_a_runtime`, `closing::the_last_handle_closes_the_connection` |
//! | its reader panics, its writer lives on, and a close then sends nothing | `connection` drops it | `tests/fake_broker.rs`: `a_connection_is_closed_though_amqprs_reader_has_panicked` |
//! | it does not ask for the reason of a refused login | `verdict` asks, while a login gets no answer | `opening::wrong_password_error_has_the_brokers_text`, `tests/open.rs`: `a_broker_that_is_silent_about_a_login_is_asked_again` |
//! | URLs are not decoded | mooq-core parses them | `opening::credentials_and_virtual_hosts_are_percent_decoded` |
//! | two new secrets at once take each other's answer | `connection` hands over one at a time | among the scenarios, `logins::new_secret_changes_no_password` |
//! | errors are texts | reasons are stored, TLS is tried again | `requests::the_reason_of_a_close_reaches_every_caller`, `tests/tls.rs` |
//!
//! # TLS
//! `amqps` is TLS 1.2 or 1.3 by [rustls](https://docs.rs/rustls), with ring for its cryptography,
//! which is chosen here and not by the process. The broker's certificate is verified, as
//! [`TlsOptions`](mooq_core::TlsOptions) say, and the error, of kind `TlsFailed`, names the problem
//! with the certificate. When the broker refuses a login, a second connection is opened to find out
//! if TLS is the cause, because amqprs does not report it. Logging in is by name and password, over
//! TLS too, or by the client's certificate (`EXTERNAL`).
//!
//! # Features
//! | Feature | Default | Effect |
//! |---|---|---|
//! | `tls` | yes | adds `amqps`; without the feature that scheme is `UnsupportedScheme` |
//! | `native` | no | adds `NativeTransport` |
//!
//! # Native
//! `NativeTransport` speaks AMQP 0-9-1 itself, with the codec mooq-wire. `native/session` is a
//! connection as a state machine, without tokio, sockets or locks, and one task a connection moves
//! its bytes. None of the workarounds above is needed, and these limits of amqprs do not apply:
//!
//! | With amqprs | With `NativeTransport` |
//! |---|---|
//! | alarms are silence | `connection.blocked` is announced |
//! | a refused login is asked about on a second connection | the broker's reason is known at once |
//! | a message that is not UTF-8 ends connections | text in a header may be any bytes. A property or a header's name is read as Latin-1, and its octets are in `Properties::verbatim`. A routing key or an exchange that is not UTF-8 costs its consumer, with a warning that names queue and field: the message is requeued, and the consumer ends with `ConsumerCancelled`. A `get` of it is an error of kind `Decode` |
//! | a connection is used up by 1,500 channels that the broker closes | channel numbers are used again |
//! | frames are not limited, and nested tables need large stacks | a frame is refused by its head, before anything is allocated for it: above 8,192 bytes before the login, above `frame_max` after it |
//! | 8,192 messages of any size wait to be written | a publish returns `Full` from 1 MiB on |
//! | `frame_max = 0` is refused | 1 MiB is agreed on, which is also the most |
//! | each ack is a frame of its own | acks that follow one another are sent as one |
//! | one channel is reserved for flushing TLS | TLS is flushed after each write |
//! | a table in a header is sent in no particular order | it is sent in the order of its keys |
//! | the order between consumers of a channel is rough | it is the broker's |
//!
//! A peer that violates the protocol ends the connection with `ConnectionLost`, whose source names
//! the violation. A close sends everything taken before, and waits up to 5 s for the confirms, and
//! 1 s for the answer to a request whose caller is gone. Revoked certificates are not detected
//! either, and deliveries are read at once and kept until they are taken, too. With
//! `MOOQ_DRIVER=native`, the scenarios and the steps in `tests/live` run with this driver.
//!
//! # Limits
//! Those of [`RabbitTransport`]:
//!
//! - A login that gets no answer for a second is tried on a second connection, which asks for the
//!   reason. So a wrong password counts as two failed logins.
//! - With TLS, one channel of each connection is reserved, on which the broker is asked for an
//!   answer when nothing else is sent: amqprs does not flush, and its last data could stay in TLS.
//! - Revoked certificates are not detected.
//! - A broker that sets no limit to the size of frames (`frame_max = 0`) is refused, because amqprs
//!   needs a limit.
//! - Until the login is done, the frames that a peer may send are not limited: amqprs keeps a frame
//!   of any size in memory, and reads tables in it that nest up to some 60,000 levels deep, or
//!   250,000 if it is built with optimizations; beyond that the process aborts. The peer has to be
//!   trusted that far, or be authenticated by TLS. After the login, a peer that sends frames larger
//!   than agreed is not cut off either.
//! - A broker with a `frame_max` much larger than RabbitMQ's 128 KiB, for example ten times, lets
//!   messages pass whose headers nest deeper than these threads have room for.
//! - `connection.blocked` is never announced, because amqprs does not ask for it: while the broker
//!   blocks, publishes wait without notice.
//! - Deliveries are read at once and kept until they are taken. Prefetch bounds them, but not for a
//!   consumer without acknowledgements: a consumer that is slower than the broker fills the memory.
//! - Up to 8,192 messages of any size wait in amqprs' own queue on each connection, beyond those in
//!   a channel's queue.
//! - A connection on which the broker has closed 1,500 channels ends with `ConnectionLost`, because
//!   amqprs never reuses their numbers, and another connection takes its place. It ends as by a
//!   close, within 10 s.
//! - A close sends everything taken before, and waits up to 5 s for the confirms. A connection's
//!   close waits no longer than 1 s for the answer to a request whose caller is gone: commands
//!   behind that request are not sent.
//! - The entries of a header that is a table are sent in no particular order, because amqprs does
//!   so. An exchange that hashes such a header uses the order in which the entries were sent, so
//!   that equal tables may go to different queues.
//! - The order of deliveries is the broker's within each consumer; between consumers of one
//!   channel it is kept only roughly.
//! - A message with a routing key, or a name, text or property among its headers, that is not UTF-8
//!   ends the connection (amqprs cannot read it), is requeued, and ends the next connection. When
//!   that has happened three times in a row, the error and a warning name the queue, and reading
//!   from such queues begins two seconds apart, to find the one that is the cause. After five
//!   times, three of which left no other suspect, the queue is not read from until 10 minutes have
//!   passed: consumers and fetches of it end with `ConsumerCancelled`, and everything else on the
//!   connection goes on. A queue that has delivered something since the connection began to read
//!   from it is not a suspect.
//! - When a peer has stopped reading, amqprs' writer stays in the socket until the operating system
//!   gives it up. Nothing else waits for the writer: all calls end when two heartbeats have passed.
//! - amqprs' feature `traces`, which mooq does not enable, shows the password in trace events.

mod callbacks;
mod channel;
mod channel_ids;
mod channel_state;
mod command;
mod command_queue;
mod confirms;
mod connection;
mod connection_state;
mod consumer;
mod convert;
mod events;
mod flush;
mod invalid_endpoint;
#[cfg(feature = "native")]
mod native;
mod open;
mod poison;
mod send_barrier;
mod threads;
#[cfg(feature = "tls")]
mod tls;
#[cfg(not(feature = "tls"))]
#[path = "no_tls.rs"]
mod tls;
mod transport;
mod verdict;
mod worker;

#[cfg(feature = "native")]
#[doc(hidden)]
pub use native::NativeOnRuntime;
#[cfg(feature = "native")]
pub use native::NativeTransport;
#[doc(hidden)]
pub use transport::OnRuntime;
pub use transport::RabbitTransport;
