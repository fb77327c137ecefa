//! A count of the work in flight between a broker and its clients.
//!
//! A broker in this process can know when nothing is in flight: each thing that it hands out
//! carries an [`InFlight`], which the handler keeps until the work is done and then drops. A broker
//! elsewhere counts nothing, so its deliveries carry an empty [`InFlight`].
//!
//! ```
//! use mooq_core::in_flight::InFlightCount;
//!
//! let count = InFlightCount::new(|| println!("nothing is under way any more"));
//! let delivery = count.begin();
//! let its_callback = delivery.clone();
//! drop(delivery);
//! assert_eq!(count.get(), 1);
//! drop(its_callback);
//! assert_eq!(count.get(), 0);
//! ```

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Number of things in flight. Clones share the same count.
#[derive(Clone)]
pub struct InFlightCount(Arc<Shared>);

struct Shared {
    count: AtomicUsize,
    on_none: Box<dyn Fn() + Send + Sync>,
}

impl InFlightCount {
    /// A count of zero. Each time the count returns to zero it calls `on_none`, on the thread that
    /// ended the last thing: `on_none` should do little, and take no lock that is held while
    /// something ends.
    #[must_use]
    pub fn new(on_none: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(Shared {
            count: AtomicUsize::new(0),
            on_none: Box::new(on_none),
        }))
    }

    /// Number of things in flight.
    #[must_use]
    pub fn get(&self) -> usize {
        self.0.count.load(Ordering::SeqCst)
    }

    /// Counts one more thing, until the returned [`InFlight`] is dropped.
    #[must_use]
    pub fn begin(&self) -> InFlight {
        self.add();
        InFlight(Some(self.clone()))
    }

    pub(crate) fn add(&self) {
        self.0.count.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn subtract(&self) {
        if self.0.count.fetch_sub(1, Ordering::SeqCst) == 1 {
            (self.0.on_none)();
        }
    }
}

impl fmt::Debug for InFlightCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("InFlightCount").field(&self.get()).finish()
    }
}

/// A thing that is in flight as long as this value or a clone of it exists. The default value is
/// not counted anywhere.
///
/// An [`InFlight`] says nothing about the value that it is kept with, so all of them are equal.
#[derive(Default)]
pub struct InFlight(Option<InFlightCount>);

impl Clone for InFlight {
    fn clone(&self) -> Self {
        match &self.0 {
            Some(count) => count.begin(),
            None => Self(None),
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if let Some(count) = &self.0 {
            count.subtract();
        }
    }
}

impl PartialEq for InFlight {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl fmt::Debug for InFlight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InFlight")
    }
}
