//! The scope of a fault: the connections, queues or messages that it is limited to.

use glob_match::glob_match;

/// Limits of a fault. By default there are none, so that the fault strikes everything that it can.
///
/// Each limit is a [glob](https://docs.rs/glob-match) that a name must match. An event without a
/// name for a limit does not match that limit; a login, for example, involves no queue. A
/// connection without a name has the empty name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Scope {
    /// Glob for the name that the client gave the connection.
    pub connection: Option<String>,
    /// Glob for the exchange that a message was published to.
    pub exchange: Option<String>,
    /// Glob for the queue.
    pub queue: Option<String>,
}

/// Names of the objects that something that happens involves.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Involved<'a> {
    pub(crate) connection: Option<&'a str>,
    pub(crate) exchange: Option<&'a str>,
    /// The queues, of which any may match.
    pub(crate) queues: &'a [&'a str],
}

impl<'a> Involved<'a> {
    /// Creates the names for a connection whose client has not said its name yet. It is outside any
    /// limit on connections.
    pub(crate) fn newcomer() -> Self {
        Self::default()
    }

    /// Creates the names for a connection and nothing else.
    pub(crate) fn connection(name: Option<&'a str>) -> Self {
        Self {
            connection: Some(name.unwrap_or_default()),
            ..Self::default()
        }
    }
}

impl Scope {
    /// Returns true if what happens is within the limits.
    pub(crate) fn fits(&self, what: Involved<'_>) -> bool {
        let fits = |limit: &Option<String>, names: &[&str]| match limit {
            Some(glob) => names.iter().any(|name| glob_match(glob, name)),
            None => true,
        };
        fits(&self.connection, what.connection.as_slice())
            && fits(&self.exchange, what.exchange.as_slice())
            && fits(&self.queue, what.queues)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scope_excludes_events_without_the_thing_that_it_names() {
        let limited = Scope {
            queue: Some("orders-*".into()),
            ..Scope::default()
        };
        let mut what = Involved::connection(None);
        assert!(Scope::default().fits(what));
        assert!(!limited.fits(what));
        what.queues = &["invoices", "orders-new"];
        assert!(limited.fits(what));
        what.queues = &["invoices"];
        assert!(!limited.fits(what));
    }

    #[test]
    fn a_connection_without_a_name_has_the_empty_one() {
        let scope = |glob: &str| Scope {
            connection: Some(glob.into()),
            ..Scope::default()
        };
        assert!(scope("*").fits(Involved::connection(None)));
        assert!(!scope("*").fits(Involved::newcomer()));
        assert!(Scope::default().fits(Involved::newcomer()));
        assert!(!scope("billing").fits(Involved::connection(None)));
        assert!(scope("bill*").fits(Involved::connection(Some("billing"))));
    }
}
