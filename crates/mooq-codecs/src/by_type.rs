//! Versions of a schema, told apart by the property `type`.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use mooq_core::{Error, ErrorKind, IntoChecked, Properties, Result, ShortString};

use crate::codec::{ContentTypes, Decode, Encode, Encoded};
use crate::error::CodecError;

/// Versions of a schema: the message's `type` says which one its body is, and every version is
/// decoded to the same Rust type. Published messages have the type of the current version.
///
/// The codec around which it is made decodes the bodies: [`Json`](crate::Json), a
/// [`ByContentType`](crate::ByContentType), or any other. A type that is not in the set is a decode
/// error that names it and lists the set's, and a message without one is a decode error unless
/// [`assume`](Self::assume) says what it is. Types are compared byte by byte.
///
/// It is made once, and cloned or borrowed for each use; a clone shares the versions.
///
/// # Examples
/// Two versions of an order:
///
/// ```
/// use mooq::{ByType, Json};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Deserialize)]
/// struct OrderV1 {
///     pieces: u32,
/// }
///
/// #[derive(Debug, PartialEq, Serialize, Deserialize)]
/// struct Order {
///     pieces: u32,
///     currency: String,
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> mooq::Result<()> {
/// # use mooq::memory::InMemoryBroker;
/// # let broker = InMemoryBroker::start();
/// # let conn = mooq::connect(&broker).await?;
/// # let chan = conn.create_channel().await?;
/// let orders = ByType::new(Json)
///     .current("order.v2")
///     .version("order.v1", |old: OrderV1| Order {
///         pieces: old.pieces,
///         currency: "EUR".into(),
///     });
///
/// # #[derive(Serialize)]
/// # struct Old { pieces: u32 }
/// # let old = Old { pieces: 3 };
/// let new = Order { pieces: 4, currency: "CHF".into() };
/// chan.declare_queue("orders").await?;
/// chan.publish("", &old).kind("order.v1").routing_key("orders").await?;
/// chan.publish_with("", &new, &orders).routing_key("orders").await?;
///
/// let got = chan.get_one::<Order>("orders").codec(orders.clone()).await?;
/// assert_eq!(got.ack().await?, Order { pieces: 3, currency: "EUR".into() });
/// let got = chan.get_one::<Order>("orders").codec(orders).await?;
/// assert_eq!(got.ack().await?, new);
/// # Ok(())
/// # }
/// ```
///
/// Messages of several types in one queue, as the variants of an enum. Their publishers set the type
/// with `.kind(…)`:
///
/// ```
/// use mooq::{ByType, Json};
///
/// enum Event {
///     Ordered(u32),
///     Cancelled(String),
/// }
///
/// let events = ByType::new(Json)
///     .version("ordered", Event::Ordered)
///     .version("cancelled", Event::Cancelled);
/// # let body = bytes::Bytes::from_static(b"3");
/// # let mut properties = mooq::Properties::default();
/// # properties.kind = Some("ordered".try_into()?);
/// # assert!(matches!(mooq::Decode::decode(&events, &body, &properties)?, Event::Ordered(3)));
/// # properties.kind = Some("cancelled".try_into()?);
/// # let body = bytes::Bytes::from_static(b"\"late\"");
/// # let cancelled = mooq::Decode::decode(&events, &body, &properties)?;
/// # assert!(matches!(cancelled, Event::Cancelled(why) if why == "late"));
/// # Ok::<(), mooq::Error>(())
/// ```
pub struct ByType<T, C> {
    codec: C,
    current: Option<ShortString>,
    assumed: Option<ShortString>,
    versions: Vec<(ShortString, Decoder<T, C>)>,
    /// The first error of a setter.
    deferred: Option<Error>,
}

type Decoder<T, C> = Arc<dyn Fn(&C, &Bytes, &Properties) -> Result<T> + Send + Sync>;

impl<T, C> ByType<T, C> {
    /// No version yet, of bodies that `codec` encodes and decodes.
    pub fn new(codec: C) -> Self {
        Self {
            codec,
            current: None,
            assumed: None,
            versions: Vec::new(),
            deferred: None,
        }
    }

    /// Publishes messages with this type, at most 255 bytes, and decodes messages of it without a
    /// conversion.
    pub fn current(mut self, kind: impl IntoChecked<ShortString>) -> Self
    where
        C: Decode<T>,
    {
        if let Some(kind) = self.check(kind) {
            self.current = Some(kind.clone());
            self.set(kind, |codec, body, properties| {
                codec.decode(body, properties)
            });
        }
        self
    }

    /// Decodes messages of this type, at most 255 bytes, as a `V`, and converts it. A version with
    /// the same type is replaced.
    pub fn version<V>(
        self,
        kind: impl IntoChecked<ShortString>,
        convert: impl Fn(V) -> T + Send + Sync + 'static,
    ) -> Self
    where
        C: Decode<V>,
    {
        self.with(kind, move |codec: &C, body, properties| {
            codec.decode(body, properties).map(&convert)
        })
    }

    /// Decodes messages of this type as [`version`](Self::version) does, for a conversion that may
    /// fail. A failure is a decode error, with its cause as the source.
    pub fn try_version<V, E>(
        self,
        kind: impl IntoChecked<ShortString>,
        convert: impl Fn(V) -> Result<T, E> + Send + Sync + 'static,
    ) -> Self
    where
        C: Decode<V>,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        self.with(kind, move |codec: &C, body, properties| {
            convert(codec.decode(body, properties)?).map_err(|cause| {
                let cause = cause.into();
                let kind = properties.kind.as_deref().unwrap_or_default();
                let message = format!("the message of type '{kind}' is not convertible: {cause}");
                Error::new(ErrorKind::Decode, message).with_source(cause)
            })
        })
    }

    /// Takes messages without a type for messages of this one.
    pub fn assume(mut self, kind: impl IntoChecked<ShortString>) -> Self {
        if let Some(kind) = self.check(kind) {
            self.assumed = Some(kind);
        }
        self
    }

    fn with(
        mut self,
        kind: impl IntoChecked<ShortString>,
        decoder: impl Fn(&C, &Bytes, &Properties) -> Result<T> + Send + Sync + 'static,
    ) -> Self {
        if let Some(kind) = self.check(kind) {
            self.set(kind, decoder);
        }
        self
    }

    fn set(
        &mut self,
        kind: ShortString,
        decoder: impl Fn(&C, &Bytes, &Properties) -> Result<T> + Send + Sync + 'static,
    ) {
        self.versions.retain(|(other, _)| *other != kind);
        self.versions.push((kind, Arc::new(decoder)));
    }

    fn check(&mut self, kind: impl IntoChecked<ShortString>) -> Option<ShortString> {
        let checked = kind.into_checked();
        checked.map_err(|err| self.deferred.get_or_insert(err)).ok()
    }

    fn accepted(&self) -> Vec<String> {
        let kinds = self.versions.iter().map(|(kind, _)| kind.to_string());
        kinds.collect()
    }

    fn checked(&self) -> Result<()> {
        self.deferred.clone().map_or(Ok(()), Err)
    }
}

