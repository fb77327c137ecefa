//! The consumer of a channel's replies.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use mooq_client::Channel;
use mooq_client::hooks::{self, Direct};
use mooq_core::{Consume, Error, ErrorKind, IntoChecked, QueueName, Result, ShortString};

use crate::waiting::{Answer, Waiting};

/// The pseudo-queue of direct reply-to: the queue that replies are consumed from, and the address
/// that requests give. The broker puts the channel's own address in its place.
pub(crate) const REPLY_TO: &str = "amq.rabbitmq.reply-to";

/// The replies of a channel.
#[derive(Debug)]
pub(crate) struct Replies {
    /// Held by the request that registers the consumer.
    registering: tokio::sync::Mutex<()>,
    waiting: Mutex<Waiting>,
    late: AtomicU64,
    /// Beginning of the channel's correlation ids, at random.
    prefix: u128,
    /// Number of requests so far.
    requests: AtomicU64,
}

impl Default for Replies {
    fn default() -> Self {
        Self {
            registering: tokio::sync::Mutex::default(),
            waiting: Mutex::default(),
            late: AtomicU64::new(0),
            prefix: fastrand::u128(..),
            requests: AtomicU64::new(0),
        }
    }
}

impl Replies {
    /// Number of replies that no request waited for.
    pub(crate) fn late(&self) -> u64 {
        self.late.load(Ordering::Relaxed)
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count_late(&self, id: Option<&ShortString>) {
        self.late.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(
            correlation_id = id.map(ShortString::as_str),
            "a reply was dropped: no request waits for it any more"
        );
    }

    /// Registers the consumer, unless it is there. It stays until its channel ends.
    ///
    /// # Errors
    /// As of a consumer.
    ///
    /// # Cancel safety
    /// If the future is dropped midway, another request registers the consumer.
    pub(crate) async fn register(self: &Arc<Self>, channel: &Channel) -> Result<()> {
        if self.waiting().is_registered() {
            return Ok(());
        }
        let _turn = self.registering.lock().await;
        if self.waiting().is_registered() {
            return Ok(());
        }
        let number = self.waiting().begin();
        let registration = Registration {
            replies: Arc::clone(self),
            number,
        };
        let queue: QueueName = REPLY_TO.into_checked()?;
        let take = move |news| registration.take(news);
        hooks::consume_direct(channel, Consume::new(queue), take).await?;
        self.waiting().registered(number)
    }
}

/// The consumer's end of its registration. It is dropped when no news follow.
struct Registration {
    replies: Arc<Replies>,
    number: u64,
}

impl Registration {
    fn take(&self, news: Direct) {
        let mut woken = Vec::new();
        let late = self.replies.waiting().take(self.number, news, &mut woken);
        if let Some(late) = late {
            let id = late.message.properties.correlation_id.as_ref();
            self.replies.count_late(id);
        }
        woken.into_iter().for_each(Waker::wake);
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        // Without a reason if the runtime ends, and changes nothing after an end with one.
        let reason = Error::connection(
            ErrorKind::ConnectionLost,
            "the runtime that the connection was opened on has ended",
        );
        let mut woken = Vec::new();
        self.replies.waiting().end(self.number, &reason, &mut woken);
        woken.into_iter().for_each(Waker::wake);
    }
}

/// A request's place among those that wait for a reply, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    replies: Arc<Replies>,
    id: ShortString,
}

impl Place {
    /// Takes a place, with a correlation id that no other request has.
    pub(crate) fn take(replies: &Arc<Replies>) -> Result<Self> {
        let number = replies.requests.fetch_add(1, Ordering::Relaxed);
        let id: ShortString = format!("{:032x}-{number}", replies.prefix).into_checked()?;
        replies.waiting().add(id.clone());
        Ok(Self {
            replies: Arc::clone(replies),
            id,
        })
    }

    pub(crate) fn id(&self) -> &ShortString {
        &self.id
    }

    pub(crate) fn poll(&self, confirmed_on: Option<u64>, waker: &Waker) -> Poll<Answer> {
        self.replies.waiting().poll(&self.id, confirmed_on, waker)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let unread = self.replies.waiting().remove(&self.id);
        if unread.is_some() {
            self.replies.count_late(Some(&self.id));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn correlation_ids_differ_within_a_channel_and_between_channels() {
        let channels = [Arc::<Replies>::default(), Arc::default()];
        let places = channels.iter().flat_map(|replies| {
            std::iter::repeat_with(move || Place::take(replies).unwrap()).take(100)
        });
        let ids: HashSet<_> = places.map(|place| place.id().clone()).collect();
        assert_eq!(ids.len(), 200);
        assert!(ids.iter().all(|id| id.len() >= 32));
    }

    #[test]
    fn place_that_is_given_up_leaves_nothing_behind() {
        let replies = Arc::<Replies>::default();
        drop(Place::take(&replies).unwrap());
        assert_eq!(replies.waiting().len(), 0);
        assert_eq!(replies.late(), 0);
    }
}
