//! Differences between the management APIs of RabbitMQ's versions: one method for each rule, beside
//! those of the broker itself in [`Profile`]. 3.10.8, 4.0.5 and 4.3.6 were compared; 4.1 and 4.2
//! have the rules of 4.0.

use mooq_memory::Profile;

/// The rules of a version.
pub(crate) trait Rules: Copy {
    /// True if a refused login is answered with a challenge.
    fn challenges_refused_logins(self) -> bool;
    /// True if a virtual host that is closed to the user passes for one that does not exist.
    fn hides_closed_vhosts(self) -> bool;
    /// True if users learn that the broker itself keeps them.
    fn tells_where_users_are_kept(self) -> bool;
    /// True if virtual hosts have a default queue type.
    fn has_default_queue_types(self) -> bool;
    /// True if virtual hosts and queues can be protected.
    fn protects_resources(self) -> bool;
    /// True if the overview has the tags of the node and the cluster.
    fn has_node_tags(self) -> bool;
    /// True if the node may be drained for maintenance.
    fn may_be_drained(self) -> bool;
    /// True if every broker has exchanges of the kind `x-local-random`.
    fn has_local_random(self) -> bool;
    /// True if a node tells RabbitMQ's version.
    fn tells_versions_of_nodes(self) -> bool;
    /// True if definitions tell a queue's type beside its arguments, and of exchanges that they are
    /// internal only if they are.
    fn tells_types_in_definitions(self) -> bool;
    /// True if the policies in the definitions of a virtual host name it.
    fn names_vhost_of_policies(self) -> bool;
    /// True if every broker has exchanges of the kind `x-modulus-hash`.
    fn has_modulus_hash(self) -> bool;
    /// True if a consumer without credit is told as blocked.
    fn tells_blocked_consumers(self) -> bool;
    /// True if listeners tell that they take TLS.
    fn tells_tls_of_listeners(self) -> bool;
    /// True if quorum queues tell their delivery limits.
    fn tells_delivery_limits(self) -> bool;
    /// True if a queue in a list has the fields that are null in a queue by itself.
    fn tells_nulls_in_lists(self) -> bool;
    /// True if a quorum queue names its single active consumer as classic queues do.
    fn names_single_active_consumers_alike(self) -> bool;
    /// True if channels have a prefetch of their own.
    fn has_global_prefetch(self) -> bool;
    /// True if consumers tell their timeouts.
    fn tells_consumer_timeouts(self) -> bool;
    /// True if a missing queue or exchange is told as `queue_not_found` or `exchange_not_found`.
    fn names_what_is_missing(self) -> bool;
    /// True if the check of protocols takes several.
    fn checks_several_protocols(self) -> bool;
    /// True if the health checks include those of mirrors.
    fn checks_mirrors(self) -> bool;
    /// True if the health checks include those of readiness.
    fn checks_readiness(self) -> bool;
    /// True if the aliveness test declares a queue, and publishes and fetches a message.
    fn tests_aliveness_by_a_message(self) -> bool;
    /// True if definitions say whose they are.
    fn explains_definitions(self) -> bool;
    /// True if queues count messages that wait for a retry.
    fn counts_delayed_messages(self) -> bool;
    /// True if texts of errors are escaped for HTML.
    fn escapes_texts(self) -> bool;
    /// True if `version` is a path.
    fn has_version_path(self) -> bool;
}

impl Rules for Profile {
    fn challenges_refused_logins(self) -> bool {
        self < Self::V4_0
    }

    fn hides_closed_vhosts(self) -> bool {
        self >= Self::V4_3
    }

    fn tells_where_users_are_kept(self) -> bool {
        self >= Self::V4_0
    }

    fn has_default_queue_types(self) -> bool {
        self >= Self::V4_0
    }

    fn protects_resources(self) -> bool {
        self >= Self::V4_3
    }

    fn has_node_tags(self) -> bool {
        self >= Self::V4_0
    }

    fn may_be_drained(self) -> bool {
        self >= Self::V4_0
    }

    fn has_local_random(self) -> bool {
        self >= Self::V4_0
    }

    fn tells_versions_of_nodes(self) -> bool {
        self >= Self::V4_3
    }

    fn tells_types_in_definitions(self) -> bool {
        self >= Self::V4_3
    }

    fn names_vhost_of_policies(self) -> bool {
        self < Self::V4_0
    }

    fn has_modulus_hash(self) -> bool {
        self >= Self::V4_3
    }

    fn tells_blocked_consumers(self) -> bool {
        self >= Self::V4_3
    }

    fn tells_tls_of_listeners(self) -> bool {
        self >= Self::V4_3
    }

    fn tells_delivery_limits(self) -> bool {
        self >= Self::V4_0
    }

    fn tells_nulls_in_lists(self) -> bool {
        self < Self::V4_0
    }

    fn names_single_active_consumers_alike(self) -> bool {
        self >= Self::V4_0
    }

    fn has_global_prefetch(self) -> bool {
        self < Self::V4_0
    }

    fn tells_consumer_timeouts(self) -> bool {
        self >= Self::V4_0
    }

    fn names_what_is_missing(self) -> bool {
        self >= Self::V4_0
    }

    fn checks_several_protocols(self) -> bool {
        self >= Self::V4_3
    }

    fn checks_mirrors(self) -> bool {
        self < Self::V4_0
    }

    fn checks_readiness(self) -> bool {
        self >= Self::V4_3
    }

    fn tests_aliveness_by_a_message(self) -> bool {
        self < Self::V4_3
    }

    fn explains_definitions(self) -> bool {
        self >= Self::V4_0
    }

    fn counts_delayed_messages(self) -> bool {
        self >= Self::V4_3
    }

    fn escapes_texts(self) -> bool {
        self < Self::V4_3
    }

    fn has_version_path(self) -> bool {
        self >= Self::V4_0
    }
}
