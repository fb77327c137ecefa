//! Numbering: the publishes that the broker's sequence numbers refer to.

/// Sequence numbers of a wire, which the broker counts from 1. The first publishes may be
/// ones that were sent again or had waited, with any ids; the rest have consecutive ids.
#[derive(Debug)]
pub(crate) struct Numbering {
    /// Ids of sequence numbers 1, 2, …
    sent_again: Vec<u64>,
    /// Id of the first sequence number after those.
    base: u64,
}

impl Default for Numbering {
    fn default() -> Self {
        Self::beginning_with(1)
    }
}

impl Numbering {
    /// Numbering of a wire whose first new publish has id `base`.
    pub(crate) fn beginning_with(base: u64) -> Self {
        Self {
            sent_again: Vec::new(),
            base,
        }
    }

    /// Numbers an earlier publish, `id`, as the next one. To be called before any new publish.
    pub(crate) fn sent_again(&mut self, id: u64) {
        self.sent_again.push(id);
    }

    /// Returns the id of the publish with number `sequence`.
    pub(crate) fn id(&self, sequence: u64) -> Option<u64> {
        let index = sequence.checked_sub(1)?;
        let again = self.sent_again.len() as u64;
        match index.checked_sub(again) {
            Some(new) => self.base.checked_add(new),
            None => self.sent_again.get(usize::try_from(index).ok()?).copied(),
        }
    }

    /// Returns the sequence number after that of the last publish, where `end` is the next id.
    pub(crate) fn end(&self, end: u64) -> u64 {
        1 + self.sent_again.len() as u64 + end.saturating_sub(self.base)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_loss_numbers_are_ids() {
        let numbering = Numbering::default();
        assert_eq!(numbering.id(0), None);
        assert_eq!(numbering.id(1), Some(1));
        assert_eq!(numbering.id(7), Some(7));
        assert_eq!(numbering.end(8), 8);
    }

    #[test]
    fn what_is_sent_again_comes_first_whatever_its_id() {
        let mut numbering = Numbering::beginning_with(10);
        numbering.sent_again(3);
        numbering.sent_again(7);
        let ids: Vec<_> = (1..=4).filter_map(|n| numbering.id(n)).collect();
        assert_eq!(ids, [3, 7, 10, 11]);
        assert_eq!(numbering.end(12), 5);
    }
}
