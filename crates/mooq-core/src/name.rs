//! Names, parsed once at the edge.
//!
//! AMQP carries names as *short strings*: UTF-8, at most 255 bytes (AMQP 0-9-1, 4.2.5.3). Each type
//! here holds a name that has been checked, so that deeper code never checks again. Cloning a name
//! allocates nothing: names of up to 23 bytes, as most are, are held in place, and longer ones are
//! shared.
//!
//! ```
//! use mooq_core::{ErrorKind, ExchangeName};
//!
//! let name: ExchangeName = "orders".try_into()?;
//! assert_eq!(name, "orders");
//!
//! let err = ExchangeName::try_from("x".repeat(256)).unwrap_err();
//! assert_eq!(err.kind(), ErrorKind::InvalidName);
//! assert_eq!(err.to_string(), "exchange name of 256 bytes is over the limit of 255 bytes: 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…'");
//! # Ok::<(), mooq_core::Error>(())
//! ```

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

use smol_str::SmolStr;

use crate::error::{Error, ErrorKind};

/// The longest name AMQP can carry, in bytes.
pub const MAX_NAME_BYTES: usize = 255;

/// Length of the excerpt of an overlong name in an error, in characters.
const EXCERPT_CHARS: usize = 32;

/// Checks the length. Inlined, because the success path is one comparison.
#[inline]
fn check(what: &str, text: &str) -> Result<(), Error> {
    if text.len() <= MAX_NAME_BYTES {
        Ok(())
    } else {
        Err(too_long(what, text))
    }
}

#[cold]
fn too_long(what: &str, text: &str) -> Error {
    let excerpt: String = text.chars().take(EXCERPT_CHARS).collect();
    Error::new(
        ErrorKind::InvalidName,
        format!(
            "{what} of {} bytes is over the limit of {MAX_NAME_BYTES} bytes: '{excerpt}…'",
            text.len()
        ),
    )
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident, $what:literal;)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(SmolStr);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<&str> for $name {
            type Error = Error;

            fn try_from(text: &str) -> Result<Self, Error> {
                check($what, text)?;
                Ok(Self(text.into()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = Error;

            fn try_from(text: String) -> Result<Self, Error> {
                check($what, &text)?;
                Ok(Self(text.into()))
            }
        }

        impl TryFrom<&String> for $name {
            type Error = Error;

            fn try_from(text: &String) -> Result<Self, Error> {
                Self::try_from(text.as_str())
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self, Error> {
                Self::try_from(text)
            }
        }

        // A checked name is accepted wherever text that becomes one is asked for.
        impl From<&$name> for $name {
            fn from(name: &$name) -> Self {
                name.clone()
            }
        }

        impl Deref for $name {
            type Target = str;

            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl PartialEq<str> for $name {
            fn eq(&self, other: &str) -> bool {
                self.0 == other
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, other: &&str) -> bool {
                self.0 == *other
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }
    )+};
}

names! {
    /// The name of an exchange. The empty name is the default exchange.
    ExchangeName, "exchange name";
    /// The name of a queue. In a declare, the empty name asks the broker to choose one.
    QueueName, "queue name";
    /// A routing key, or the key or pattern of a binding.
    RoutingKey, "routing key";
    /// The tag of a consumer, unique on its channel.
    ConsumerTag, "consumer tag";
    /// The name of a virtual host.
    VirtualHost, "virtual host";
    /// Any other short string: a header's key, a message id, a reply-to address.
    ShortString, "short string";
}

/// A value that becomes an `N` once checked: text, or an `N` that was checked before.
///
/// Implemented for every type that is `TryInto<N>`; setters take it so that they read `impl
/// IntoChecked<QueueName>`.
pub trait IntoChecked<N> {
    /// Checks the value and converts it.
    ///
    /// # Errors
    /// `InvalidName` if it is longer than 255 bytes.
    fn into_checked(self) -> Result<N, Error>;
}

impl<N, T: TryInto<N, Error: Into<Error>>> IntoChecked<N> for T {
    fn into_checked(self) -> Result<N, Error> {
        self.try_into().map_err(Into::into)
    }
}

impl VirtualHost {
    /// The virtual host `/`, which a new broker has.
    #[must_use]
    pub fn root() -> Self {
        Self("/".into())
    }
}

impl From<QueueName> for RoutingKey {
    /// Converts a queue's name: the default exchange routes by queue name (AMQP 0-9-1, 3.1.3.1).
    fn from(name: QueueName) -> Self {
        Self(name.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_255_bytes_not_characters() {
        assert!(QueueName::try_from("x".repeat(255)).is_ok());
        let err = QueueName::try_from("é".repeat(128)).unwrap_err();
        assert_eq!(err.kind(), ErrorKind::InvalidName);
        assert!(
            err.to_string().starts_with("queue name of 256 bytes"),
            "{err}"
        );
    }

    #[test]
    fn a_clone_shares_a_long_text() {
        let key = RoutingKey::try_from("region.host.service.metric.unit").unwrap();
        assert_eq!(key.as_str().as_ptr(), key.clone().as_str().as_ptr());
    }
}
