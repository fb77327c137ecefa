//! What the broker has no more of, and whom it does not let in.

use super::{FaultGuard, Faults};
use crate::broker::AlarmGuard;
use crate::engine::{Alarm, Fault};

/// Logins and resources.
impl Faults {
    /// Refuses every login from now on, as if the password had been changed: 403,
    /// `ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. …`. Connections
    /// that are open go on.
    ///
    /// Heeds the limit to connections. It strikes once for each login.
    ///
    /// # Examples
    /// ```
    /// # use mooq::{ConnectInMemory, ErrorKind, InMemoryBroker};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> mooq::Result<()> {
    /// let broker = InMemoryBroker::start();
    /// let refusing = broker.faults().refuse_logins();
    /// let err = broker.connect().await.unwrap_err();
    /// assert_eq!(err.kind(), ErrorKind::AuthenticationFailed);
    ///
    /// drop(refusing);
    /// broker.connect().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn refuse_logins(self) -> FaultGuard {
        self.begin(Fault::RefuseLogins)
    }

    /// No connection may have more than `max` channels open: whoever opens one more loses the
    /// connection by 530, `NOT_ALLOWED - number of channels opened (1) has reached the negotiated
    /// channel_max (1)`. More that are open already go on.
    ///
    /// Heeds the limit to connections. It strikes once for each channel that is refused.
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

    /// Raises a memory or disk alarm: whoever publishes is blocked until it ends. It is
    /// [`InMemoryBroker::raise_alarm`](crate::InMemoryBroker::raise_alarm), which says more.
    ///
    /// Knows no limits.
    pub fn raise_alarm(&self, alarm: Alarm) -> AlarmGuard {
        self.broker.raise_alarm(alarm)
    }
}
