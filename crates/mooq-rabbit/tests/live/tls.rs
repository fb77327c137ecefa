use std::time::Duration;

use mooq_core::{ChannelEvent, Endpoint, Error, ErrorKind, TlsOptions};

use crate::broker::{Broker, Connection, STRICT_TLS_PORT, TLS_PORT, name, soon, transport};
use mooq_rig::certificates::{Authority, SERVER_NAME};
use mooq_rig::proxy::{LineState, Proxy};

async fn refused(endpoint: &Endpoint, tls: TlsOptions) -> Error {
    let mut endpoint = endpoint.clone();
    endpoint.tls = tls;
    let err = soon(transport().open(&endpoint)).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::TlsFailed, "{err:?}");
    assert!(err.to_string().contains(&endpoint.address()), "{err}");
    err
}

/// Publishes a message, waits for its confirm, fetches it, and closes the connection.
async fn use_and_close(connection: Connection) {
    let mut channel = connection.channel().await;
    let queue = channel.queue().await;
    soon(channel.channel.confirm_select()).await.unwrap();
    let body = vec![7; 1_000_000];
    channel.publish(&queue, body.clone()).await;
    let confirm = channel.event().await;
    assert!(
        matches!(confirm, ChannelEvent::Confirm { sequence: 1, .. }),
        "{confirm:?}"
    );
    let fetched = soon(channel.channel.get(queue, true)).await.unwrap();
    assert!(fetched.unwrap().message.body == body);
    soon(connection.connection.close()).await.unwrap();
}

pub(crate) async fn the_certificate_of_the_broker_is_verified(broker: &Broker) {
    let endpoint = broker.tls_endpoint(TLS_PORT).await;
    use_and_close(Connection::open(&endpoint).await).await;
    let mut by_name = endpoint.clone();
    by_name.tls = by_name.tls.server_name(SERVER_NAME);
    use_and_close(Connection::open(&by_name).await).await;

    let stranger = Authority::new();
    let err = refused(&endpoint, TlsOptions::new().ca_file(stranger.file())).await;
    assert!(err.to_string().contains("UnknownIssuer"), "{err}");
    refused(&endpoint, TlsOptions::new()).await;
    let other_name = endpoint.tls.clone().server_name("elsewhere.example");
    let err = refused(&endpoint, other_name).await;
    assert!(err.to_string().contains("elsewhere.example"), "{err}");
    let mut no_tls = endpoint.clone();
    no_tls.port = broker.endpoint.port;
    refused(&no_tls, endpoint.tls.clone()).await;

    let mut wrong_password = endpoint.clone();
    wrong_password.credentials.password = "hunter2".into();
    let err = soon(transport().open(&wrong_password)).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::AuthenticationFailed, "{err:?}");
}

pub(crate) async fn a_broker_that_asks_for_a_certificate_gets_ours(broker: &Broker) {
    let listen = format!(
        "{{ok, Options}} = application:get_env(rabbit, ssl_options), \
         Strict = [{{fail_if_no_peer_cert, true}} | proplists:delete(fail_if_no_peer_cert, Options)], \
         rabbit_networking:start_ssl_listener({STRICT_TLS_PORT}, Strict, 2)."
    );
    broker.rabbitmqctl(&["eval", &listen]).await;
    let endpoint = broker.tls_endpoint(STRICT_TLS_PORT).await;
    let (certificate, key) = broker.authority.issue_to_client();
    let mut with_certificate = endpoint.clone();
    with_certificate.tls = endpoint.tls.clone().client_certificate(certificate, key);
    use_and_close(Connection::open(&with_certificate).await).await;

    refused(&endpoint, endpoint.tls.clone()).await;
    let stranger = Authority::new();
    let (certificate, key) = stranger.issue_to_client();
    let unknown = endpoint.tls.clone().client_certificate(certificate, key);
    refused(&endpoint, unknown).await;
}

/// amqprs does not flush: if the socket does not take all of the last write, the rest stays in the
/// TLS session until the next write, here a heartbeat.
pub(crate) async fn tls_pushes_out_what_it_holds_back(broker: &Broker) {
    let mut endpoint = broker.tls_endpoint(TLS_PORT).await;
    let address = endpoint.address().parse();
    let proxy = Proxy::narrow(address.expect("the endpoint's host is an address"));
    proxy.set(LineState::Slow(Duration::from_millis(1)));
    endpoint.port = proxy.port();
    endpoint.heartbeat = Duration::from_secs(60);
    let connection = Connection::open(&endpoint).await;
    let mut channel = connection.channel().await;
    soon(channel.channel.confirm_select()).await.unwrap();
    // The messages are unroutable, so the broker just confirms them.
    let queue = name();
    // Not every size leaves a rest to be held back, but several of these do.
    for round in 0..20 {
        channel
            .publish(&queue, vec![7; 100_000 + round * 13_000])
            .await;
        // Before the next heartbeat, which is sent after 30 s.
        let confirm = tokio::time::timeout(Duration::from_secs(25), channel.event());
        let confirm = confirm
            .await
            .expect("the confirm comes before the next heartbeat");
        assert!(
            matches!(confirm, ChannelEvent::Confirm { .. }),
            "{confirm:?}"
        );
    }
    soon(connection.connection.close()).await.unwrap();
}
