//! The scenarios, one file for each part of AMQP that they are about.
//!
//! Several files are about an end:
//!
//! | File | What ends |
//! |---|---|
//! | `closing` | a connection or channel that the client closes, or drops |
//! | `channel_ends` | a channel in any way: the order in which its queues and consumers notice |
//! | `forced_ends` | connections and logins that an administrator or the network ends |
//! | `ending_in_order` | a consumer of an ordered queue |
//! | `processing_ends` | `process_events`, while callbacks run |
//! | `shutdown` | a service that shuts down gracefully |

mod acks;
mod alarms;
mod bad_input;
mod batches;
mod callbacks;
mod channel_ends;
mod closing;
mod codecs;
mod confirms;
mod connecting;
mod consumer_timeouts;
mod consumers;
mod dead_letter_routes;
mod dead_letters;
mod delivery_limits;
mod direct_reply_to;
mod ending_in_order;
mod exchange_bindings;
mod exchanges;
mod failures;
mod forced_ends;
mod from_python;
mod getting;
mod hash_exchanges;
mod layers;
mod length_limits;
mod lines;
mod logins;
mod nowait;
mod outages;
mod permissions;
mod permissions_kept;
mod policies;
mod pools;
mod priorities;
mod processing;
mod processing_ends;
mod properties;
mod publish_checks;
mod publishing;
mod queue_exclusive;
mod queue_options;
mod queue_setters;
mod queues;
mod quorum_consumers;
mod quorum_dead_letters;
mod quorum_declaring;
mod quorum_delayed_retry;
mod quorum_kept_dead_letters;
mod quorum_limits;
mod quorum_policies;
mod quorum_priorities;
mod quorum_redelivery;
mod quorum_single_active;
mod quorum_timeouts;
mod random_exchanges;
mod recent_history;
mod recovery;
mod recovery_outages;
mod recovery_publishing;
mod recovery_queues;
mod registering;
mod restarting;
mod retries;
mod routing;
mod routing_headers;
mod routing_topic;
mod rpc;
mod rpc_losses;
mod rpc_plain_clients;
mod shutdown;
mod single_active_consumer;
mod streams;
mod time_to_live;
mod topology_applied;
mod topology_migrations;
mod topology_plans;
mod tracing;
mod versions;
mod workers;
