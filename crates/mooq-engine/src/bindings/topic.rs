//! The index of a topic exchange: a trie over the words of the binding keys.
//!
//! A key is split at its dots; `*` stands for exactly one word, an empty one included, and `#`
//! for any number of words, none included. Only a whole word is a wildcard, and the empty key has
//! no words at all ([topics](https://www.rabbitmq.com/tutorials/tutorial-five-python); the rest is
//! RabbitMQ's way of splitting).
//!
//! Matching walks the trie once, word by word, with the set of all nodes that the words so far lead
//! to. No node is in the set twice. So the cost of matching is bounded by the number of words times
//! the number of nodes that match, regardless of the wildcards: there is no backtracking.

use std::collections::HashMap;
use std::iter;

use foldhash::fast::RandomState;

use super::destinations::{Destination, Destinations};
use crate::profile::Profile;
use crate::reply_error::ReplyError;

#[derive(Debug)]
pub(crate) struct TopicIndex {
    nodes: Vec<Node>,
    free: Vec<NodeId>,
    /// Number assigned to each literal word of the binding keys, so that a word of a routing key is
    /// hashed once and not once per node.
    words: HashMap<Box<str>, Word, RandomState>,
    next_word: WordId,
    /// Edges from a node to the next by a literal word.
    children: HashMap<(NodeId, WordId), NodeId, RandomState>,
    /// Nodes that the words so far lead to. Kept between routes to reuse the allocation.
    active: Vec<NodeId>,
    /// Nodes that one more word leads to.
    next: Vec<NodeId>,
    /// Counter of the words of routes, by which a node is known to be in `next` already.
    step: u64,
}

type NodeId = u32;
type WordId = u32;

const ROOT: NodeId = 0;

#[derive(Debug)]
struct Word {
    id: WordId,
    /// Number of edges in `children` that bear the word.
    ways: u32,
}

#[derive(Debug)]
struct Node {
    /// Edge back to the parent, for pruning; the root has none.
    from: Option<(NodeId, Segment)>,
    /// Number of edges that lead on from the node by a literal word.
    ways: u32,
    star: Option<NodeId>,
    hash: Option<NodeId>,
    /// True if the node stands for `#`, and so goes on matching with any further word.
    is_hash: bool,
    destinations: Destinations,
    /// The last step at which the node was put into the set.
    step: u64,
}

/// One word of a binding key.
#[derive(Debug, Clone)]
enum Segment {
    Literal(Box<str>),
    Star,
    Hash,
}

/// Checks the key of a binding to a topic exchange.
pub(crate) fn validate(key: &str, profile: Profile) -> Result<(), ReplyError> {
    let Some(max) = profile.max_hash_wildcards() else {
        return Ok(());
    };
    let hashes = words(key).filter(|word| *word == "#").count();
    if hashes > max {
        return Err(ReplyError::precondition_failed(format!(
            "Topic binding key '{key}' uses {hashes} '#' wildcards, at most {max} are allowed"
        )));
    }
    Ok(())
}

impl Default for TopicIndex {
    fn default() -> Self {
        Self {
            nodes: vec![Node::new(None)],
            free: Vec::new(),
            words: HashMap::default(),
            next_word: 0,
            children: HashMap::default(),
            active: Vec::new(),
            next: Vec::new(),
            step: 0,
        }
    }
}

impl TopicIndex {
    pub(crate) fn add(&mut self, pattern: &str, destination: Destination) {
        let mut node = ROOT;
        for word in words(pattern) {
            node = match self.child(node, word) {
                Some(child) => child,
                None => self.grow(node, word),
            };
        }
        if let Some(node) = self.node_mut(node) {
            node.destinations.add(destination);
        }
    }

    pub(crate) fn remove(&mut self, pattern: &str, destination: Destination) {
        let mut id = ROOT;
        for word in words(pattern) {
            match self.child(id, word) {
                Some(child) => id = child,
                None => return,
            }
        }
        if let Some(node) = self.node_mut(id) {
            node.destinations.remove(destination);
        }
        self.prune(id);
    }

    /// Appends the destinations of `key` to `found`. A destination with several matching patterns
    /// may be appended several times.
    pub(crate) fn route(&mut self, key: &str, found: &mut Vec<Destination>) {
        self.next.clear();
        self.step += 1;
        self.activate(ROOT);
        for word in words(key) {
            std::mem::swap(&mut self.active, &mut self.next);
            self.next.clear();
            self.step += 1;
            let word = self.words.get(word).map(|word| word.id);
            for at in 0..self.active.len() {
                let Some(&id) = self.active.get(at) else {
                    break;
                };
                self.advance(id, word);
            }
        }
        for &id in &self.next {
            if let Some(node) = self.nodes.get(id as usize) {
                found.extend(node.destinations.iter());
            }
        }
    }

