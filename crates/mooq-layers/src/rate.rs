//! At most so many calls in a time.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};
use tower_layer::Layer;
use tower_service::Service;

/// A layer that lets at most `n` calls begin in any period of this length; others wait, in order.
/// Clones of the layer, and everything that it is around, share the limit.
///
/// # Examples
/// ```
/// use std::time::Duration;
///
/// use mooq::Delivery;
/// use mooq::layers::RateLimit;
///
/// # async fn notify(text: &str) -> std::io::Result<()> { Ok(()) }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> mooq::Result<()> {
/// # use mooq::memory::InMemoryBroker;
/// # let broker = InMemoryBroker::start();
/// # let conn = mooq::connect(&broker).await?;
/// # let chan = conn.create_channel().await?;
/// chan.register_consumer("notices", "fanout")
///     .queue("to-text")
///     .layer(RateLimit::new(10, Duration::from_secs(1)))
///     .callback(|notice: Delivery<String>| async move { notify(&notice.msg).await })
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct RateLimit(Arc<Limit>);

#[derive(Debug)]
struct Limit {
    n: usize,
    period: Duration,
    /// The times of the latest `n` calls. The lock is held by the call that waits, so that those
    /// behind it keep their order.
    begun: Mutex<VecDeque<Instant>>,
}

impl RateLimit {
    /// A limit of `n` calls in any period of this length. An `n` of 0 counts as 1.
    #[must_use]
    pub fn new(n: usize, period: Duration) -> Self {
        Self(Arc::new(Limit {
            n: n.max(1),
            period,
            begun: Mutex::default(),
        }))
    }
}

impl Limit {
    /// Waits until one more call may begin.
    async fn wait(&self) {
        let mut begun = self.begun.lock().await;
        if begun.len() >= self.n
            && let Some(oldest) = begun.front()
        {
            sleep(self.period.saturating_sub(oldest.elapsed())).await;
            begun.pop_front();
        }
        begun.push_back(Instant::now());
    }
}

impl<S> Layer<S> for RateLimit {
    type Service = RateLimited<S>;

    fn layer(&self, inner: S) -> RateLimited<S> {
        RateLimited {
            inner,
            limit: Arc::clone(&self.0),
        }
    }
}

/// The service of a [`RateLimit`].
#[derive(Debug, Clone)]
pub struct RateLimited<S> {
    inner: S,
    limit: Arc<Limit>,
}

impl<S, Request> Service<Request> for RateLimited<S>
where
    S: Service<Request, Future: Send> + Clone + Send + 'static,
    Request: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let limit = Arc::clone(&self.limit);
        let mut ready = take_ready(&mut self.inner);
        Box::pin(async move {
            limit.wait().await;
            ready.call(request).await
        })
    }
}

/// Takes a service that is ready, and leaves a clone, which is not.
pub(crate) fn take_ready<S: Clone>(service: &mut S) -> S {
    let clone = service.clone();
    mem::replace(service, clone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn no_period_has_more_calls_than_allowed() {
        let RateLimit(limit) = RateLimit::new(2, Duration::from_secs(1));
        let start = Instant::now();
        let mut begun = Vec::new();
        for _ in 0..5 {
            limit.wait().await;
            begun.push(start.elapsed().as_millis());
        }
        assert_eq!(begun, [0, 0, 1000, 1000, 2000]);
        tokio::time::advance(Duration::from_millis(2500)).await;
        limit.wait().await;
        limit.wait().await;
        limit.wait().await;
        assert_eq!(start.elapsed().as_millis(), 5500);
    }

    #[tokio::test(start_paused = true)]
    async fn a_period_that_no_clock_can_add_never_ends() {
        let RateLimit(limit) = RateLimit::new(1, Duration::MAX);
        limit.wait().await;
        let day = Duration::from_secs(24 * 60 * 60);
        assert!(tokio::time::timeout(day, limit.wait()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_stops_waiting_takes_no_place() {
        let RateLimit(limit) = RateLimit::new(1, Duration::from_secs(1));
        limit.wait().await;
        let start = Instant::now();
        let given_up = tokio::time::timeout(Duration::from_millis(10), limit.wait()).await;
        assert!(given_up.is_err());
        limit.wait().await;
        assert_eq!(start.elapsed().as_millis(), 1000);
    }
}
