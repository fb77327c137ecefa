//! Connecting: options, URLs, logins and their errors.

use std::time::Duration;

use futures_util::future::try_join_all;
use mooq::{ConnectOptions, Error, ErrorKind, ErrorScope};

use crate::Fixture;
use crate::expect::LIMIT;
use crate::scenario;

#[scenario]
async fn connecting_opens_a_connection_to_the_given_address(fixture: Fixture) {
    let conn = fixture.connect().await;
    assert!(conn.is_open());
    let endpoint = fixture.options().endpoint().unwrap();
    assert_eq!(conn.endpoint().address(), endpoint.address());
    conn.close().await.unwrap();
}

#[scenario]
async fn a_url_with_credentials_vhost_and_parameters_connects(fixture: Fixture) {
    let endpoint = fixture.options().endpoint().unwrap();
    let url = format!(
        "{}://guest:guest@{}/%2F?heartbeat=30&connection_timeout=180000&name=scenario",
        endpoint.scheme.as_str(),
        endpoint.address()
    );
    let conn = fixture.open_url(&url).await.unwrap();
    let chan = conn.create_channel().await.unwrap();
    chan.declare_queue(fixture.name("queue")).await.unwrap();
}

#[scenario]
async fn connect_options_say_the_same_as_a_url(fixture: Fixture) {
    let endpoint = fixture.options().endpoint().unwrap();
    let options = ConnectOptions::new()
        .broker(endpoint.scheme)
        .host(endpoint.host)
        .port(endpoint.port)
        .credentials("guest", "guest")
        .vhost("/")
        .connect_timeout(LIMIT)
        .heartbeat(Duration::from_secs(30))
        .name("scenario");
    let conn = fixture.open(options).await.unwrap();
    conn.create_channel().await.unwrap();
}

#[scenario]
async fn a_malformed_url_is_named_so(fixture: Fixture) {
    let scheme = fixture.options().endpoint().unwrap().scheme.as_str();
    for (url, what) in [
        ("localhost".to_owned(), "not a URL"),
        (String::new(), "not a URL"),
        (format!("{scheme}://guest:secret@h:port"), "port"),
        (format!("{scheme}://h:0"), "port 0"),
        (format!("{scheme}://h/a/b"), "%2F"),
        (format!("{scheme}://h?heartbeat=never"), "heartbeat"),
        (format!("{scheme}://h?colour=red"), "colour"),
        (format!("{scheme}://guest:sec%ret@h"), "%25"),
        (format!("{scheme}://h/%2"), "%25"),
        (format!("{scheme}://guest:my#secret@h"), "%23"),
        (format!("{scheme}://a,b,c/v"), "or_host"),
    ] {
        let err = fixture.open_url(&url).await.unwrap_err();
        assert_eq!(err.kind(), ErrorKind::InvalidUrl, "{url}");
        assert_eq!(err.scope(), ErrorScope::Connection, "{url}");
        assert!(err.to_string().contains(what), "{url}: {err}");
        assert!(!format!("{err:?}").contains("secret"), "{err:?}");
    }
}

#[scenario]
async fn an_unknown_scheme_is_unsupported(fixture: Fixture) {
    let address = fixture.options().endpoint().unwrap().address();
    for scheme in ["http", "rabbit", "in_memory"] {
        let url = format!("{scheme}://{address}");
        let err = fixture.open_url(&url).await.unwrap_err();
        // An underscore is not allowed in a scheme: that is no URL at all.
        let expected = match scheme {
            "in_memory" => ErrorKind::InvalidUrl,
            _ => ErrorKind::UnsupportedScheme,
        };
        assert_eq!(err.kind(), expected, "{url}");
    }
}

#[scenario]
async fn a_refused_port_is_a_connection_error_that_names_it(fixture: Fixture) {
    // Port 1 belongs to tcpmux, which no machine runs.
    let options = fixture.options().port(1);
    let address = options.endpoint().unwrap().address();
    expect_no_broker(fixture.open(options).await.unwrap_err(), &address);
}

#[scenario]
async fn a_port_that_is_taken_and_not_listened_to_refuses(fixture: Fixture) {
    let nobody = tokio::net::TcpSocket::new_v4().unwrap();
    nobody.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = nobody.local_addr().unwrap().port();
    let options = fixture.options().port(port);
    let address = options.endpoint().unwrap().address();
    expect_no_broker(fixture.open(options).await.unwrap_err(), &address);
}

#[scenario]
async fn an_unknown_host_is_a_connection_error_that_names_it(fixture: Fixture) {
    // RFC 6761 keeps .invalid free of names.
    let options = fixture.options().host("nowhere.invalid").port(5672);
    let err = crate::within("the failure", fixture.open(options)).await;
    expect_no_broker(err.unwrap_err(), "nowhere.invalid:5672");
}

#[scenario]
async fn a_broker_that_never_answers_is_given_up_in_time(fixture: Fixture) {
    // The system accepts connections, but no process reads from them. In memory no broker has this
    // port.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let options = fixture
        .options()
        .port(port)
        .connect_timeout(Duration::from_millis(300));
    let address = options.endpoint().unwrap().address();
    let err = crate::within("the failure", fixture.open(options)).await;
    let err = err.unwrap_err();
    if !fixture.url().starts_with("memory:") {
        assert!(err.to_string().contains("within 300ms"), "{err}");
    }
    expect_no_broker(err, &address);
}

#[scenario]
async fn a_wrong_password_is_authentication_failed(fixture: Fixture) {
    let options = fixture.options().credentials("guest", "wrong-pa55");
    expect_login_refused(&fixture, fixture.open(options).await.unwrap_err());
}

