//! The hosts that one connection may be opened to.

use super::Endpoint;

/// Endpoints of one cluster, which differ in host and port. There is at least one.
#[derive(Debug, Clone)]
pub struct Endpoints {
    first: Endpoint,
    others: Vec<Endpoint>,
}

impl Endpoints {
    /// `first`, and the same on other hosts and ports.
    #[must_use]
    pub fn new(first: Endpoint, other_hosts: &[(String, u16)]) -> Self {
        let others = other_hosts.iter().map(|(host, port)| {
            let mut other = first.clone();
            other.host.clone_from(host);
            other.port = *port;
            other
        });
        Self {
            others: others.collect(),
            first,
        }
    }

    /// Number of endpoints.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "there is always one")]
    pub fn len(&self) -> usize {
        1 + self.others.len()
    }

    /// Returns endpoint number `index`, or the first if there is none.
    #[must_use]
    pub fn get(&self, index: usize) -> &Endpoint {
        self.iter().nth(index).unwrap_or(&self.first)
    }

    /// The endpoints, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Endpoint> {
        std::iter::once(&self.first).chain(&self.others)
    }
}
