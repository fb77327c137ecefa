//! Login and channel-limit faults, and alarms.

use super::{FaultGuard, Faults};
use crate::broker::AlarmGuard;
use mooq_engine::{Alarm, Fault};

/// Logins and resources.
impl Faults {
    /// Refuses every login from now on, as if the password had been changed: 403, `ACCESS_REFUSED -
    /// Login was refused using authentication mechanism PLAIN. …`. Open connections stay open, but
    /// one that hands over a new secret is closed with 530, `NOT_ALLOWED - New secret was refused by
    /// one of the backends`, as where a token is not valid.
    ///
    /// Can be limited to connections. The fault strikes once for each login and each secret.
    ///
    /// # Examples
    /// ```
    /// # use mooq::memory::InMemoryBroker;
    /// # use mooq::ErrorKind;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> mooq::Result<()> {
    /// let broker = InMemoryBroker::start();
    /// let refusing = broker.faults().refuse_logins();
    /// let err = mooq::connect(&broker).await.unwrap_err();
    /// assert_eq!(err.kind(), ErrorKind::AuthenticationFailed);
    ///
    /// drop(refusing);
    /// mooq::connect(&broker).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn refuse_logins(self) -> FaultGuard {
        self.begin(Fault::RefuseLogins)
    }

    /// Limits every connection to `max` open channels: a client that opens one more has its
    /// connection closed with 530, `NOT_ALLOWED - number of channels opened (1) has reached the
    /// negotiated channel_max (1)`. Channels beyond the limit that are already open stay open.
    ///
    /// Can be limited to connections. The fault strikes once for each refused channel.
    ///
    /// # Examples
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use mooq_core::{Endpoint, ErrorKind, Scheme, Transport};
    /// use mooq_memory::InMemoryBroker;
    ///
    /// let broker = InMemoryBroker::start();
    /// let opened = broker.transport().open(&Endpoint::new(Scheme::Memory)).await?;
    ///
    /// let _limit = broker.faults().limit_channels(1);
    /// let _first = opened.connection.open_channel().await?;
    /// let err = opened.connection.open_channel().await.unwrap_err();
    /// assert_eq!(err.kind(), ErrorKind::NotAllowed);
    /// # Ok::<(), mooq_core::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn limit_channels(self, max: u16) -> FaultGuard {
        self.begin(Fault::LimitChannels(max))
    }

    /// Raises a memory or disk alarm: connections that publish are blocked until the alarm ends.
    /// Same as [`InMemoryBroker::raise_alarm`](crate::InMemoryBroker::raise_alarm), which has the
    /// details.
    ///
    /// Cannot be limited.
    pub fn raise_alarm(&self, alarm: Alarm) -> AlarmGuard {
        self.broker.raise_alarm(alarm)
    }
}
