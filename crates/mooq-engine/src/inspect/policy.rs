//! Inspection of policies.

use mooq_core::{FieldTable, FieldValue, VirtualHost};

use crate::Engine;
use crate::policy::{Policies, Policy};
use crate::vhost;

/// Snapshot of a policy.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PolicyInfo {
    /// The virtual host of the policy.
    pub vhost: VirtualHost,
    /// Name of the policy.
    pub name: String,
    /// The policy.
    pub policy: Policy,
}

impl Engine {
    /// Returns the policies of all virtual hosts, sorted by virtual host and name.
    #[must_use]
    pub fn policies(&self) -> Vec<PolicyInfo> {
        self.policies_of(|vhost| &vhost.policies)
    }

    /// Returns the operator policies of all virtual hosts, sorted by virtual host and name.
    #[must_use]
    pub fn operator_policies(&self) -> Vec<PolicyInfo> {
        self.policies_of(|vhost| &vhost.operator_policies)
    }

    fn policies_of(&self, which: impl Fn(&vhost::VirtualHost) -> &Policies) -> Vec<PolicyInfo> {
        let mut found = Vec::new();
        for vhost in self.sorted_vhosts() {
            found.extend(which(vhost).iter().map(|(name, policy)| PolicyInfo {
                vhost: vhost.name.clone(),
                name: name.to_owned(),
                policy: policy.clone(),
            }));
        }
        found
    }
}

/// Settings of which the smaller value applies.
const LIMITS: [&str; 7] = [
    "delivery-limit",
    "expires",
    "max-in-memory-bytes",
    "max-in-memory-length",
    "max-length",
    "max-length-bytes",
    "message-ttl",
];

/// Returns the combined definition of an ordinary policy and an operator policy.
pub(super) fn merged(policy: Option<&Policy>, operators: Option<&Policy>) -> FieldTable {
    let definition = |of: Option<&Policy>| of.map(|of| of.definition().clone()).unwrap_or_default();
    let (mut merged, operators) = (definition(policy), definition(operators));
    for (key, value) in &operators {
        let both = (merged.get(key).and_then(FieldValue::as_i64), value.as_i64());
        let value = match both {
            (Some(one), Some(other)) if LIMITS.contains(&key.as_str()) => {
                FieldValue::I64(one.min(other))
            }
            _ => value.clone(),
        };
        merged.insert(key.clone(), value);
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(settings: &[(&str, FieldValue)]) -> Policy {
        let entries = settings.iter();
        let entries = entries.map(|(key, value)| ((*key).try_into().unwrap(), value.clone()));
        Policy::new(".*", &entries.collect()).unwrap()
    }

    #[test]
    fn merged_policies_have_the_smaller_limit_and_the_operators_other_settings() {
        let ordinary = policy(&[
            ("max-length", 100.into()),
            ("overflow", "drop-head".into()),
            ("message-ttl", 5.into()),
        ]);
        let operators = policy(&[
            ("max-length", 50.into()),
            ("overflow", "reject-publish".into()),
        ]);
        let both = merged(Some(&ordinary), Some(&operators));
        assert_eq!(both.get("max-length"), Some(&FieldValue::I64(50)));
        assert_eq!(both.get("overflow"), Some(&"reject-publish".into()));
        assert_eq!(
            both.get("message-ttl").and_then(FieldValue::as_i64),
            Some(5)
        );
        assert_eq!(merged(None, None), FieldTable::new());
    }
}
