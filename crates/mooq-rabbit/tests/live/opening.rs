use std::time::Duration;

use mooq_core::{Endpoint, Error, ErrorKind, ErrorScope};

use crate::broker::{Broker, Connection, TLS_PORT, soon, transport};

pub(crate) async fn a_connection_opens_and_closes(broker: &Broker) {
    let mut endpoint = broker.endpoint.clone();
    endpoint.connection_name = Some("a name to find".try_into().unwrap());
    endpoint.heartbeat = Endpoint::DEFAULT_HEARTBEAT;
    let mut connection = Connection::open(&endpoint).await;
    let listed = broker
        .rabbitmqctl(&["list_connections", "client_properties", "timeout"])
        .await;
    assert!(listed.contains("a name to find"), "{listed}");
    assert!(listed.contains("\t6"), "the heartbeat: {listed}");

    soon(connection.connection.close()).await.unwrap();
    let reason = connection.closed().await;
    assert_eq!(reason.kind(), ErrorKind::ConnectionClosed);
    soon(connection.connection.close()).await.unwrap();
    let err = soon(connection.connection.open_channel())
        .await
        .unwrap_err();
    assert_eq!(err.kind(), ErrorKind::ConnectionClosed);
}

/// The error of a login. Tries again if a busy machine does not answer in a short time, or without
/// a reason.
async fn refusal(endpoint: &Endpoint) -> Error {
    let mut attempts = 0;
    loop {
        let err = soon(transport().open(endpoint)).await.unwrap_err();
        attempts += 1;
        let is_cut_short = err.kind() == ErrorKind::ConnectFailed || err.reason().is_none();
        if !is_cut_short || attempts == 20 {
            return err;
        }
    }
}

/// Over TCP and TLS, and also with a timeout shorter than RabbitMQ's silence.
pub(crate) async fn wrong_password_error_has_the_brokers_text(broker: &Broker) {
    let tls = broker.tls_endpoint(TLS_PORT).await;
    for endpoint in [&broker.endpoint, &tls] {
        for timeout in [10_000, 2_500] {
            let mut endpoint = endpoint.clone();
            endpoint.credentials.password = "hunter2".into();
            endpoint.connect_timeout = Duration::from_millis(timeout);
            let err = refusal(&endpoint).await;
            assert_eq!(err.kind(), ErrorKind::AuthenticationFailed, "{err}");
            assert_eq!(err.scope(), ErrorScope::Connection);
            assert!(err.to_string().contains(&endpoint.address()), "{err}");
            assert!(!format!("{err:?}").contains("hunter2"), "{err:?}");
            let reason = err.reason().unwrap();
            assert_eq!(reason.code, 403);
            let said = "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. \
                        For details see the broker logfile.";
            assert_eq!(reason.text, said);
        }
    }
}

pub(crate) async fn a_missing_virtual_host_is_named(broker: &Broker) {
    let mut endpoint = broker.endpoint.clone();
    endpoint.vhost = "no \"such\" host".try_into().unwrap();
    let err = soon(transport().open(&endpoint)).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::VirtualHostNotFound, "{err:?}");
    assert!(err.to_string().contains(&endpoint.address()), "{err}");
    let reason = err.reason().unwrap();
    assert_eq!(
        (reason.code, reason.class_id, reason.method_id),
        (530, 10, 40)
    );
    assert_eq!(
        reason.text,
        "NOT_ALLOWED - vhost no \"such\" host not found"
    );
}

pub(crate) async fn credentials_and_virtual_hosts_are_percent_decoded(broker: &Broker) {
    broker.rabbitmqctl(&["add_vhost", "a/b c"]).await;
    broker.rabbitmqctl(&["add_user", "us@er", "p:w/@"]).await;
    let rights = ["set_permissions", "-p", "a/b c", "us@er", ".*", ".*", ".*"];
    broker.rabbitmqctl(&rights).await;
    let address = broker.endpoint.address();
    let url = format!("amqp://us%40er:p%3Aw%2F%40@{address}/a%2Fb%20c");
    let endpoint: Endpoint = url.parse().unwrap();
    Connection::open(&endpoint).await.check_and_close().await;

    // The user has no rights on another virtual host, which differs from a missing one.
    let err = transport()
        .open(
            &format!("amqp://us%40er:p%3Aw%2F%40@{address}")
                .parse()
                .unwrap(),
        )
        .await
        .unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NotAllowed, "{err:?}");
}
