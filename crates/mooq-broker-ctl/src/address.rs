//! The address of a broker.

use std::fmt;

/// The host and port that a broker listens at.
///
/// # Examples
///
/// ```
/// use mooq_broker_ctl::BrokerAddress;
///
/// assert_eq!(BrokerAddress::default().to_string(), "localhost:5672");
/// assert_eq!(BrokerAddress::new("::1", 5673).to_string(), "[::1]:5673");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BrokerAddress {
    /// The host, without the brackets that a literal IPv6 address has before a port.
    host: String,
    port: u16,
}

impl BrokerAddress {
    /// Creates an address. `host` is a name or a literal IPv4 or IPv6 address; an IPv6 address may
    /// have brackets.
    #[must_use]
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        let host = host.into();
        let bare = host
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .map(str::to_owned);
        Self {
            host: bare.unwrap_or(host),
            port,
        }
    }

    /// The name or literal address, without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The TCP port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Default for BrokerAddress {
    /// Returns `localhost:5672`.
    fn default() -> Self {
        Self::new("localhost", 5672)
    }
}

impl fmt::Display for BrokerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_address_may_come_in_brackets() {
        assert_eq!(
            BrokerAddress::new("[::1]", 5672),
            BrokerAddress::new("::1", 5672)
        );
    }

    #[test]
    fn a_name_is_shown_as_it_is() {
        assert_eq!(BrokerAddress::new("rabbit", 1).to_string(), "rabbit:1");
    }
}
