//! Opening of a transport connection.

use std::time::Duration;

use mooq_core::{Endpoint, Error, OpenedConnection, Result, Transport};

/// Time beyond `connect_timeout` that a transport may take to report the timeout. This limit ends a
/// transport that does not keep its own, and must never race with it.
const OVERDUE: Duration = Duration::from_secs(5);

/// Opens a connection, in the time that `endpoint` allows. The transport keeps that limit.
pub(super) async fn open_link(
    transport: &dyn Transport,
    endpoint: &Endpoint,
) -> Result<OpenedConnection> {
    let limit = endpoint.connect_timeout;
    let opening = transport.open(endpoint);
    match tokio::time::timeout(limit.saturating_add(OVERDUE), opening).await {
        Ok(opened) => opened,
        Err(elapsed) => Err(
            Error::connection_timed_out(&endpoint.address(), "answer", limit).with_source(elapsed),
        ),
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::BoxFuture;
    use mooq_core::ErrorKind;
    use tokio::time::{Instant, sleep};

    use super::*;

    /// A peer that fails this long after the time is over.
    #[derive(Debug)]
    struct Late(Duration);

    impl Transport for Late {
        fn open<'a, 'b, 'c>(
            &'a self,
            endpoint: &'b Endpoint,
        ) -> BoxFuture<'c, Result<OpenedConnection>>
        where
            'a: 'c,
            'b: 'c,
            Self: 'c,
        {
            Box::pin(async {
                sleep(endpoint.connect_timeout + self.0).await;
                Err(Error::connection(ErrorKind::TlsFailed, "it was TLS"))
            })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn connect_timeout_is_the_transports_and_ends_those_that_do_not_keep_it() {
        let endpoint = Endpoint::default();
        let began = Instant::now();
        let err = open_link(&Late(Duration::from_secs(1)), &endpoint)
            .await
            .unwrap_err();
        assert_eq!(err.kind(), ErrorKind::TlsFailed, "{err}");

        let err = open_link(&Late(Duration::from_secs(3600)), &endpoint)
            .await
            .unwrap_err();
        assert_eq!(err.kind(), ErrorKind::ConnectFailed, "{err}");
        let said = "cannot connect to localhost:5672: it did not answer within 10s";
        assert_eq!(err.to_string(), said);
        assert!(began.elapsed() < Duration::from_secs(30));
    }
}
