//! Messages with text that is not UTF-8, which AMQP does not allow and RabbitMQ does not check.
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

/// The short strings among the properties, in wire order, with the highest flag first. `None`
/// stands for headers and numbers.
const PROPERTIES: [(&str, Kind); 14] = [
    ("content type", Kind::Short),
    ("content encoding", Kind::Short),
    ("headers", Kind::Table),
    ("delivery mode", Kind::Fixed(1)),
    ("priority", Kind::Fixed(1)),
    ("correlation id", Kind::Short),
    ("reply-to address", Kind::Short),
    ("expiration", Kind::Short),
    ("message id", Kind::Short),
    ("timestamp", Kind::Fixed(8)),
    ("type", Kind::Short),
    ("user id", Kind::Short),
    ("app id", Kind::Short),
    ("cluster id", Kind::Short),
];

#[derive(Clone, Copy)]
enum Kind {
    Short,
    Table,
    Fixed(usize),
}

/// Names the property that is not UTF-8, given the properties with their flags.
pub(super) fn property(bytes: &[u8]) -> &'static str {
    find_property(bytes).unwrap_or("name of a header")
}

fn find_property(bytes: &[u8]) -> Option<&'static str> {
    let mut fields = Fields(bytes);
    let flags = fields.u16()?;
    for (index, (name, kind)) in PROPERTIES.into_iter().enumerate() {
        if flags & (1 << (15 - index)) == 0 {
            continue;
        }
        match kind {
            Kind::Short => {
                if std::str::from_utf8(fields.short()?).is_err() {
                    return Some(name);
                }
            }
            Kind::Table => {
                let length = fields.u32()?;
                fields.take(length as usize)?;
            }
            Kind::Fixed(length) => {
                fields.take(length)?;
            }
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

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
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

    #[test]
    fn the_property_is_named() {
        // correlation id and message id, the second is not UTF-8.
        let flags = 1_u16 << 10 | 1 << 7;
        let mut bytes = flags.to_be_bytes().to_vec();
        bytes.extend(b"\x01a\x01\xff");
        assert_eq!(property(&bytes), "message id");
        // Headers with a name that is not UTF-8.
        let mut bytes = (1_u16 << 13).to_be_bytes().to_vec();
        bytes.extend(b"\0\0\0\x03\x01\xffV");
        assert_eq!(property(&bytes), "name of a header");
        assert_eq!(property(b""), "name of a header");
    }
}