impl<T, C: Encode<T>> Encode<T> for ByType<T, C> {
    /// # Errors
    /// The codec's; `InvalidArgument` if there is no current version; `InvalidName` if one of the
    /// types is longer than 255 bytes.
    fn encode(&self, value: &T) -> Result<Encoded> {
        self.checked()?;
        let Some(current) = &self.current else {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                "no version to publish: name the type of new messages with `current`",
            ));
        };
        let mut encoded = self.codec.encode(value)?;
        encoded.kind = Some(current.clone());
        Ok(encoded)
    }
}

impl<T, C> Decode<T> for ByType<T, C> {
    /// # Errors
    /// `Decode`; `InvalidName` if one of the types is longer than 255 bytes.
    fn decode(&self, body: &Bytes, properties: &Properties) -> Result<T> {
        self.checked()?;
        let kind = properties.kind.as_ref().filter(|kind| !kind.is_empty());
        let Some(kind) = kind.or(self.assumed.as_ref()) else {
            let accepted = self.accepted();
            return Err(CodecError::NoType { accepted }.into());
        };
        let version = self.versions.iter().find(|(version, _)| version == kind);
        let Some((_, decoder)) = version else {
            let (kind, accepted) = (kind.to_string(), self.accepted());
            return Err(CodecError::UnknownType { kind, accepted }.into());
        };
        decoder(&self.codec, body, properties)
    }
}

