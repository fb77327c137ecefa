//! Numbering: the publishes that the broker's sequence numbers refer to.

/// Sequence numbers of a generation, which the broker counts from 1. The first publishes may be
/// ones that were sent again or had waited, with any tickets; the rest have consecutive tickets.
#[derive(Debug)]
pub(super) struct Numbering {
    /// Tickets of sequence numbers 1, 2, …
    sent_again: Vec<u64>,
    /// Ticket of the first sequence number after those.
    base: u64,
}

impl Default for Numbering {
    fn default() -> Self {
        Self::beginning_with(1)
    }
}

impl Numbering {
    /// Numbering of a generation whose first new publish has ticket `base`.
    pub(super) fn beginning_with(base: u64) -> Self {
        Self {
            sent_again: Vec::new(),
            base,
        }
    }

    /// Numbers an earlier publish, `ticket`, as the next one. To be called before any new publish.
    pub(super) fn sent_again(&mut self, ticket: u64) {
        self.sent_again.push(ticket);
    }

    /// Returns the ticket of the publish with number `sequence`.
    pub(super) fn ticket(&self, sequence: u64) -> Option<u64> {
        let index = sequence.checked_sub(1)?;
        let again = self.sent_again.len() as u64;
        match index.checked_sub(again) {
            Some(new) => self.base.checked_add(new),
            None => self.sent_again.get(usize::try_from(index).ok()?).copied(),
        }
    }

    /// Returns the sequence number after that of the last publish, where `end` is the next ticket.
    pub(super) fn end(&self, end: u64) -> u64 {
        1 + self.sent_again.len() as u64 + end.saturating_sub(self.base)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_loss_numbers_are_tickets() {
        let numbering = Numbering::default();
        assert_eq!(numbering.ticket(0), None);
        assert_eq!(numbering.ticket(1), Some(1));
        assert_eq!(numbering.ticket(7), Some(7));
        assert_eq!(numbering.end(8), 8);
    }

    #[test]
    fn what_is_sent_again_comes_first_whatever_its_ticket() {
        let mut numbering = Numbering::beginning_with(10);
        numbering.sent_again(3);
        numbering.sent_again(7);
        let tickets: Vec<_> = (1..=4).filter_map(|n| numbering.ticket(n)).collect();
        assert_eq!(tickets, [3, 7, 10, 11]);
        assert_eq!(numbering.end(12), 5);
    }
}
