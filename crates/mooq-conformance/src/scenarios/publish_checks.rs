//! Checks of the broker on a message that is published.

use std::sync::Arc;

use mooq_core::{ErrorScope, Message, Properties, Publish};

use crate::Fixture;
use crate::Version;
use crate::expect::method::{BASIC_PUBLISH, BASIC_RECOVER, QUEUE_DECLARE};
use crate::raw::{message, passive_queue, table};
use crate::scenario;

fn with_properties(message: Message, set: impl FnOnce(&mut Properties)) -> Publish {
    let mut properties = Properties::default();
    set(&mut properties);
    Publish::new(Message {
        properties: Arc::new(properties),
        ..message
    })
}

#[scenario]
async fn an_expiration_must_be_a_number_of_milliseconds(fixture: Fixture) {
    let mut raw = fixture.raw().await;
    let q = fixture.name("q");
    raw.declare(&q).await;
    for (expiration, why) in [
        ("soon", "no_integer"),
        ("", "no_integer"),
        ("5s", "{leftover_string,\"s\"}"),
        ("-1", "{value_negative,-1}"),
        ("315360000001", "{value_too_large,315360000001}"),
    ] {
        raw.send(with_properties(message("", &q, "m"), |properties| {
            properties.expiration = Some(expiration.try_into().unwrap());
        }));
        let text = format!("PRECONDITION_FAILED - invalid expiration '{expiration}': {why}");
        raw.closes(406, BASIC_PUBLISH, &text).await;
    }
    raw.confirm_select().await;
    raw.fill(&q, &["after"]).await;
    assert_eq!(raw.drain(&q).await, ["after"]);
}

#[scenario]
async fn the_user_id_must_be_the_logins(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let q = fixture.name("q");
    raw.declare(&q).await;
    let from = |user: &str| {
        with_properties(message("", &q, user), |properties| {
            properties.user_id = Some(user.try_into().unwrap());
        })
    };
    raw.put_message(from("guest")).await;
    raw.send(from("someone"));
    let text = "PRECONDITION_FAILED - user_id property set to 'someone' but authenticated user was \
                'guest'";
    raw.closes(406, BASIC_PUBLISH, text).await;
    assert_eq!(raw.drain(&q).await, ["guest"]);
}

#[scenario]
async fn a_missing_exchange_is_noticed_first_and_then_one_property_after_another(fixture: Fixture) {
    let mut raw = fixture.raw().await;
    let x = fixture.name("x");
    let expiration = "invalid expiration 'soon': no_integer";
    let cc = "invalid message: {unacceptable_type_in_header,\"CC\",longstr}";
    let user = "user_id property set to 'someone' but authenticated user was 'guest'";
    let bad = |exchange: &str, wrong: &[&str]| {
        with_properties(message(exchange, "", "m"), |properties| {
            if wrong.contains(&expiration) {
                properties.expiration = Some("soon".try_into().unwrap());
            }
            if wrong.contains(&cc) {
                properties.headers = table([("CC", "b".into())]);
            }
            if wrong.contains(&user) {
                properties.user_id = Some("someone".try_into().unwrap());
            }
        })
    };
    let order = if fixture.version() < Version::V4_0 {
        [user, expiration, cc]
    } else {
        [expiration, cc, user]
    };
    raw.send(bad(&x, &order));
    let text = format!("NOT_FOUND - no exchange '{x}' in vhost '/'");
    raw.closes(404, BASIC_PUBLISH, &text).await;
    for first in 0..order.len() {
        raw.send(bad("", &order[first..]));
        let text = format!("PRECONDITION_FAILED - {}", order[first]);
        raw.closes(406, BASIC_PUBLISH, &text).await;
    }
}

/// A publish through the default exchange with a body of `bytes`.
fn of_size(queue: &str, bytes: usize) -> Publish {
    Publish::new(Message {
        body: vec![0; bytes].into(),
        ..message("", queue, "")
    })
}

#[scenario]
async fn a_body_over_the_limit_is_refused(fixture: Fixture) {
    let mut raw = fixture.publisher().await;
    let q = fixture.name("q");
    raw.declare(&q).await;
    let mebibytes = if fixture.version() < Version::V4_0 {
        128
    } else {
        16
    };
    let limit = mebibytes * 1024 * 1024;
    raw.put_message(of_size(&q, 16 * 1024 * 1024)).await;
    assert_eq!(raw.delete(&q).await, 1);
    raw.send(of_size(
        &fixture.name("the size is looked at first"),
        limit + 1,
    ));
    let text = format!(
        "PRECONDITION_FAILED - message size {} is larger than configured max size {limit}",
        limit + 1
    );
    raw.closes(406, BASIC_PUBLISH, &text).await;
}