impl<T, C: ContentTypes> ContentTypes for ByType<T, C> {
    fn content_types(&self) -> &'static [&'static str] {
        self.codec.content_types()
    }
}

impl<T, C: Clone> Clone for ByType<T, C> {
    fn clone(&self) -> Self {
        Self {
            codec: self.codec.clone(),
            current: self.current.clone(),
            assumed: self.assumed.clone(),
            versions: self.versions.clone(),
            deferred: self.deferred.clone(),
        }
    }
}

impl<T, C: fmt::Debug> fmt::Debug for ByType<T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByType")
            .field("codec", &self.codec)
            .field("current", &self.current)
            .field("assumed", &self.assumed)
            .field("versions", &self.accepted())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;
    use std::num::{ParseIntError, TryFromIntError};

    use super::*;
    use crate::Json;

    fn decode<T>(codec: &impl Decode<T>, kind: Option<&str>, body: &'static str) -> Result<T> {
        let mut properties = Properties::default();
        properties.kind = kind.map(|kind| kind.try_into().unwrap());
        codec.decode(&Bytes::from_static(body.as_bytes()), &properties)
    }

    #[test]
    fn type_chooses_the_version_and_the_current_one_is_published() {
        let numbers = ByType::new(Json)
            .current("n.v2")
            .version("n.v1", |text: String| text.len() as u64);
        assert_eq!(decode(&numbers, Some("n.v1"), "\"abc\"").unwrap(), 3);
        assert_eq!(decode(&numbers, Some("n.v2"), "3").unwrap(), 3);
        let encoded = numbers.encode(&4).unwrap();
        assert_eq!(encoded.kind.as_deref(), Some("n.v2"));
        assert_eq!(encoded.body, "4");
    }

    #[test]
    fn an_unknown_or_missing_type_is_refused_with_the_accepted_ones() {
        let numbers = ByType::<u64, _>::new(Json)
            .current("n.v2")
            .version("n.v1", |n: u32| n.into());
        let err = decode(&numbers, Some("N.v1"), "3").unwrap_err();
        assert_eq!(
            err.to_string(),
            "no version for the type 'N.v1' (accepted: n.v2, n.v1)"
        );
        assert!(err.source().unwrap().is::<CodecError>());
        for missing in [None, Some("")] {
            let err = decode(&numbers, missing, "3").unwrap_err();
            assert_eq!(
                err.to_string(),
                "the message has no type (accepted: n.v2, n.v1)"
            );
        }
        assert_eq!(decode(&numbers.assume("n.v1"), None, "3").unwrap(), 3);
    }

    #[test]
    fn a_conversion_that_fails_is_a_decode_error_with_its_cause() {
        let small = ByType::<u8, _>::new(Json)
            .try_version("number", |number: u64| u8::try_from(number))
            .try_version("text", |text: String| text.parse());
        assert_eq!(decode(&small, Some("text"), "\"12\"").unwrap(), 12);
        let err = decode(&small, Some("number"), "300").unwrap_err();
        assert_eq!(err.kind(), ErrorKind::Decode);
        assert!(err.source().unwrap().is::<TryFromIntError>());
        let err = decode(&small, Some("text"), "\"x\"").unwrap_err();
        assert!(err.source().unwrap().is::<ParseIntError>());
        assert!(err.to_string().contains("type 'text'"), "{err}");
    }

    #[test]
    fn a_version_of_the_same_type_is_replaced() {
        let numbers = ByType::<u32, _>::new(Json)
            .version("n", |n: u32| n)
            .version("n", |n: u32| n + 1);
        assert_eq!(decode(&numbers, Some("n"), "1").unwrap(), 2);
    }

    #[test]
    fn bad_setters_are_errors_of_every_use() {
        let err = ByType::<u32, _>::new(Json).encode(&1).unwrap_err();
        assert_eq!(err.kind(), ErrorKind::InvalidArgument);
        let long = ByType::<u32, _>::new(Json).current("x".repeat(256));
        assert_eq!(long.encode(&1).unwrap_err().kind(), ErrorKind::InvalidName);
        let err = decode(&long, Some("x"), "1").unwrap_err();
        assert_eq!(err.kind(), ErrorKind::InvalidName);
    }
}
