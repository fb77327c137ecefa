//! Mermaid.

use std::fmt::Write as _;

use super::graph::{Graph, Shape, Way};
use crate::topology::Topology;

impl Topology {
    /// Draws the topology as a [Mermaid](https://mermaid.js.org) flowchart, which GitHub and GitLab
    /// show in Markdown. A full line is a binding with its key and arguments; a dotted one leads from
    /// a queue to where it dead-letters, and from an exchange to its alternate exchange. What the
    /// topology names and does not contain has a dashed border.
    ///
    /// # Examples
    /// ```
    /// use mooq::ExchangeKind::Topic;
    /// use mooq::topology::Topology;
    ///
    /// let topology = Topology::new()
    ///     .exchange("orders", Topic)
    ///     .queue("billing")
    ///     .bind_queue("billing", "orders", "order.*");
    /// assert_eq!(
    ///     topology.mermaid(),
    ///     "flowchart LR\n    \
    ///         e0{{\"orders<br/>topic\"}}\n    \
    ///         q0[(\"billing<br/>queue\")]\n    \
    ///         e0 -->|\"order.*\"| q0\n"
    /// );
    /// ```
    #[must_use]
    pub fn mermaid(&self) -> String {
        let graph = Graph::of(self);
        let mut text = String::from("flowchart LR\n");
        for node in &graph.nodes {
            let [name, kind] = node.label.each_ref().map(|line| escaped(line));
            let (open, close) = match node.shape {
                Shape::Exchange => ("{{", "}}"),
                Shape::Queue => ("[(", ")]"),
                Shape::Outside => ("[", "]"),
            };
            let id = &node.id;
            // Writing to a string cannot fail.
            let _ = writeln!(text, "    {id}{open}\"{name}<br/>{kind}\"{close}");
        }
        for edge in &graph.edges {
            let arrow = match edge.way {
                Way::Binding => "-->",
                Way::Otherwise => "-.->",
            };
            let label = match escaped(&edge.label) {
                label if label.is_empty() => String::new(),
                label => format!("|\"{label}\"|"),
            };
            let _ = writeln!(text, "    {} {arrow}{label} {}", edge.from, edge.to);
        }
        let outside = graph
            .nodes
            .iter()
            .filter(|node| node.shape == Shape::Outside);
        for node in outside {
            let _ = writeln!(text, "    style {} stroke-dasharray: 5 5", node.id);
        }
        text
    }
}

/// Writes a text for a label in quotes: all but letters, digits and harmless signs by number.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_alphanumeric() || " .-_*/:@+=,$()".contains(c) {
            escaped.push(c);
        } else {
            // Writing to a string cannot fail.
            let _ = write!(escaped, "#{};", u32::from(c));
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::super::graph::tests::{awkward, shop};

    #[test]
    fn mermaid_draws_every_part() {
        let expected = "\
flowchart LR
    e0{{\"orders<br/>topic\"}}
    e1{{\"unrouted<br/>fanout\"}}
    q0[(\"billing<br/>quorum\")]
    q1[(\"later<br/>queue\")]
    e2[\"audit<br/>exchange from elsewhere\"]
    e0 -->|\"order.*\"| q0
    e0 -->|\"sum = 5, x-match = all\"| q1
    e2 -->|\"#35;\"| e0
    e0 -.->|\"unrouted\"| e1
    q0 -.->|\"dead: bill\"| e1
    q1 -.->|\"dead\"| q0
    style e2 stroke-dasharray: 5 5
";
        assert_eq!(shop().mermaid(), expected);
    }

    #[test]
    fn mermaid_writes_signs_in_names_by_number() {
        let expected = "\
flowchart LR
    e0{{\"a#34;#93;<br/>direct\"}}
    q0[(\"end#59;#10;#60;b#62;#124; é<br/>queue\")]
    e0 -->|\"#96;#92;#35;\"| q0
";
        assert_eq!(awkward().mermaid(), expected);
    }
}
