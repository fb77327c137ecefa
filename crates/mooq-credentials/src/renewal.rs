//! The renewal of credentials on an open connection.

use std::sync::Weak;
use std::time::Duration;

use mooq_core::mailbox::Sender;
use mooq_core::{
    ConnectionEvent, Endpoint, Error, ErrorKind, Result, ShortString, TransportConnection,
};
use tokio::time::{Instant, sleep_until, timeout};

use crate::provider::Provider;

/// Least time between two attempts. Most time between an attempt that failed and the next one.
const LEAST: Duration = Duration::from_secs(1);
const MOST: Duration = Duration::from_secs(30);

/// The reason of a new secret, for the broker's log.
const REASON: &str = "the old one is about to expire";

/// The task that renews the credentials of a connection.
pub(crate) struct Renewal {
    pub(crate) provider: Provider,
    pub(crate) endpoint: Endpoint,
    pub(crate) connection: Weak<dyn TransportConnection>,
    pub(crate) events: Sender<ConnectionEvent>,
}

impl Renewal {
    /// Renews credentials that the provider returned at `asked`, and that are valid for `lifetime`
    /// from then on. Ends with the connection.
    pub(crate) async fn run(self, asked: Instant, lifetime: Duration) {
        let (mut asked, mut lifetime) = (asked, lifetime);
        let mut next = before_expiry(asked, lifetime);
        loop {
            sleep_until(next).await;
            let began = Instant::now();
            let renewed = self.renew().await;
            // A close that crosses the attempt is no failure of it.
            if self.is_over() && renewed.is_ok() {
                return;
            }
            match renewed {
                Ok(Some(new)) => {
                    self.events.send(ConnectionEvent::CredentialsRenewed);
                    (asked, lifetime) = (began, new);
                    next = before_expiry(asked, lifetime);
                }
                // These do not expire any more.
                Ok(None) => return self.events.send(ConnectionEvent::CredentialsRenewed),
                Err(error) => {
                    let left = lifetime.saturating_sub(asked.elapsed());
                    let next_attempt = delay(left);
                    self.events.send(ConnectionEvent::CredentialsNotRenewed {
                        error,
                        next_attempt,
                    });
                    if self.is_over() {
                        return;
                    }
                    next = later(Instant::now(), next_attempt);
                }
            }
        }
    }

    /// Asks the provider, and hands the new password to the broker. Returns the time for which it is
    /// valid.
    async fn renew(&self) -> Result<Option<Duration>> {
        let credentials = self.provider.ask(&self.endpoint).await?;
        let Some(connection) = self.connection.upgrade() else {
            return Ok(None);
        };
        let reason = ShortString::try_from(REASON).unwrap_or_default();
        let limit = self.endpoint.connect_timeout;
        let updating = connection.update_secret(&credentials.password, &reason);
        match timeout(limit, updating).await {
            Ok(updated) => updated.map(|()| credentials.lifetime),
            Err(elapsed) => {
                let address = self.endpoint.address();
                let what =
                    format!("the broker at {address} did not take a new secret within {limit:?}");
                Err(Error::new(ErrorKind::TimedOut, what).with_source(elapsed))
            }
        }
    }

    fn is_over(&self) -> bool {
        let connection = self.connection.upgrade();
        connection.is_none_or(|connection| connection.closed().is_some())
    }
}

/// Returns the time at which credentials are renewed that were asked for at this time.
fn before_expiry(asked: Instant, lifetime: Duration) -> Instant {
    later(asked, (lifetime / 5 * 4).max(LEAST))
}

/// Time until the next attempt after one that failed, with `left` until the credentials expire.
fn delay(left: Duration) -> Duration {
    match left {
        // They have expired. A broker that minds closes the connection.
        Duration::ZERO => MOST,
        left => (left / 2).clamp(LEAST, MOST),
    }
}

/// `delay` after `time`; a time that is practically never reached if it cannot be told.
fn later(time: Instant, delay: Duration) -> Instant {
    let never = Duration::from_secs(u32::MAX.into());
    time.checked_add(delay).unwrap_or_else(|| time + never)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_come_closer_towards_the_end_and_go_on_after_it() {
        let seconds = |left| delay(Duration::from_secs(left)).as_secs();
        assert_eq!(seconds(720), 30);
        assert_eq!(seconds(40), 20);
        assert_eq!(seconds(1), 1);
        assert_eq!(delay(Duration::from_millis(1)), LEAST);
        assert_eq!(delay(Duration::ZERO), MOST);
    }
}