#[scenario]
async fn a_refused_login_is_not_waited_out_because_another_host_is_down(fixture: Fixture) {
    let options = fixture.options().credentials("guest", "wrong-pa55");
    let options = options.or_host("127.0.0.1", 1).wait_for_broker(LIMIT);
    let opened = crate::within("the refusal", fixture.open(options)).await;
    expect_login_refused(&fixture, opened.unwrap_err());
}

#[scenario]
async fn an_unknown_user_is_authentication_failed(fixture: Fixture) {
    let options = fixture.options().credentials("nobody", "wrong-pa55");
    expect_login_refused(&fixture, fixture.open(options).await.unwrap_err());
}

/// RabbitMQ delays its answer by three seconds unless the client announces
/// `authentication_failure_close`.
#[scenario]
async fn a_wrong_password_is_no_timeout(fixture: Fixture) {
    // A busy machine may not answer in so short a time, or without the reason, for which amqprs'
    // driver opens a second connection: then the scenario tries again.
    for _ in 0..20 {
        let options = fixture
            .options()
            .credentials("guest", "wrong-pa55")
            .connect_timeout(Duration::from_millis(2_500));
        let err = fixture.open(options).await.unwrap_err();
        let is_cut_short = match err.kind() {
            ErrorKind::ConnectFailed => true,
            ErrorKind::AuthenticationFailed => err.reason().is_none(),
            _ => false,
        };
        if !is_cut_short {
            return expect_login_refused(&fixture, err);
        }
    }
    panic!("a wrong password is a timeout 20 times in a row");
}

/// The options of a URL, with a limit that a busy machine does not reach.
fn patient(url: &str) -> ConnectOptions {
    ConnectOptions::try_from(url)
        .unwrap()
        .connect_timeout(LIMIT)
}

/// An unset variable in `amqp://user:$PASSWORD@host` gives such a password.
#[scenario]
async fn an_empty_password_that_is_given_is_not_the_default(fixture: Fixture) {
    let endpoint = fixture.options().endpoint().unwrap();
    let (scheme, address) = (endpoint.scheme.as_str(), endpoint.address());
    for login in ["guest:", ":guest", ":"] {
        let url = format!("{scheme}://{login}@{address}");
        expect_login_refused(&fixture, fixture.open(patient(&url)).await.unwrap_err());
    }
    let url = format!("{scheme}://guest@{address}");
    fixture.open(patient(&url)).await.unwrap();
}

#[scenario]
async fn a_missing_vhost_is_named_so(fixture: Fixture) {
    let options = fixture.options().vhost("no-such-vhost");
    let address = options.endpoint().unwrap().address();
    let err = fixture.open(options).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::VirtualHostNotFound, "{err:?}");
    assert_eq!(err.scope(), ErrorScope::Connection);
    let text = err.to_string();
    assert!(text.contains("no-such-vhost"), "{text}");
    assert!(text.contains(&address), "{text}");
}

#[scenario]
async fn failed_connect_leaves_the_broker_as_it_was(fixture: Fixture) {
    let options = fixture.options().vhost("no-such-vhost");
    fixture.open(options).await.unwrap_err();
    let (_conn, chan) = fixture.channel().await;
    chan.declare_queue(fixture.name("queue")).await.unwrap();
}

#[scenario]
async fn many_channels_of_a_connection_work_side_by_side(fixture: Fixture) {
    let conn = fixture.connect().await;
    let mut channels = Vec::new();
    for _ in 0..50 {
        channels.push(conn.create_channel().await.unwrap());
    }
    let queue = fixture.name("queue");
    channels[0].declare_queue(&queue).await.unwrap();
    for chan in &channels {
        chan.publish("", "body").routing_key(&queue).await.unwrap();
    }
    let declared = channels[49].declare_queue(&queue).passive().await.unwrap();
    assert_eq!(declared.message_count, 50);
}

#[scenario]
async fn channel_over_the_brokers_limit_is_refused_and_the_others_stay(fixture: Fixture) {
    let conn = fixture.connect().await;
    // RabbitMQ's default for channel_max.
    let opening = (0..2_047).map(|_| conn.create_channel().into_future());
    let mut channels = try_join_all(opening).await.unwrap();
    let err = conn.create_channel().await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NotAllowed, "{err}");
    assert_eq!(err.scope(), ErrorScope::Operation, "{err}");

    assert!(conn.is_open());
    let chan = channels.pop().unwrap();
    chan.declare_queue(fixture.name("queue")).await.unwrap();
    chan.close().await.unwrap();
    conn.create_channel().await.unwrap();
}

fn expect_no_broker(err: Error, address: &str) {
    assert_eq!(err.kind(), ErrorKind::ConnectFailed, "{err:?}");
    assert_eq!(err.scope(), ErrorScope::Connection);
    assert!(err.to_string().contains(address), "{err}");
}

fn expect_login_refused(fixture: &Fixture, err: Error) {
    assert_eq!(err.kind(), ErrorKind::AuthenticationFailed, "{err:?}");
    assert_eq!(err.scope(), ErrorScope::Connection);
    let address = fixture.options().endpoint().unwrap().address();
    assert!(err.to_string().contains(&address), "{err}");
    assert!(!format!("{err:?}").contains("wrong-pa55"), "{err:?}");
    let reason = err.reason().expect("the error has the broker's reason");
    assert_eq!(reason.code, 403);
    assert_eq!(
        reason.text,
        "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. For details see \
         the broker logfile."
    );
}
