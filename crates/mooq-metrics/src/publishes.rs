//! The publishes of a channel that are not confirmed yet.

use std::collections::BTreeMap;
use std::time::Instant;

use metrics::{counter, gauge, histogram};

use crate::names::{CONFIRM_SECONDS, UNCONFIRMED};

/// The publishes of a channel in confirm mode, by their sequence numbers.
#[derive(Debug, Default)]
pub(crate) struct Publishes {
    /// None before `confirm.select`.
    last: Option<u64>,
    unconfirmed: BTreeMap<u64, Instant>,
}

impl Publishes {
    pub(crate) fn confirm_select(&mut self) {
        self.last.get_or_insert(0);
    }

    /// Notes a publish that was handed over.
    pub(crate) fn published(&mut self) {
        if let Some(last) = &mut self.last {
            *last += 1;
            self.unconfirmed.insert(*last, Instant::now());
            gauge!(UNCONFIRMED).increment(1);
        }
    }

    /// Notes the broker's answer to a publish, or with `multiple` to all up to it, and counts them
    /// in the counter of this name.
    pub(crate) fn answered(&mut self, sequence: u64, multiple: bool, name: &'static str) {
        let answered = match multiple {
            true => {
                let later = self.unconfirmed.split_off(&(sequence.saturating_add(1)));
                std::mem::replace(&mut self.unconfirmed, later)
            }
            false => self
                .unconfirmed
                .remove_entry(&sequence)
                .into_iter()
                .collect(),
        };
        for since in answered.values() {
            histogram!(CONFIRM_SECONDS).record(since.elapsed());
        }
        let n = answered.len();
        gauge!(UNCONFIRMED).decrement(n as f64);
        counter!(name).increment(n as u64);
    }

    /// Notes the end of the channel: what has no answer gets none.
    pub(crate) fn end(&mut self) {
        let left = std::mem::take(&mut self.unconfirmed).len();
        gauge!(UNCONFIRMED).decrement(left as f64);
    }
}

impl Drop for Publishes {
    fn drop(&mut self) {
        self.end();
    }
}