    /// Puts every node that one word leads to from `id` into the next set.
    fn advance(&mut self, id: NodeId, word: Option<WordId>) {
        let Some(node) = self.nodes.get(id as usize) else {
            return;
        };
        let (star, is_hash, has_ways) = (node.star, node.is_hash, node.ways > 0);
        if is_hash {
            self.activate(id);
        }
        if let Some(star) = star {
            self.activate(star);
        }
        if has_ways
            && let Some(word) = word
            && let Some(&child) = self.children.get(&(id, word))
        {
            self.activate(child);
        }
    }

    /// Puts a node into the next set, together with the nodes that follow it by a `#` that matches
    /// nothing.
    fn activate(&mut self, mut id: NodeId) {
        let step = self.step;
        while let Some(node) = self.nodes.get_mut(id as usize) {
            if node.step == step {
                return;
            }
            node.step = step;
            self.next.push(id);
            match node.hash {
                Some(hash) => id = hash,
                None => return,
            }
        }
    }

    fn node_mut(&mut self, id: NodeId) -> Option<&mut Node> {
        self.nodes.get_mut(id as usize)
    }

    fn child(&self, id: NodeId, word: &str) -> Option<NodeId> {
        let node = self.nodes.get(id as usize)?;
        match word {
            "*" => node.star,
            "#" => node.hash,
            literal => {
                let word = self.words.get(literal)?;
                self.children.get(&(id, word.id)).copied()
            }
        }
    }

    /// Adds the edge from `parent` by `word`.
    fn grow(&mut self, parent: NodeId, word: &str) -> NodeId {
        let segment = match word {
            "*" => Segment::Star,
            "#" => Segment::Hash,
            literal => Segment::Literal(literal.into()),
        };
        let node = Node::new(Some((parent, segment.clone())));
        let id = match self.free.pop() {
            Some(id) => {
                if let Some(slot) = self.node_mut(id) {
                    *slot = node;
                }
                id
            }
            None => {
                self.nodes.push(node);
                NodeId::try_from(self.nodes.len() - 1).unwrap_or(NodeId::MAX)
            }
        };
        let literal = match &segment {
            Segment::Literal(word) => Some(self.number(word)),
            _ => None,
        };
        if let Some(parent) = self.node_mut(parent) {
            match segment {
                Segment::Literal(_) => parent.ways += 1,
                Segment::Star => parent.star = Some(id),
                Segment::Hash => parent.hash = Some(id),
            }
        }
        if let Some(word) = literal {
            self.children.insert((parent, word), id);
        }
        id
    }

    /// Returns the number assigned to `word`, and counts one more edge that bears the word.
    fn number(&mut self, word: &str) -> WordId {
        if let Some(known) = self.words.get_mut(word) {
            known.ways += 1;
            return known.id;
        }
        let id = self.next_word;
        self.next_word = self.next_word.wrapping_add(1);
        self.words.insert(word.into(), Word { id, ways: 1 });
        id
    }

    /// Removes `id` and the nodes before it, as far as they lead nowhere.
    fn prune(&mut self, mut id: NodeId) {
        while let Some(node) = self.node_mut(id) {
            if !node.leads_nowhere() {
                return;
            }
            let Some((parent, segment)) = node.from.take() else {
                return;
            };
            self.free.push(id);
            match &segment {
                Segment::Literal(word) => self.cut(parent, word),
                Segment::Star => {
                    if let Some(parent) = self.node_mut(parent) {
                        parent.star = None;
                    }
                }
                Segment::Hash => {
                    if let Some(parent) = self.node_mut(parent) {
                        parent.hash = None;
                    }
                }
            }
            id = parent;
        }
    }

    /// Removes the edge from `parent` by the literal `word`.
    fn cut(&mut self, parent: NodeId, word: &str) {
        if let Some(known) = self.words.get_mut(word) {
            self.children.remove(&(parent, known.id));
            known.ways -= 1;
            if known.ways == 0 {
                self.words.remove(word);
            }
        }
        if let Some(parent) = self.node_mut(parent) {
            parent.ways -= 1;
        }
    }
}

impl Node {
    fn new(from: Option<(NodeId, Segment)>) -> Self {
        Self {
            is_hash: matches!(from, Some((_, Segment::Hash))),
            from,
            ways: 0,
            star: None,
            hash: None,
            destinations: Destinations::default(),
            step: 0,
        }
    }

    fn leads_nowhere(&self) -> bool {
        self.ways == 0 && self.star.is_none() && self.hash.is_none() && self.destinations.is_empty()
    }
}

/// Returns the words of a key. The empty key has none, while `.` has two empty ones.
fn words(key: &str) -> impl Iterator<Item = &str> {
    let mut rest = (!key.is_empty()).then_some(key);
    // By hand, since words are so short that `str::split` takes longer to set up than to search.
    iter::from_fn(move || {
        let word = rest.take()?;
        match word.bytes().position(|byte| byte == b'.') {
            None => Some(word),
            Some(dot) => {
                rest = word.get(dot + 1..);
                word.get(..dot)
            }
        }
    })
}

#[cfg(test)]
mod tests;
