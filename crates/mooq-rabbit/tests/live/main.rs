//! The transport against a real RabbitMQ: each step shows one thing that this crate works around
//! in amqprs, or promises to the runtime above.
//!
//! All steps share one container, so they are one test. The last one kills it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "all of this is a test, the functions beside it too"
)]

mod broker;
mod closing;
mod consuming;
mod loss;
mod opening;
mod poison;
mod publishing;
mod raw;
mod requests;
mod secrets;
mod tls;

use std::time::Instant;

use broker::Broker;
use secrets::Log;

/// Steps about limits of amqprs that the native driver does not have.
const OF_AMQPRS_ALONE: [&str; 4] = [
    "closing::a_connection_is_used_up_in_good_order",
    "closing::a_used_up_connection_ends_in_bad_order_too",
    "poison::a_message_that_ends_every_connection_is_said_to",
    "poison::a_queue_that_ends_every_connection_is_left_off",
];

/// Steps about what the native driver does and amqprs cannot.
const OF_NATIVE_ALONE: [&str; 2] = [
    "poison::a_message_that_is_not_utf8_costs_its_consumer_only",
    "publishing::an_alarm_is_announced",
];

/// Returns true if the steps run with the native driver, with `MOOQ_DRIVER=native` and its feature.
fn is_native() -> bool {
    cfg!(feature = "native") && std::env::var("MOOQ_DRIVER").is_ok_and(|name| name == "native")
}

fn is_for_this_driver(step: &str) -> bool {
    let others = if is_native() {
        &OF_AMQPRS_ALONE[..]
    } else {
        &OF_NATIVE_ALONE[..]
    };
    !others.contains(&step)
}

/// Steps that take long and do not mind each other.
mod together {
    use super::{Broker, closing, loss};

    pub(crate) async fn many_channels_closed_and_a_dead_peer(broker: &Broker) {
        tokio::join!(
            closing::five_thousand_channels_that_the_broker_closes_cost_connections(broker),
            loss::a_dead_peer_is_noticed_soon_by_default(broker),
        );
    }
}

/// Runs steps one after another and says how long each took. With `MOOQ_LIVE_STEPS` only those
/// whose names hold its text, for who works on one of them.
macro_rules! steps {
    ($broker:expr, $($module:ident::$step:ident,)+) => {$(
        let name = concat!(stringify!($module), "::", stringify!($step));
        let chosen = std::env::var("MOOQ_LIVE_STEPS");
        if chosen.is_ok_and(|chosen| !name.contains(&chosen)) {
            println!("{name}\n    not chosen");
        } else if !is_for_this_driver(name) {
            println!("{name}\n    not for this driver");
        } else {
            let began = Instant::now();
            println!("{name}");
            $module::$step($broker).await;
            println!("    ok, {:?}", began.elapsed());
        }
    )+};
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs RabbitMQ: run integration-tests/run-all"]
async fn everything_against_rabbitmq() {
    let log = Log::begin();
    #[cfg(feature = "native")]
    if is_native() {
        mooq_rabbit::use_native_for_all();
    }
    let broker = Broker::start().await;
    steps! {
        &broker,
        opening::a_connection_opens_and_closes,
        opening::a_wrong_password_is_told_in_the_brokers_words,
        opening::a_missing_virtual_host_is_named,
        opening::credentials_and_virtual_hosts_are_percent_decoded,
        tls::the_certificate_of_the_broker_is_verified,
        tls::a_broker_that_asks_for_a_certificate_gets_ours,
        tls::data_that_tls_holds_back_is_pushed_out,
        requests::every_request_is_answered,
        requests::names_of_any_sort_are_taken,
        requests::requests_of_one_method_do_not_mix_up,
        requests::requests_may_be_dropped_at_any_point,
        requests::the_reason_of_a_close_reaches_every_caller,
        requests::a_closed_channel_leaves_the_others_alone,
        requests::opening_channels_may_be_dropped,
        publishing::confirms_account_for_every_publish,
        publishing::a_return_comes_before_its_confirm,
        publishing::an_unroutable_exchange_closes_the_channel,
        publishing::publishing_into_a_closing_channel_never_costs_the_connection,
        publishing::every_property_and_field_type_survives_the_way,
        publishing::a_header_that_is_set_twice_is_sent_once,
        publishing::large_and_empty_bodies_arrive,
        publishing::commands_taken_before_a_close_are_sent,
        publishing::an_alarm_is_silence_that_passes,
        publishing::an_alarm_is_announced,
        consuming::deliveries_come_in_order_and_are_settled,
        consuming::the_broker_names_consumers_and_queues,
        consuming::nothing_is_lost_between_consume_and_its_answer,
        consuming::no_delivery_follows_a_cancel,
        consuming::a_deleted_queue_cancels_its_consumers,
        consuming::an_unknown_tag_closes_the_channel,
        consuming::messages_are_fetched_one_by_one,
        closing::a_closed_channel_says_so,
        closing::a_connection_closes_under_traffic,
        closing::channels_opened_during_a_close_end_with_it,
        closing::the_last_handle_closes_the_connection,
        closing::handles_may_be_dropped_outside_of_a_runtime,
        closing::a_connection_outlives_the_runtime_it_was_opened_on,
        closing::closes_from_both_sides_cost_one_channel_only,
        closing::all_channels_in_use_are_the_callers_error,
        closing::confirms_come_before_a_close,
        closing::a_connection_is_used_up_in_good_order,
        closing::a_used_up_connection_ends_in_bad_order_too,
        together::many_channels_closed_and_a_dead_peer,
        poison::a_header_may_nest_as_deep_as_a_frame_allows,
        poison::a_message_that_ends_every_connection_is_said_to,
        poison::a_queue_that_ends_every_connection_is_left_off,
        poison::a_message_that_is_not_utf8_costs_its_consumer_only,
        loss::a_connection_closed_by_the_broker_ends_every_wait,
        loss::a_close_by_a_broker_that_does_not_read_ends_every_wait,
        loss::a_frozen_peer_is_given_up_after_two_heartbeats,
    }
    steps! {
        broker,
        loss::a_killed_broker_ends_every_wait,
    }
    log.holds_no_password();
}
