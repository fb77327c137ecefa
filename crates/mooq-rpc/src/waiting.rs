//! The requests of a channel that wait for their replies, without I/O or locks.

use std::collections::HashMap;
use std::task::{Poll, Waker};

use foldhash::fast::RandomState;
use mooq_client::hooks::Direct;
use mooq_core::{Deliver, Error, ShortString};

/// The end of a wait.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The reply.
    Reply(Deliver),
    /// The channel was lost after the broker confirmed the request, and the reply's address with
    /// it.
    Lost(Error),
    /// The consumer of the replies has ended.
    Ended(Error),
}

/// The requests that wait, by their correlation ids, and the registration of the consumer of their
/// replies.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    requests: HashMap<ShortString, Slot, RandomState>,
    /// The incarnation of the channel that was lost last, and the reason.
    lost: Option<(u64, Error)>,
    /// Number of the latest registration that was begun.
    begun: u64,
    /// Number of the registration that the broker has answered, until it ends.
    registered: Option<u64>,
    /// Number of the registration that ended last, and the reason.
    ended: Option<(u64, Error)>,
}

#[derive(Debug, Default)]
struct Slot {
    waker: Option<Waker>,
    reply: Option<Deliver>,
    ended: Option<Error>,
}

impl Waiting {
    /// Adds a request.
    pub(crate) fn add(&mut self, id: ShortString) {
        self.requests.insert(id, Slot::default());
    }

    /// Removes a request. Returns its reply if there is one that was not taken.
    pub(crate) fn remove(&mut self, id: &ShortString) -> Option<Deliver> {
        self.requests.remove(id)?.reply
    }

