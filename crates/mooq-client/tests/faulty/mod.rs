//! The in-memory broker's transport with faults that neither it nor RabbitMQ shows on demand, for
//! tests.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use futures_util::future::BoxFuture;
use mooq_core::mailbox::{Sender, mailbox};
use mooq_core::{
    Binding, ChannelEvent, Consume, ConsumerTag, Endpoint, Error, ExchangeDeclare, ExchangeName,
    Fetched, Handoff, OpenedChannel, OpenedConnection, Publish, QueueDeclare, QueueDeclared,
    QueueName, Result, Settle, ShortString, Transport, TransportChannel, TransportConnection,
};
use tokio::sync::watch;

/// Requests that may get no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Asked {
    /// `queue.declare`
    Declare,
    /// `basic.consume`
    Consume,
}

/// Faults to inject. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Faults(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    unanswered: watch::Sender<HashSet<(Asked, QueueName)>>,
    not_consumed: Option<(QueueName, Error)>,
    vanishing: Option<QueueName>,
    swallows: bool,
    no_channel: Option<(usize, Error)>,
    silent: bool,
    /// Senders of mailboxes that stay empty.
    unused: Vec<Sender<ChannelEvent>>,
}

impl Faults {
    /// Leaves requests of kind `asked` for `queue` unanswered from now on. The broker still carries
    /// them out.
    pub(crate) fn leave_unanswered(&self, asked: Asked, queue: &str) {
        let queue = queue.try_into().unwrap();
        let state = self.0.lock().unwrap();
        state.unanswered.send_modify(|unanswered| {
            unanswered.insert((asked, queue));
        });
    }

    /// Sends all withheld answers.
    pub(crate) fn answer(&self) {
        let state = self.0.lock().unwrap();
        state.unanswered.send_modify(HashSet::clear);
    }

    /// Returns the answer to `call`, which asks `asked` of `queue`, once it is not withheld.
    fn answer_to<'a, T: Send + 'a>(
        &self,
        asked: Asked,
        queue: QueueName,
        call: BoxFuture<'a, T>,
    ) -> BoxFuture<'a, T> {
        let mut unanswered = self.0.lock().unwrap().unanswered.subscribe();
        Box::pin(async move {
            let answer = call.await;
            let withheld = (asked, queue);
            let answered = unanswered.wait_for(|unanswered| !unanswered.contains(&withheld));
            drop(answered.await);
            answer
        })
    }

    /// Refuses consumers of `queue` with `err` from now on.
    pub(crate) fn refuse_consumers(&self, queue: &str, err: Error) {
        let queue = queue.try_into().unwrap();
        self.0.lock().unwrap().not_consumed = Some((queue, err));
    }

    /// Deletes `queue` just before the next consumer of it is registered.
    pub(crate) fn delete_before_consuming(&self, queue: &str) {
        self.0.lock().unwrap().vanishing = Some(queue.try_into().unwrap());
    }

    /// Loses every publish from now on, so that none is confirmed.
    pub(crate) fn swallow_publishes(&self) {
        self.0.lock().unwrap().swallows = true;
    }

    /// Refuses one channel with `err`, after this many more channels.
    pub(crate) fn refuse_channel(&self, after: usize, err: Error) {
        self.0.lock().unwrap().no_channel = Some((after, err));
    }

    fn may_open(&self) -> Result<()> {
        let mut state = self.0.lock().unwrap();
        match state.no_channel.take() {
            Some((0, err)) => Err(err),
            left => {
                state.no_channel = left.map(|(after, err)| (after - 1, err));
                Ok(())
            }
        }
    }

    /// Silences channels that are opened from now on, so that they report nothing, not even their
    /// end; or ends that.
    pub(crate) fn silence_channels(&self, silent: bool) {
        self.0.lock().unwrap().silent = silent;
    }

    /// Wraps `opened` with the faults.
    pub(crate) fn on_channel(&self, mut opened: OpenedChannel) -> OpenedChannel {
        let mut state = self.0.lock().unwrap();
        if state.silent {
            let (unused, nothing) = mailbox();
            state.unused.push(unused);
            opened.events = nothing;
        }
        drop(state);
        let (inner, faults) = (opened.channel, self.clone());
        OpenedChannel {
            channel: Arc::new(FaultyChannel { inner, faults }),
            ..opened
        }
    }

    /// Wraps `inner` with the faults on its channels.
    pub(crate) fn on_transport(&self, inner: impl Transport + 'static) -> Arc<dyn Transport> {
        let (inner, faults) = (Arc::new(inner) as Arc<dyn Transport>, self.clone());
        Arc::new(Faulty { inner, faults })
    }
}

