//! A request under way: its attempts, up to its reply.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::Poll;

use mooq_client::{Channel, OnLoss, hooks};
use mooq_core::{Deliver, Error, ErrorKind, ErrorScope, Result};
use tokio::time::{Instant, timeout};

use crate::encoded::AsIs;
use crate::replies::{Place, REPLY_TO, Replies};
use crate::request::Sending;
use crate::waiting::Answer;

/// Number of losses of the connection while the consumer of replies is registered for one request
/// that is to be sent again.
const LOSSES: usize = 2;

/// How far a request has come, for the error at its timeout.
#[derive(Default)]
struct Progress(AtomicU8);

impl Progress {
    const SENT: u8 = 1;
    const CONFIRMED: u8 = 2;

    fn set(&self, stage: u8) {
        self.0.store(stage, Ordering::Relaxed);
    }

    fn told(&self) -> &'static str {
        match self.0.load(Ordering::Relaxed) {
            Self::CONFIRMED => "the broker had taken it",
            Self::SENT => "the broker had not confirmed it",
            _ => "it was not sent",
        }
    }
}

/// Sends a request, and returns its reply. `to` names it in errors.
pub(crate) async fn reply_to(sending: Sending, to: &str) -> Result<Deliver> {
    let progress = Progress::default();
    let limit = sending.timeout;
    let timed_out = || {
        let told = progress.told();
        let message = format!("no reply to {to} came within its timeout of {limit:?}: {told}");
        Error::new(ErrorKind::TimedOut, message)
    };
    let Ok(replied) = timeout(limit, replied(&sending, &progress)).await else {
        return Err(timed_out());
    };
    replied.map_err(|err| match err.kind() {
        ErrorKind::Returned => {
            let message = format!("no queue takes {to}: {err}");
            Error::new(ErrorKind::NoResponder, message).with_source(err)
        }
        // The publish has the same limit.
        ErrorKind::TimedOut => timed_out().with_source(err),
        _ => err,
    })
}

async fn replied(sending: &Sending, progress: &Progress) -> Result<Deliver> {
    let began = Instant::now();
    let channel = &sending.channel;
    let replies = hooks::state::<Replies>(channel);
    // Before the consumer is looked at: from now on its end ends the request.
    let place = Place::take(&replies)?;
    let resends = sending.on_loss == OnLoss::Resend;
    loop {
        register(&replies, channel, resends).await?;
        progress.set(Progress::SENT);
        let left = sending.timeout.saturating_sub(began.elapsed());
        let mut properties = sending.properties.clone();
        properties.reply_to = REPLY_TO.try_into().ok();
        properties.correlation_id = Some(place.id().clone());
        properties.expiration = None;
        let publish = channel
            .publish_with(sending.exchange.clone(), &sending.body, AsIs)
            .routing_key(sending.routing_key.clone())
            .properties(properties)
            .mandatory()
            .timeout(left)
            .expires_with_timeout();
        // A channel that is closed for good ends the loop here.
        let confirmed = hooks::confirmed_on(publish.send().await?);
        match answer(&place, confirmed, progress).await {
            Ok(Answer::Reply(reply)) => return Ok(reply),
            Ok(Answer::Lost(reason)) if resends => {
                tracing::debug!(%reason, "a request is sent again");
            }
            // Another error may be because of the request itself.
            Err(err) if resends && err.scope() == ErrorScope::Connection => {
                tracing::debug!(%err, "a request is sent again");
            }
            Ok(Answer::Lost(err) | Answer::Ended(err)) | Err(err) => return Err(err),
        }
    }
}

/// Registers the consumer of replies.
async fn register(replies: &Arc<Replies>, channel: &Channel, resends: bool) -> Result<()> {
    let mut losses = 0;
    loop {
        match replies.register(channel).await {
            Err(err) if err.kind() == ErrorKind::ConnectionLost && resends && losses < LOSSES => {
                losses += 1;
            }
            // That was the connection's timeout, and the request has one of its own.
            Err(err) if err.kind() == ErrorKind::TimedOut => tokio::task::yield_now().await,
            registered => return registered,
        }
    }
}

/// Waits for the end of one attempt.
///
/// # Errors
/// The error of the publish.
async fn answer(
    place: &Place,
    confirmed: impl Future<Output = Result<u64>>,
    progress: &Progress,
) -> Result<Answer> {
    let mut confirmed = pin!(confirmed);
    let mut confirmed_on = None;
    poll_fn(|cx| {
        let mut failed = None;
        if confirmed_on.is_none()
            && let Poll::Ready(outcome) = confirmed.as_mut().poll(cx)
        {
            match outcome {
                Ok(on) => {
                    confirmed_on = Some(on);
                    progress.set(Progress::CONFIRMED);
                }
                Err(err) => failed = Some(err),
            }
        }
        // A reply counts, whatever became of the confirm.
        match (place.poll(confirmed_on, cx.waker()), failed) {
            (Poll::Ready(Answer::Reply(reply)), _) => Poll::Ready(Ok(Answer::Reply(reply))),
            (_, Some(err)) => Poll::Ready(Err(err)),
            (answer, None) => answer.map(Ok),
        }
    })
    .await
}
