//! A returned mandatory message, and the error that its publish ends with.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use crate::error::{Error, ErrorKind};
use crate::message::Message;

/// `basic.return`: a mandatory message that reached no queue.
#[derive(Debug, Clone, PartialEq)]
pub struct Returned {
    /// The reason as a number: 312 (`NO_ROUTE`).
    pub reply_code: u16,
    /// The reason in words.
    pub reply_text: String,
    /// The whole message.
    pub message: Arc<Message>,
}

impl fmt::Display for Returned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} ({}), exchange '{}', routing key '{}'",
            self.reply_text, self.reply_code, self.message.exchange, self.message.routing_key
        )
    }
}

impl StdError for Returned {}

impl Error {
    /// An error for a mandatory message that was returned.
    #[must_use]
    pub fn returned(returned: Returned) -> Self {
        let message = format!("the message came back: {returned}");
        Self::new(ErrorKind::Returned, message).with_source(returned)
    }

    /// The returned message, if the kind is [`ErrorKind::Returned`].
    #[must_use]
    pub fn returned_message(&self) -> Option<&Returned> {
        self.source()?.downcast_ref()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn its_error_names_it_once_and_gives_it_back() {
        let returned = Returned {
            reply_code: 312,
            reply_text: "NO_ROUTE".into(),
            message: Arc::new(Message {
                exchange: "orders".try_into().unwrap(),
                routing_key: "new".try_into().unwrap(),
                properties: Arc::default(),
                body: Bytes::new(),
            }),
        };
        let err = Error::returned(returned.clone());
        assert_eq!(
            format!("{err:?}"),
            "the message came back: NO_ROUTE (312), exchange 'orders', \
             routing key 'new' [Returned]"
        );
        assert_eq!(err.clone().returned_message(), Some(&returned));
        let other = Error::new(ErrorKind::Nacked, "refused");
        assert_eq!(other.returned_message(), None);
    }
}
