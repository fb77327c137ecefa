//! The errors that scenarios have compared with what they expect, for the documentation.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::thread;

use mooq_core::CloseReason;

use crate::expect::method;

/// An error by code, method and text. Names are those that the scenario gave.
pub type Refusal = (u16, String, String);

/// What was compared so far, and by which scenario, the first by name where several did.
static COMPARED: Mutex<BTreeMap<Refusal, String>> = Mutex::new(BTreeMap::new());

/// Notes that a scenario, by which the present thread is named, compared this reason.
pub(crate) fn note(reason: CloseReason) {
    let current = thread::current();
    let Some(scenario) = current.name() else {
        return;
    };
    let text = reason.text.replace(&format!("{scenario}/"), "");
    let method = method::name((reason.class_id, reason.method_id));
    let mut compared = COMPARED.lock().unwrap_or_else(PoisonError::into_inner);
    compared
        .entry((reason.code, method, text))
        .and_modify(|first| {
            if scenario < first.as_str() {
                *first = scenario.to_owned();
            }
        })
        .or_insert_with(|| scenario.to_owned());
}

/// Every error that was compared in this process, and a scenario that did.
#[must_use]
pub fn compared() -> BTreeMap<Refusal, String> {
    COMPARED
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone()
}
