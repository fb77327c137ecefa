//! A topology as a graph, for every format of picture.

use std::collections::BTreeMap;

use crate::topology::Topology;

/// Shape of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Exchange,
    Queue,
    /// An exchange or a queue that the topology names and does not contain.
    Outside,
}

/// A node, with the lines of its label.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) id: String,
    pub(super) shape: Shape,
    pub(super) label: [String; 2],
}

/// What an edge stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Messages that a binding routes.
    Binding,
    /// Messages that a queue dead-letters, or that an exchange cannot route.
    Otherwise,
}

/// An edge between the nodes of two ids.
#[derive(Debug)]
pub(super) struct Edge {
    pub(super) from: String,
    pub(super) to: String,
    pub(super) way: Way,
    pub(super) label: String,
}

/// The nodes and edges of a topology.
#[derive(Debug, Default)]
pub(super) struct Graph {
    pub(super) nodes: Vec<Node>,
    pub(super) edges: Vec<Edge>,
    exchanges: BTreeMap<String, String>,
    queues: BTreeMap<String, String>,
}

impl Graph {
    pub(super) fn of(topology: &Topology) -> Self {
        let mut graph = Self::default();
        for exchange in topology.exchanges() {
            let kind = exchange.kind().to_string();
            graph.exchange(exchange.name(), Some(kind));
        }
        for queue in topology.queues() {
            let kind = queue.kind().unwrap_or("queue").to_owned();
            graph.queue(queue.name(), Some(kind));
        }
        for binding in topology.bindings() {
            let from = graph.exchange(binding.source(), None);
            let to = match (binding.queue(), binding.exchange()) {
                (Some(queue), _) => graph.queue(queue, None),
                (None, exchange) => graph.exchange(exchange.map_or("", |to| to.as_str()), None),
            };
            let mut label = binding.routing_key().to_string();
            for (key, value) in binding.arguments() {
                let value = mooq_core::json::value_to(value);
                let value = value.as_str().map_or_else(|| value.to_string(), Into::into);
                let gap = if label.is_empty() { "" } else { ", " };
                label += &format!("{gap}{key} = {value}");
            }
            graph.edge(from, to, Way::Binding, label);
        }
        for exchange in topology.exchanges() {
            if let Some(alternate) = exchange.alternate() {
                let from = graph.exchange(exchange.name(), None);
                let to = graph.exchange(alternate, None);
                graph.edge(from, to, Way::Otherwise, "unrouted".into());
            }
        }
        for queue in topology.queues() {
            let Some(exchange) = queue.text("x-dead-letter-exchange") else {
                continue;
            };
            let from = graph.queue(queue.name(), None);
            let key = queue.text("x-dead-letter-routing-key");
            // The default exchange routes to the queue that the key names.
            let (to, label) = match (exchange, key) {
                ("", Some(key)) => (graph.queue(key, None), "dead".to_owned()),
                (_, Some(key)) => (graph.exchange(exchange, None), format!("dead: {key}")),
                (_, None) => (graph.exchange(exchange, None), "dead".to_owned()),
            };
            graph.edge(from, to, Way::Otherwise, label);
        }
        graph
    }

    fn edge(&mut self, from: String, to: String, way: Way, label: String) {
        self.edges.push(Edge {
            from,
            to,
            way,
            label,
        });
    }

    /// The id of an exchange's node, which is added if there is none.
    fn exchange(&mut self, name: &str, kind: Option<String>) -> String {
        if let Some(id) = self.exchanges.get(name) {
            return id.clone();
        }
        let id = format!("e{}", self.exchanges.len());
        self.exchanges.insert(name.to_owned(), id.clone());
        let name = if name.is_empty() {
            "default exchange"
        } else {
            name
        };
        self.node(&id, Shape::Exchange, name, kind, "exchange");
        id
    }

    /// The id of a queue's node, which is added if there is none.
    fn queue(&mut self, name: &str, kind: Option<String>) -> String {
        if let Some(id) = self.queues.get(name) {
            return id.clone();
        }
        let id = format!("q{}", self.queues.len());
        self.queues.insert(name.to_owned(), id.clone());
        self.node(&id, Shape::Queue, name, kind, "queue");
        id
    }

    fn node(&mut self, id: &str, shape: Shape, name: &str, kind: Option<String>, what: &str) {
        let shape = if kind.is_some() {
            shape
        } else {
            Shape::Outside
        };
        let kind = kind.unwrap_or_else(|| format!("{what} from elsewhere"));
        self.nodes.push(Node {
            id: id.to_owned(),
            shape,
            label: [name.to_owned(), kind],
        });
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::value::binding::Binding;
    use crate::value::exchange::Exchange;
    use crate::value::queue::Queue;

    /// A topology with every kind of part.
    pub(in super::super) fn shop() -> Topology {
        let by_headers = Binding::of_queue("later", "orders", "")
            .argument("x-match", "all")
            .argument("sum", 5);
        Topology::new()
            .exchange_with(Exchange::new("orders", "topic").alternate_exchange("unrouted"))
            .exchange("unrouted", "fanout")
            .queue(
                Queue::new("billing")
                    .quorum()
                    .dead_letter("unrouted", "bill"),
            )
            .queue(Queue::new("later").dead_letter("", "billing"))
            .bind_queue("billing", "orders", "order.*")
            .bind_with(by_headers)
            .bind_exchange("orders", "audit", "#")
    }

    /// A topology whose names are signs of the formats.
    pub(in super::super) fn awkward() -> Topology {
        Topology::new()
            .exchange("a\"]", "direct")
            .queue("end;\n<b>| é")
            .bind_queue("end;\n<b>| é", "a\"]", "`\\#")
    }

    #[test]
    fn part_that_is_named_twice_is_one_node() {
        let graph = Graph::of(&shop());
        assert_eq!((graph.nodes.len(), graph.edges.len()), (5, 6));
    }
}