#[derive(Debug)]
struct Faulty<T: ?Sized> {
    inner: Arc<T>,
    faults: Faults,
}

type FaultyChannel = Faulty<dyn TransportChannel>;

/// Methods that forward to those of the transport.
macro_rules! as_inside {
    ($(fn $name:ident($($arg:ident: $kind:ty),*) -> $output:ty;)*) => {$(
        fn $name<'a, 'b>(&'a self $(, $arg: $kind)*) -> BoxFuture<'b, Result<$output>>
        where
            'a: 'b,
            Self: 'b,
        {
            self.inner.$name($($arg),*)
        }
    )*};
}

impl Transport for Faulty<dyn Transport> {
    fn open<'a, 'b, 'c>(&'a self, endpoint: &'b Endpoint) -> BoxFuture<'c, Result<OpenedConnection>>
    where
        'a: 'c,
        'b: 'c,
        Self: 'c,
    {
        Box::pin(async move {
            let opened = self.inner.open(endpoint).await?;
            let (inner, faults) = (opened.connection, self.faults.clone());
            Ok(OpenedConnection {
                connection: Arc::new(Faulty { inner, faults }),
                ..opened
            })
        })
    }
}

impl TransportConnection for Faulty<dyn TransportConnection> {
    fn open_channel<'a, 'b>(&'a self) -> BoxFuture<'b, Result<OpenedChannel>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(async move {
            self.faults.may_open()?;
            let opened = self.inner.open_channel().await?;
            Ok(self.faults.on_channel(opened))
        })
    }

    fn closed(&self) -> Option<Error> {
        self.inner.closed()
    }

    fn frame_max(&self) -> u32 {
        self.inner.frame_max()
    }

    fn announces_blocked(&self) -> bool {
        self.inner.announces_blocked()
    }

    fn update_secret<'a, 'b, 'c, 'd>(
        &'a self,
        secret: &'b str,
        reason: &'c ShortString,
    ) -> BoxFuture<'d, Result<()>>
    where
        'a: 'd,
        'b: 'd,
        'c: 'd,
        Self: 'd,
    {
        self.inner.update_secret(secret, reason)
    }

    as_inside! {
        fn close() -> ();
    }
}

impl TransportChannel for FaultyChannel {
    fn consume<'a, 'b>(&'a self, consume: Consume) -> BoxFuture<'b, Result<ConsumerTag>>
    where
        'a: 'b,
        Self: 'b,
    {
        let queue = consume.queue.clone();
        let refused = self.faults.0.lock().unwrap().not_consumed.clone();
        if let Some((_, err)) = refused.filter(|(refused, _)| *refused == queue) {
            return Box::pin(async { Err(err) });
        }
        let mut state = self.faults.0.lock().unwrap();
        if let Some(vanishing) = state.vanishing.take_if(|vanishing| *vanishing == queue) {
            return Box::pin(async move {
                self.inner.delete_queue(vanishing, false, false).await?;
                self.inner.consume(consume).await
            });
        }
        drop(state);
        let call = self.inner.consume(consume);
        self.faults.answer_to(Asked::Consume, queue, call)
    }

    fn declare_queue<'a, 'b>(
        &'a self,
        declare: QueueDeclare,
    ) -> BoxFuture<'b, Result<QueueDeclared>>
    where
        'a: 'b,
        Self: 'b,
    {
        let queue = declare.name.clone();
        let call = self.inner.declare_queue(declare);
        self.faults.answer_to(Asked::Declare, queue, call)
    }

    fn publish(&self, publish: Publish) -> Result<Handoff> {
        match self.faults.0.lock().unwrap().swallows {
            true => Ok(Handoff::Done),
            false => self.inner.publish(publish),
        }
    }

    fn closed(&self) -> Option<Error> {
        self.inner.closed()
    }

    fn settle(&self, settle: Settle) -> Result<()> {
        self.inner.settle(settle)
    }

    as_inside! {
        fn close() -> ();
        fn declare_exchange(declare: ExchangeDeclare) -> ();
        fn delete_exchange(name: ExchangeName, if_unused: bool) -> ();
        fn bind(binding: Binding) -> ();
        fn unbind(binding: Binding) -> ();
        fn purge_queue(name: QueueName) -> u32;
        fn delete_queue(name: QueueName, if_unused: bool, if_empty: bool) -> u32;
        fn qos(prefetch_count: u16, global: bool) -> ();
        fn cancel(tag: ConsumerTag) -> ();
        fn get(queue: QueueName, no_ack: bool) -> Option<Fetched>;
        fn confirm_select() -> ();
    }
}
