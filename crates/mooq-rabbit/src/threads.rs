//! The threads that run connections: this crate's own, for all connections of the process, so that
//! a connection stays alive while its user's threads are busy.
//!
//! amqprs reads nested tables by recursive calls, and every publisher decides how deep a header of
//! a message nests. On the threads of a user's runtime, with 2 MiB of stack, a header of 13 kB
//! aborts the process, and then the next process that reads the queue. So everything that amqprs
//! has read is handled on threads of its own, whose stack has room for as many levels as fit in a frame,
//! until only mooq's own tables are left, which do not nest deeper than
//! [`FieldTable::MAX_DEPTH`](mooq_core::FieldTable::MAX_DEPTH).

use std::collections::VecDeque;
use std::io;
use std::num::NonZero;
use std::sync::{Mutex, PoisonError};
use std::thread;

use tokio::runtime::{Builder, Handle, Runtime};

/// Stack size of amqprs' threads. The system provides only the part that is used.
///
/// Reading takes 4.1 kB a level without optimizations and 1.1 kB with, cloning and dropping less. A
/// level takes at least 5 bytes of a frame in an array, or 6 in a table, so that 128 KiB, which is
/// RabbitMQ's `frame_max`, hold up to 26,000 and 22,000 levels: 90 MB. The rest is for brokers with
/// a larger `frame_max`, and for logins, whose frames are not limited.
const STACK: usize = if cfg!(target_pointer_width = "64") {
    256 << 20
} else {
    32 << 20
};

/// Maximum number of threads.
const MOST_THREADS: usize = 4;

/// Maximum number of threads for blocking work, for each thread: looking up hosts, reading
/// certificates.
const MOST_BLOCKING_THREADS: usize = 2;

/// The threads of amqprs' connections.
///
/// The tasks of one connection must not run side by side: amqprs registers who waits for the answer
/// to `basic.get` without waiting until its dispatcher knows, and panics if the answer comes first.
pub(crate) static FOR_AMQPRS: Threads = Threads::new(STACK);

/// A few runtimes with a thread each. They start with the first connections, and stay.
pub(crate) struct Threads {
    /// Never dropped, because a runtime must not be dropped within another one.
    runtimes: Mutex<VecDeque<&'static Runtime>>,
    /// Stack size of each thread.
    stack: usize,
}

impl Threads {
    pub(crate) const fn new(stack: usize) -> Self {
        Self {
            runtimes: Mutex::new(VecDeque::new()),
            stack,
        }
    }

    /// Returns the runtime for everything that one connection does: each in turn.
    ///
    /// # Errors
    /// The system's error, if it has no memory for the threads' stacks.
    pub(crate) fn handle(&self) -> io::Result<&'static Handle> {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        let mut runtimes = self.runtimes.lock().unwrap_or_else(PoisonError::into_inner);
        let has_all = runtimes.len() >= cores.min(MOST_THREADS);
        let next = has_all.then(|| runtimes.pop_front()).flatten();
        let runtime = match next {
            Some(runtime) => runtime,
            None => Box::leak(Box::new(start(self.stack)?)),
        };
        runtimes.push_back(runtime);
        Ok(runtime.handle())
    }
}

fn start(stack: usize) -> io::Result<Runtime> {
    // tokio panics if it cannot start a thread.
    let trial = thread::Builder::new().stack_size(stack).spawn(|| {})?;
    // The thread does nothing, and so it does not panic.
    let _ = trial.join();
    Builder::new_multi_thread()
        .worker_threads(1)
        .max_blocking_threads(MOST_BLOCKING_THREADS)
        .thread_stack_size(stack)
        .thread_name("mooq-rabbit")
        .enable_all()
        .build()
}
