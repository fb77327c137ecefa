//! Messages whose exchange or routing key is not UTF-8, which AMQP does not allow and RabbitMQ does
//! not check. Properties are no matter: mooq-wire keeps the octets of those.
//!
//! Frames have lengths, so such a message costs neither the connection nor what comes after it.

use mooq_core::ConsumerTag;

/// The beginning of a message that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Head {
    Deliver {
        consumer_tag: ConsumerTag,
        delivery_tag: u64,
    },
    GetOk {
        delivery_tag: u64,
    },
    Return,
}

/// Reads the payload of a method with content whose text is not UTF-8, and names the field. `None`
/// if it is malformed in another way.
pub(super) fn head(payload: &[u8]) -> Option<(Head, &'static str)> {
    let mut fields = Fields(payload);
    let id = (fields.u16()?, fields.u16()?);
    let head = match id {
        (60, 60) => {
            let tag = std::str::from_utf8(fields.short()?).ok()?;
            let head = Head::Deliver {
                consumer_tag: tag.try_into().ok()?,
                delivery_tag: fields.u64()?,
            };
            fields.take(1)?;
            head
        }
        (60, 71) => {
            let delivery_tag = fields.u64()?;
            fields.take(1)?;
            Head::GetOk { delivery_tag }
        }
        (60, 50) => {
            fields.u16()?;
            fields.short()?;
            Head::Return
        }
        _ => return None,
    };
    for field in ["exchange", "routing key"] {
        if std::str::from_utf8(fields.short()?).is_err() {
            return Some((head, field));
        }
    }
    None
}

/// The unread rest of a payload.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    fn short(&mut self) -> Option<&'a [u8]> {
        let [length] = self.array()?;
        self.take(length.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_is_read_around_the_text() {
        let deliver = b"\0\x3c\0\x3c\x01t\0\0\0\0\0\0\0\x07\x01\x00\x02\xff\xfe";
        let head_of_it = Head::Deliver {
            consumer_tag: "t".try_into().unwrap(),
            delivery_tag: 7,
        };
        assert_eq!(head(deliver), Some((head_of_it, "routing key")));
        let fetched = b"\0\x3c\0\x47\0\0\0\0\0\0\0\x07\x01\x02\xff\xfe\x00\0\0\0\x01";
        let head_of_it = Head::GetOk { delivery_tag: 7 };
        assert_eq!(head(fetched), Some((head_of_it, "exchange")));
        for length in 0..deliver.len() {
            assert_eq!(head(&deliver[..length]), None);
        }
    }
}
