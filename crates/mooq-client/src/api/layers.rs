//! Layers around callbacks and publishes: services in the shape of [tower](https://docs.rs/tower).
//!
//! A layer wraps a [`tower_service::Service`]. For a callback that service takes a delivery whose
//! body is not decoded yet, and returns the outcome of the callback. For a publish it takes the
//! message, and returns its [`Confirmation`].

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use mooq_core::{Error, ErrorKind, Result};
use mooq_retry::Outcome;
use tower_layer::Layer;
use tower_service::Service;

use super::confirmation::{Confirmation, Outgoing};
use super::delivery::Delivery;
use super::outcome::CallbackError;
use crate::runtime::handler::{Call, Called, Handler};

pub use crate::runtime::handler::Undecodable;

/// A consumer's callback, and the layers around it that were added later: what a layer of a
/// consumer wraps. It decodes the body, and is always ready.
///
/// Its error is the callback's, or [`Undecodable`]. A panic of the callback unwinds through the
/// layers.
#[derive(Clone)]
pub struct CallbackService(pub(crate) Arc<dyn Handler>);

impl Service<Delivery<Bytes>> for CallbackService {
    type Response = Outcome;
    type Error = CallbackError;
    type Future = BoxFuture<'static, Called>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), CallbackError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, delivery: Delivery<Bytes>) -> Self::Future {
        Arc::clone(&self.0).boxed_call(delivery)
    }
}

/// Handing messages to the transport, and the layers around it that were added later: what a layer
/// of publishes wraps. It is always ready.
#[derive(Clone)]
pub struct PublishService(Arc<dyn Publishing>);

impl Service<Outgoing> for PublishService {
    type Response = Confirmation;
    type Error = Error;
    type Future = BoxFuture<'static, Result<Confirmation>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, message: Outgoing) -> Self::Future {
        self.0.publish(message)
    }
}

trait Publishing: Send + Sync {
    fn publish(&self, message: Outgoing) -> BoxFuture<'static, Result<Confirmation>>;
}

/// The service within all layers.
struct HandOver;

impl Publishing for HandOver {
    fn publish(&self, message: Outgoing) -> BoxFuture<'static, Result<Confirmation>> {
        Box::pin(message.into_transport())
    }
}

impl fmt::Debug for CallbackService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CallbackService")
    }
}

impl fmt::Debug for PublishService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PublishService")
    }
}

/// A service of a layer.
struct Layered<S>(S);

impl<S> Call for Layered<S>
where
    S: Service<Delivery<Bytes>, Response = Outcome, Error: Into<CallbackError>, Future: Send>
        + Clone
        + Send
        + Sync
        + 'static,
{
    async fn call(&self, raw: Delivery<Bytes>) -> Called {
        let mut service = self.0.clone();
        let ready = poll_fn(|cx| service.poll_ready(cx)).await;
        ready.map_err(Into::into)?;
        service.call(raw).await.map_err(Into::into)
    }
}

impl<S> Publishing for Layered<S>
where
    S: Service<Outgoing, Response = Confirmation, Error: Into<CallbackError>, Future: Send>
        + Clone
        + Send
        + Sync
        + 'static,
{
    fn publish(&self, message: Outgoing) -> BoxFuture<'static, Result<Confirmation>> {
        let mut service = self.0.clone();
        Box::pin(async move {
            let ready = poll_fn(|cx| service.poll_ready(cx)).await;
            ready.map_err(|err| of_layer(err.into()))?;
            let published = service.call(message).await;
            published.map_err(|err| of_layer(err.into()))
        })
    }
}

/// The error of a publish whose layer failed.
fn of_layer(err: CallbackError) -> Error {
    match err.downcast::<Error>() {
        Ok(own) => *own,
        Err(other) => {
            let text = format!("a layer around the publish failed: {other}");
            Error::new(ErrorKind::LayerFailed, text).with_source(other)
        }
    }
}

/// A layer around callbacks: any [`tower_layer::Layer`] around a [`CallbackService`], if what it
/// makes is a cloneable service of `Delivery<Bytes>` that returns an [`Outcome`].
pub trait CallbackLayer: Send + Sync + 'static {
    #[doc(hidden)]
    fn around(&self, inner: CallbackService) -> CallbackService;
}

impl<L> CallbackLayer for L
where
    L: Layer<CallbackService> + Send + Sync + 'static,
    Layered<L::Service>: Call,
{
    fn around(&self, inner: CallbackService) -> CallbackService {
        CallbackService(Arc::new(Layered(self.layer(inner))))
    }
}

/// A layer around publishes: any [`tower_layer::Layer`] around a [`PublishService`], if what it
/// makes is a cloneable service of [`Outgoing`] that returns a [`Confirmation`].
pub trait PublishLayer: Send + Sync + 'static {
    #[doc(hidden)]
    fn around(&self, inner: PublishService) -> PublishService;
}

impl<L> PublishLayer for L
where
    L: Layer<PublishService> + Send + Sync + 'static,
    Layered<L::Service>: Publishing + 'static,
{
    fn around(&self, inner: PublishService) -> PublishService {
        PublishService(Arc::new(Layered(self.layer(inner))))
    }
}

/// The layers around the callbacks and the publishes of a channel or a connection, from the
/// outermost to the innermost, as they were added.
#[derive(Clone, Default)]
pub(crate) struct Layers {
    pub(crate) callbacks: CallbackLayers,
    publishes: Vec<Arc<dyn PublishLayer>>,
    /// None without layers.
    pub(crate) publishing: Option<PublishService>,
}

/// The layers around a callback.
#[derive(Clone, Default)]
pub(crate) struct CallbackLayers(Vec<Arc<dyn CallbackLayer>>);

impl fmt::Debug for Layers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Layers")
            .field("callbacks", &self.callbacks)
            .field("publishes", &self.publishes.len())
            .finish()
    }
}

impl fmt::Debug for CallbackLayers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CallbackLayers")
            .field(&self.0.len())
            .finish()
    }
}

impl CallbackLayers {
    pub(crate) fn push(&mut self, layer: impl CallbackLayer) {
        self.0.push(Arc::new(layer));
    }

    pub(crate) fn around(&self, handler: Arc<dyn Handler>) -> Arc<dyn Handler> {
        let layers = self.0.iter().rev();
        let layered = layers.fold(CallbackService(handler), |inner, layer| layer.around(inner));
        layered.0
    }
}

impl Layers {
    pub(crate) fn push_publish(&mut self, layer: impl PublishLayer) {
        self.publishes.push(Arc::new(layer));
        let inner = PublishService(Arc::new(HandOver));
        let layers = self.publishes.iter().rev();
        self.publishing = Some(layers.fold(inner, |inner, layer| layer.around(inner)));
    }
}
