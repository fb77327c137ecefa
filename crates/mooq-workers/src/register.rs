//! The registrations of callbacks.

use mooq_client::{Callback, NoCallback, RegisterCallback, RegisterConsumer, WithCallback};
use mooq_codecs::Decode;
use mooq_core::Error;

/// A registration that has no callback yet, and decodes bodies to `T`:
/// [`RegisterConsumer`] or [`RegisterCallback`].
pub trait Register<T>: sealed::Options {
    /// The registration with its callback, to be awaited.
    type Registered;

    #[doc(hidden)]
    fn with_callback<F: Callback<T>>(self, callback: F) -> Self::Registered;
}

impl<T, C> Register<T> for RegisterConsumer<C, NoCallback>
where
    T: Send + 'static,
    C: Decode<T> + Send + Sync + 'static,
{
    type Registered = RegisterConsumer<(), WithCallback>;

    fn with_callback<F: Callback<T>>(self, callback: F) -> Self::Registered {
        self.callback(callback)
    }
}

impl<T, C> Register<T> for RegisterCallback<C, NoCallback>
where
    T: Send + 'static,
    C: Decode<T> + Send + Sync + 'static,
{
    type Registered = RegisterCallback<(), WithCallback>;

    fn with_callback<F: Callback<T>>(self, callback: F) -> Self::Registered {
        self.callback(callback)
    }
}

pub(crate) mod sealed {
    use super::{Error, NoCallback, RegisterCallback, RegisterConsumer};

    /// Options that are set on a registration for its user.
    pub trait Options: Sized {
        fn at_once(self, n: u16) -> Self;
        fn fail_with(self, err: Error) -> Self;
    }

    /// As many unacked deliveries as a consumer holds by default.
    const PREFETCH: u16 = 256;

    impl<C> Options for RegisterConsumer<C, NoCallback> {
        fn at_once(self, n: u16) -> Self {
            self.prefetch(n.max(PREFETCH)).concurrency(n.into())
        }

        fn fail_with(self, err: Error) -> Self {
            self.fail(err)
        }
    }

    impl<C> Options for RegisterCallback<C, NoCallback> {
        fn at_once(self, n: u16) -> Self {
            self.prefetch(n.max(PREFETCH)).concurrency(n.into())
        }

        fn fail_with(self, err: Error) -> Self {
            self.fail(err)
        }
    }
}
