//! The hosts of a cluster.

use super::Endpoint;

/// Endpoints that one connection may be opened to: hosts of one cluster, of which all else is the
/// same.
#[derive(Debug, Clone)]
pub struct Endpoints {
    first: Endpoint,
    others: Vec<Endpoint>,
}

impl Endpoints {
    /// The endpoint `first`, and the same at other hosts and ports.
    #[must_use]
    pub fn new(first: Endpoint, others: &[(String, u16)]) -> Self {
        let others = others.iter().map(|(host, port)| {
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

    /// Number of endpoints, at least 1.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "there is always one")]
    pub fn len(&self) -> usize {
        1 + self.others.len()
    }

    /// Returns endpoint number `index`, or the first if there is none.
    #[must_use]
    pub fn get(&self, index: usize) -> &Endpoint {
        let other = index
            .checked_sub(1)
            .and_then(|index| self.others.get(index));
        other.unwrap_or(&self.first)
    }

    /// The endpoints, in the order in which they are tried.
    pub fn iter(&self) -> impl Iterator<Item = &Endpoint> {
        std::iter::once(&self.first).chain(&self.others)
    }
}