#[scenario]
async fn an_immediate_message_closes_the_connection(fixture: Fixture) {
    let mut raw = fixture.raw().await;
    let q = fixture.name("q");
    raw.declare(&q).await;
    raw.send(Publish {
        immediate: true,
        ..Publish::new(message("", &q, "m"))
    });
    raw.closes_connection(540, BASIC_PUBLISH, "NOT_IMPLEMENTED - immediate=true")
        .await;
}

#[scenario]
async fn recover_without_requeue_closes_the_connection(fixture: Fixture) {
    let mut raw = fixture.raw().await;
    let err = raw.methods().recover(false).await.unwrap_err();
    assert_eq!(err.scope(), ErrorScope::Connection, "{err}");
    let text = "NOT_IMPLEMENTED - requeue=false";
    crate::expect_reason(&err, 540, BASIC_RECOVER, text);
    raw.closes_connection(540, BASIC_RECOVER, text).await;
}

#[scenario]
async fn a_long_reason_is_broken_as_erlang_breaks_it(fixture: Fixture) {
    let mut raw = fixture.raw().await;
    // The first text just fits in 78 columns, and the second would need 80.
    let nines = "9".repeat(20);
    for (expiration, reason) in [
        (
            format!("5{}", "x".repeat(17)),
            format!("{{leftover_string,\"{}\"}}", "x".repeat(17)),
        ),
        (
            format!("5{}", "x".repeat(18)),
            format!("{{leftover_string,\n{:43}\"{}\"}}", "", "x".repeat(18)),
        ),
        (
            nines.clone(),
            format!("{{value_too_large,\n{:44}{nines}}}", ""),
        ),
        (
            format!("-00{nines}"),
            format!("{{value_negative,\n{:47}-{nines}}}", ""),
        ),
        ("5\"\\".into(), "{leftover_string,\"\\\"\\\\\"}".into()),
        ("5\u{1}".into(), "{leftover_string,[1]}".into()),
    ] {
        let mut message = message("", "nowhere", "m");
        let properties = Arc::make_mut(&mut message.properties);
        properties.expiration = Some(expiration.as_str().try_into().unwrap());
        raw.send(Publish::new(message));
        let text = format!("PRECONDITION_FAILED - invalid expiration '{expiration}': {reason}");
        raw.closes(406, BASIC_PUBLISH, &text).await;
    }
}

#[scenario]
async fn expiration_leftovers_are_shown_as_text_or_as_bytes(fixture: Fixture) {
    let mut raw = fixture.raw().await;
    let mut message = message("", "nowhere", "m");
    let properties = Arc::make_mut(&mut message.properties);
    properties.expiration = Some("5é".try_into().unwrap());
    raw.send(Publish::new(message));
    let shown = if fixture.version() < Version::V4_0 {
        "é"
    } else {
        "Ã©"
    };
    let text =
        format!("PRECONDITION_FAILED - invalid expiration '5é': {{leftover_string,\"{shown}\"}}");
    raw.closes(406, BASIC_PUBLISH, &text).await;
}

#[scenario(since = V4_0)]
async fn a_reason_with_too_many_bytes_is_an_internal_error(fixture: Fixture) {
    for name in ["é".repeat(120), format!("é{}", "a".repeat(250))] {
        let mut raw = fixture.raw().await;
        let declared = raw.channel.declare_queue(passive_queue(&name)).await;
        let err = declared.unwrap_err();
        assert_eq!(err.scope(), ErrorScope::Connection, "{err}");
        crate::expect_reason(&err, 541, (0, 0), "INTERNAL_ERROR");
        raw.closes_connection(541, (0, 0), "INTERNAL_ERROR").await;
    }
    // The text is cut by characters, here of one byte each.
    let mut raw = fixture.raw().await;
    let name = format!("{}é", "a".repeat(250));
    let declared = raw.channel.declare_queue(passive_queue(&name)).await;
    let text = format!("NOT_FOUND - no queue '{}", "a".repeat(250));
    raw.refused(declared, 404, QUEUE_DECLARE, &text).await;
}
