//! Counting what is under way between a broker and its clients.
//!
//! A broker in this process can know when nothing is: what it hands out carries an [`InFlight`],
//! which whoever handles it keeps until that is done, and then drops. A broker elsewhere counts
//! nothing, and what comes from it carries an empty one.
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

/// How much is under way. Clones are the same count.
#[derive(Clone)]
pub struct InFlightCount(Arc<Shared>);

struct Shared {
    count: AtomicUsize,
    on_none: Box<dyn Fn() + Send + Sync>,
}

impl InFlightCount {
    /// A count of nothing. Each time it becomes that again `on_none` is called, by whoever ended
    /// the last: it should do little, and lock nothing that is held while something ends.
    #[must_use]
    pub fn new(on_none: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(Shared {
            count: AtomicUsize::new(0),
            on_none: Box::new(on_none),
        }))
    }

    /// How much is under way.
    #[must_use]
    pub fn get(&self) -> usize {
        self.0.count.load(Ordering::SeqCst)
    }

    /// Counts one more thing, until that is dropped.
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

/// Something that is under way as long as this or a clone of it is there. The default one counts
/// nowhere.
///
/// It says nothing of what it is kept with, and so all of them are equal.
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