    /// Number of requests.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.requests.len()
    }

    /// Returns the end of a request's wait. `confirmed_on` is the incarnation of the channel on
    /// which the broker confirmed the request: the reply has to come on the same one.
    pub(crate) fn poll(
        &mut self,
        id: &ShortString,
        confirmed_on: Option<u64>,
        waker: &Waker,
    ) -> Poll<Answer> {
        let Some(slot) = self.requests.get_mut(id) else {
            return Poll::Pending;
        };
        if let Some(reply) = slot.reply.take() {
            return Poll::Ready(Answer::Reply(reply));
        }
        if let Some(reason) = &slot.ended {
            return Poll::Ready(Answer::Ended(reason.clone()));
        }
        if let (Some(on), Some((lost, reason))) = (confirmed_on, &self.lost)
            && on <= *lost
        {
            return Poll::Ready(Answer::Lost(reason.clone()));
        }
        slot.waker = Some(waker.clone());
        Poll::Pending
    }

    /// Takes news of the consumer with this number, and wakes the requests that they concern by
    /// `woken`. Returns a reply that no request waits for.
    pub(crate) fn take(
        &mut self,
        registration: u64,
        news: Direct,
        woken: &mut Vec<Waker>,
    ) -> Option<Deliver> {
        match news {
            Direct::Deliver(deliver) => {
                let id = deliver.message.properties.correlation_id.as_ref();
                let slot = id.and_then(|id| self.requests.get_mut(id));
                let Some(slot) = slot.filter(|slot| slot.reply.is_none()) else {
                    return Some(deliver);
                };
                slot.reply = Some(deliver);
                woken.extend(slot.waker.take());
            }
            Direct::Lost { wire, reason } => {
                self.lost = Some((wire, reason));
                woken.extend(self.requests.values_mut().filter_map(|s| s.waker.take()));
            }
            Direct::Ended(reason) => self.end(registration, &reason, woken),
        }
        None
    }

    /// Returns true if the broker sends the channel's replies.
    pub(crate) fn is_registered(&self) -> bool {
        self.registered.is_some()
    }

    /// Returns a number for a registration that begins.
    pub(crate) fn begin(&mut self) -> u64 {
        self.begun += 1;
        self.begun
    }

    /// Records that the broker has answered a registration.
    ///
    /// # Errors
    /// The reason of its end, if it has ended since.
    pub(crate) fn registered(&mut self, registration: u64) -> Result<(), Error> {
        match &self.ended {
            Some((ended, reason)) if *ended >= registration => Err(reason.clone()),
            _ => {
                self.registered = Some(registration);
                Ok(())
            }
        }
    }

    /// Records the end of a registration. If the broker had answered it, the requests that wait end
    /// with it.
    pub(crate) fn end(&mut self, registration: u64, reason: &Error, woken: &mut Vec<Waker>) {
        // The first reason counts.
        if self
            .ended
            .as_ref()
            .is_none_or(|(ended, _)| *ended < registration)
        {
            self.ended = Some((registration, reason.clone()));
        }
        if self.registered != Some(registration) {
            return;
        }
        self.registered = None;
        for slot in self.requests.values_mut() {
            slot.ended = Some(reason.clone());
            woken.extend(slot.waker.take());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mooq_core::in_flight::InFlight;
    use mooq_core::{ErrorKind, Message, Properties};

    use super::*;

    fn id(text: &str) -> ShortString {
        text.try_into().unwrap()
    }

    fn reply(to: Option<&str>) -> Direct {
        let mut properties = Properties::default();
        properties.correlation_id = to.map(id);
        Direct::Deliver(Deliver {
            consumer_tag: "tag".try_into().unwrap(),
            delivery_tag: 1,
            redelivered: false,
            message: Arc::new(Message {
                exchange: "".try_into().unwrap(),
                routing_key: "address".try_into().unwrap(),
                properties: Arc::new(properties),
                body: to.unwrap_or_default().to_owned().into(),
            }),
            in_flight: InFlight::default(),
        })
    }

    fn lost(wire: u64) -> Direct {
        let reason = Error::connection(ErrorKind::ConnectionLost, "lost");
        Direct::Lost { wire, reason }
    }

    fn take(waiting: &mut Waiting, news: Direct) -> Option<Deliver> {
        waiting.take(1, news, &mut Vec::new())
    }

    fn poll(waiting: &mut Waiting, of: &str, confirmed_on: Option<u64>) -> Poll<Answer> {
        waiting.poll(&id(of), confirmed_on, Waker::noop())
    }

    /// Requests that wait for a consumer that the broker has answered.
    fn waiting(ids: &[&str]) -> Waiting {
        let mut waiting = Waiting::default();
        let registration = waiting.begin();
        waiting.registered(registration).unwrap();
        for of in ids {
            waiting.add(id(of));
        }
        waiting
    }

    #[test]
    fn replies_reach_their_requests_in_any_order() {
        let mut waiting = waiting(&["a", "b"]);
        assert!(take(&mut waiting, reply(Some("b"))).is_none());
        assert!(poll(&mut waiting, "a", Some(1)).is_pending());
        assert!(take(&mut waiting, reply(Some("a"))).is_none());
        for of in ["a", "b"] {
            let polled = poll(&mut waiting, of, Some(1));
            let Poll::Ready(Answer::Reply(deliver)) = polled else {
                panic!("{of}: {polled:?}");
            };
            assert_eq!(deliver.message.body, of);
        }
    }

    #[test]
    fn reply_that_no_request_waits_for_is_returned() {
        let mut waiting = waiting(&["a", "gone"]);
        waiting.remove(&id("gone"));
        assert!(take(&mut waiting, reply(Some("gone"))).is_some());
        assert!(take(&mut waiting, reply(Some("never asked"))).is_some());
        assert!(take(&mut waiting, reply(None)).is_some());
        assert!(take(&mut waiting, reply(Some("a"))).is_none());
        // The first one counts.
        assert!(take(&mut waiting, reply(Some("a"))).is_some());
        assert!(waiting.remove(&id("a")).is_some(), "it was not taken");
    }

    #[test]
    fn request_is_lost_with_the_channel_that_confirmed_it_alone() {
        let mut waiting = waiting(&["before", "unconfirmed", "after"]);
        assert!(poll(&mut waiting, "before", Some(4)).is_pending());
        take(&mut waiting, lost(4));
        assert!(matches!(
            poll(&mut waiting, "before", Some(4)),
            Poll::Ready(Answer::Lost(_))
        ));
        assert!(poll(&mut waiting, "unconfirmed", None).is_pending());
        assert!(poll(&mut waiting, "after", Some(6)).is_pending());
        take(&mut waiting, lost(6));
        assert!(matches!(
            poll(&mut waiting, "after", Some(6)),
            Poll::Ready(Answer::Lost(_))
        ));
    }

    #[test]
    fn reply_before_a_loss_counts() {
        let mut waiting = waiting(&["a"]);
        take(&mut waiting, reply(Some("a")));
        take(&mut waiting, lost(4));
        let polled = poll(&mut waiting, "a", Some(4));
        assert!(matches!(polled, Poll::Ready(Answer::Reply(_))));
    }

    #[test]
    fn end_of_the_consumer_ends_the_requests_that_wait() {
        let mut waiting = waiting(&["a"]);
        let reason = Error::channel(ErrorKind::ChannelClosed, "closed");
        take(&mut waiting, Direct::Ended(reason.clone()));
        assert!(matches!(
            poll(&mut waiting, "a", None),
            Poll::Ready(Answer::Ended(_))
        ));
        assert!(!waiting.is_registered());

        // The next registration ends before it is known to have succeeded.
        let next = waiting.begin();
        waiting.end(next, &reason, &mut Vec::new());
        assert!(waiting.registered(next).is_err());
        let next = waiting.begin();
        waiting.registered(next).unwrap();
        assert!(waiting.is_registered());
    }

    #[test]
    fn registration_given_up_midway_ends_no_request() {
        let mut waiting = Waiting::default();
        waiting.add(id("a"));
        let given_up = waiting.begin();
        let next = waiting.begin();
        waiting.registered(next).unwrap();
        let reason = Error::channel(ErrorKind::ChannelClosed, "closed");
        waiting.end(given_up, &reason, &mut Vec::new());
        assert!(waiting.is_registered());
        assert!(poll(&mut waiting, "a", Some(1)).is_pending());
    }
}
