//! A connection's way from lost to restored.
//!
//! ```text
//!               Lost                 Waited                Opened
//!  Connected ─────────► Waiting ─────────────► Opening ─────────────► Restoring
//!      ▲                   ▲                    │    ▲                    │  │
//!      │                   │   Failed, last host│    │Failed, more hosts  │  │
//!      │                   ├────────────────────┘    └── (next host)      │  │
//!      │                   └─────────────────── Failed ───────────────────┘  │
//!      └──────────────────────────── Restored ───────────────────────────────┘
//!
//!  from Waiting, once the limit has passed ─► Over
//! ```

use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::policy::Recovery;

/// Time after which a connection counts as stable: after its loss the delays begin anew.
const STABLE_AFTER: Duration = Duration::from_secs(30);

/// An event of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Input {
    /// The connection was lost.
    Lost,
    /// The delay is over.
    Waited,
    /// The host answered, and the connection is open.
    Opened,
    /// Everything on the lost connection has been restored.
    Restored,
    /// The attempt failed, while opening or restoring.
    Failed,
}

/// The next action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Watch the open connection.
    Watch,
    /// Wait.
    Wait(Duration),
    /// Open a connection to the host of this number.
    Open(usize),
    /// Restore everything of the old connection on the new one.
    Restore,
    /// Give up, since it has taken too long.
    GiveUp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Connected,
    Waiting,
    Opening,
    Restoring,
    Over,
}

/// Progress of a connection between lost and restored.
#[derive(Debug)]
pub(crate) struct Reconnect {
    policy: Recovery,
    hosts: usize,
    stage: Stage,
    /// The host in use, or tried last.
    host: usize,
    /// Hosts tried since the last delay.
    tried: usize,
    /// Delays since the connection was last good.
    waits: u32,
    lost_at: Option<Instant>,
    restored_at: Instant,
    /// No attempt since the loss has failed for all hosts.
    is_prompt: bool,
    jitter: Rng,
}

impl Reconnect {
    /// Starts from a connection to `host`, one of `hosts`, that is open.
    pub(crate) fn connected(
        policy: Recovery,
        hosts: usize,
        host: usize,
        now: Instant,
        seed: u64,
    ) -> Self {
        Self {
            policy,
            hosts,
            stage: Stage::Connected,
            host,
            tried: 0,
            waits: 0,
            lost_at: None,
            restored_at: now,
            is_prompt: true,
            jitter: Rng::with_seed(seed),
        }
    }

    /// Returns true if no attempt to return from the last loss has failed for all hosts.
    pub(crate) fn is_prompt(&self) -> bool {
        self.is_prompt
    }

    /// Number of the attempt that is under way or comes next, since the connection was last good.
    pub(crate) fn attempts(&self) -> u32 {
        self.waits
    }

    /// Takes an event, and returns the next action.
    pub(crate) fn next(&mut self, input: Input, now: Instant) -> Action {
        match (self.stage, input) {
            (Stage::Over, _) => Action::GiveUp,
            (Stage::Connected, Input::Lost) => {
                // A connection that is lost soon after it is restored does not start the delays
                // over.
                if now.duration_since(self.restored_at) > STABLE_AFTER.max(self.policy.max_delay) {
                    self.waits = 0;
                }
                self.lost_at = Some(now);
                self.is_prompt = true;
                self.wait(now)
            }
            (Stage::Waiting, Input::Waited) => {
                self.tried = 0;
                self.open()
            }
            (Stage::Opening, Input::Opened) => self.enter(Stage::Restoring, Action::Restore),
            (Stage::Opening, Input::Failed) if self.tried < self.hosts => {
                self.host = (self.host + 1) % self.hosts;
                self.open()
            }
            (Stage::Opening, Input::Failed) => {
                self.host = (self.host + 1) % self.hosts;
                self.is_prompt = false;
                self.wait(now)
            }
            (Stage::Restoring, Input::Failed | Input::Lost) => {
                // The host accepted the login but is useless all the same: the others get their
                // turn.
                self.host = (self.host + 1) % self.hosts;
                self.is_prompt = false;
                self.wait(now)
            }
            (Stage::Restoring, Input::Restored) => {
                self.lost_at = None;
                self.restored_at = now;
                self.is_prompt = true;
                self.enter(Stage::Connected, Action::Watch)
            }
            // No other event is possible here; if one arrives, it changes nothing.
            (Stage::Connected, _) => Action::Watch,
            (Stage::Waiting, _) => self.wait(now),
            (Stage::Opening, _) => Action::Open(self.host),
            (Stage::Restoring, _) => Action::Restore,
        }
    }

    fn open(&mut self) -> Action {
        self.tried += 1;
        self.enter(Stage::Opening, Action::Open(self.host))
    }

    fn wait(&mut self, now: Instant) -> Action {
        let lost_for = self.lost_at.map_or(Duration::ZERO, |at| now - at);
        let left = match self.policy.give_up_after {
            Some(limit) if lost_for >= limit => return self.enter(Stage::Over, Action::GiveUp),
            Some(limit) => limit - lost_for,
            None => Duration::MAX,
        };
        let delay = self.policy.jittered_delay(self.waits, &mut self.jitter);
        let delay = delay.min(left);
        self.waits = self.waits.saturating_add(1);
        self.enter(Stage::Waiting, Action::Wait(delay))
    }

    fn enter(&mut self, stage: Stage, action: Action) -> Action {
        self.stage = stage;
        action
    }
}

#[cfg(test)]
mod tests;
