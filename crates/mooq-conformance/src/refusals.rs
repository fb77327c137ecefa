//! The errors that scenarios have compared, for the documentation.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::thread;

use mooq_core::CloseReason;

use crate::expect::method;

/// An error by code, method and text. Names in the text are those that the scenario gave.
pub type Refusal = (u16, String, String);

/// The errors that were compared so far, each with the first scenario by name that did.
static COMPARED: Mutex<BTreeMap<Refusal, String>> = Mutex::new(BTreeMap::new());

/// Records that the scenario which named the current thread compared this reason.
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

/// Returns every error that was compared in this process, each with a scenario that did.
#[must_use]
pub fn compared() -> BTreeMap<Refusal, String> {
    COMPARED
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone()
}
