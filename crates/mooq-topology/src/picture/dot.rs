//! Graphviz's DOT.

use std::fmt::Write as _;

use super::graph::{Graph, Shape, Way};
use crate::topology::Topology;

impl Topology {
    /// Draws the topology in [DOT](https://graphviz.org/doc/info/lang.html), for Graphviz: `dot -Tsvg`.
    /// The lines mean the same as those of [`mermaid`](Self::mermaid).
    ///
    /// # Examples
    /// ```
    /// use mooq::topology::Topology;
    ///
    /// let topology = Topology::new().queue("billing");
    /// assert!(topology.dot().starts_with("digraph topology {\n"));
    /// ```
    #[must_use]
    pub fn dot(&self) -> String {
        let graph = Graph::of(self);
        let mut text = String::from("digraph topology {\n    rankdir=LR;\n");
        for node in &graph.nodes {
            let [name, kind] = node.label.each_ref().map(|line| escaped(line));
            let shape = match node.shape {
                Shape::Exchange => "shape=hexagon",
                Shape::Queue => "shape=cylinder",
                Shape::Outside => "shape=box, style=dashed",
            };
            let id = &node.id;
            // Writing to a string cannot fail.
            let _ = writeln!(text, "    {id} [label=\"{name}\\n{kind}\", {shape}];");
        }
        for edge in &graph.edges {
            let style = match edge.way {
                Way::Binding => "",
                Way::Otherwise => ", style=dotted",
            };
            let label = escaped(&edge.label);
            let (from, to) = (&edge.from, &edge.to);
            let _ = writeln!(text, "    {from} -> {to} [label=\"{label}\"{style}];");
        }
        text.push_str("}\n");
        text
    }
}

/// Writes a text for a label in quotes. In a label, a backslash begins an escape of DOT's own.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' => escaped.push_str("\\\""),
            '\\' => escaped.push_str("\\\\"),
            '\n' => escaped.push_str("\\n"),
            c if c.is_control() => escaped.push(char::REPLACEMENT_CHARACTER),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::super::graph::tests::{awkward, shop};

    #[test]
    fn dot_draws_every_part() {
        let expected = r##"digraph topology {
    rankdir=LR;
    e0 [label="orders\ntopic", shape=hexagon];
    e1 [label="unrouted\nfanout", shape=hexagon];
    q0 [label="billing\nquorum", shape=cylinder];
    q1 [label="later\nqueue", shape=cylinder];
    e2 [label="audit\nexchange from elsewhere", shape=box, style=dashed];
    e0 -> q0 [label="order.*"];
    e0 -> q1 [label="sum = 5, x-match = all"];
    e2 -> e0 [label="#"];
    e0 -> e1 [label="unrouted", style=dotted];
    q0 -> e1 [label="dead: bill", style=dotted];
    q1 -> q0 [label="dead", style=dotted];
}
"##;
        assert_eq!(shop().dot(), expected);
    }

    #[test]
    fn dot_escapes_signs_in_names() {
        let expected = r##"digraph topology {
    rankdir=LR;
    e0 [label="a\"]\ndirect", shape=hexagon];
    q0 [label="end;\n<b>| é\nqueue", shape=cylinder];
    e0 -> q0 [label="`\\#"];
}
"##;
        assert_eq!(awkward().dot(), expected);
    }
}
