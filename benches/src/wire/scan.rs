//! What the generator counts in the frames of a broker.

use std::io;

/// Frames of a method and of a body (AMQP 0-9-1, 4.2.3).
const METHOD: u8 = 1;
const BODY: u8 = 3;

/// Methods by class and number.
const DELIVER: [u8; 4] = [0, 60, 0, 60];
const ACK: [u8; 4] = [0, 60, 0, 80];

/// Something that a broker has sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen<'a> {
    /// A confirm of this publish, and of those before it if it is for several.
    Confirm { tag: u64, multiple: bool },
    /// The beginning of a delivery.
    Delivery { tag: u64 },
    /// A body, or a part of one.
    Body(&'a [u8]),
    /// A frame that is not counted.
    Other,
}

/// The first frame in `input`, with its length. None if it is incomplete.
///
/// # Errors
/// `InvalidData` for a method that ends the work, such as `channel.close`, or a broken one.
pub(super) fn first(input: &[u8]) -> io::Result<Option<(Seen<'_>, usize)>> {
    let Some(header) = input.get(..7) else {
        return Ok(None);
    };
    let size = u32::from_be_bytes([header[3], header[4], header[5], header[6]]) as usize;
    let Some(payload) = input.get(7..7 + size) else {
        return Ok(None);
    };
    if input.len() < size + 8 {
        return Ok(None);
    }
    let seen = match header[0] {
        METHOD => method(payload)?,
        BODY => Seen::Body(payload),
        _ => Seen::Other,
    };
    Ok(Some((seen, size + 8)))
}

fn method(payload: &[u8]) -> io::Result<Seen<'_>> {
    let broken = || io::Error::new(io::ErrorKind::InvalidData, format!("{payload:?}"));
    let tag_at = |at: usize| {
        let bytes = payload.get(at..at + 8)?.try_into().ok()?;
        Some(u64::from_be_bytes(bytes))
    };
    let id = payload.get(..4).ok_or_else(broken)?;
    if id == ACK {
        let tag = tag_at(4).ok_or_else(broken)?;
        let multiple = payload.get(12).ok_or_else(broken)? & 1 == 1;
        Ok(Seen::Confirm { tag, multiple })
    } else if id == DELIVER {
        let consumer = usize::from(*payload.get(4).ok_or_else(broken)?);
        let tag = tag_at(5 + consumer).ok_or_else(broken)?;
        Ok(Seen::Delivery { tag })
    } else {
        Err(broken())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mooq_wire::Output;
    use mooq_wire::method::{BasicAck, BasicDeliver, ChannelCloseOk, Method};

    fn bytes(method: impl Into<Method>) -> Vec<u8> {
        let mut output = Output::new();
        output.method(1, &method.into());
        output.to_bytes().to_vec()
    }

    #[test]
    fn confirms_and_deliveries_are_seen() {
        let ack = bytes(BasicAck {
            delivery_tag: 7,
            multiple: true,
        });
        let seen = Seen::Confirm {
            tag: 7,
            multiple: true,
        };
        assert_eq!(first(&ack).unwrap(), Some((seen, ack.len())));
        assert_eq!(first(&ack[..ack.len() - 1]).unwrap(), None);

        let deliver = bytes(BasicDeliver {
            consumer_tag: "t".try_into().unwrap(),
            delivery_tag: 9,
            redelivered: false,
            exchange: "x".try_into().unwrap(),
            routing_key: "k".try_into().unwrap(),
        });
        let seen = Seen::Delivery { tag: 9 };
        assert_eq!(first(&deliver).unwrap(), Some((seen, deliver.len())));
    }

    #[test]
    fn other_methods_end_the_work() {
        first(&bytes(ChannelCloseOk {})).unwrap_err();
    }
}
