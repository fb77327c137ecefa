//! A set of codecs, chosen by content type.

use bytes::Bytes;
use mooq_core::{Properties, Result};

use crate::codec::{ContentTypes, Decode, Encode, Encoded};
use crate::error::CodecError;

/// A set of codecs. It decodes with the one that the message's content type names, and encodes with
/// the first.
///
/// Nothing else is decoded. A content type that is not in the set is a decode error that names it
/// and lists the set's, and a message without one is a decode error unless
/// [`assume`](Self::assume) says what it is. The parameters of a content type, as in
/// `application/json; charset=utf-8`, are ignored, and so is its case.
///
/// The type of a set is made up of its codecs. To return one, write `impl Encode<T> + Decode<T>`;
/// to keep one in a field, `Arc<dyn Decode<T> + Send + Sync>`.
///
/// # Examples
/// A consumer that reads what old publishers send as JSON, and new ones as text:
///
/// ```
/// use mooq::{ByContentType, Json, Text};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> mooq::Result<()> {
/// # use mooq::memory::InMemoryBroker;
/// # let broker = InMemoryBroker::start();
/// # let conn = mooq::connect(&broker).await?;
/// # let chan = conn.create_channel().await?;
/// chan.declare_queue("names").await?;
/// chan.publish("", "Ann").routing_key("names").await?;
/// chan.publish_with("", "Bob", Text).routing_key("names").await?;
///
/// let codecs = ByContentType::new(Text).or(Json);
/// for name in ["Ann", "Bob"] {
///     let got = chan.get_one::<String>("names").codec(codecs).await?;
///     assert_eq!(got.ack().await?, name);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy)]
pub struct ByContentType<S> {
    set: S,
    assumed: Option<&'static str>,
}

/// A codec of a set.
#[derive(Debug, Clone, Copy)]
pub struct Member<C> {
    codec: C,
    named: Named,
}

#[derive(Debug, Clone, Copy)]
enum Named {
    /// By the content types of the codec itself.
    ByCodec(&'static [&'static str]),
    /// By this one instead.
    As(&'static str),
}

/// A set that has one more codec.
#[derive(Debug, Clone, Copy)]
pub struct Or<S, C> {
    before: S,
    last: Member<C>,
}

impl<C> ByContentType<Member<C>> {
    /// A set of one codec, which is the one that encodes.
    pub fn new(codec: C) -> Self
    where
        C: ContentTypes,
    {
        let named = Named::ByCodec(codec.content_types());
        Self::of(Member { codec, named })
    }

    /// A set of one codec, which encodes and decodes bodies of this content type, in place of the
    /// codec's own.
    pub fn new_as(content_type: &'static str, codec: C) -> Self {
        let named = Named::As(content_type);
        Self::of(Member { codec, named })
    }

    fn of(set: Member<C>) -> Self {
        Self { set, assumed: None }
    }
}

impl<S> ByContentType<S> {
    /// Decodes bodies of the codec's content types with it, unless an earlier codec has them.
    pub fn or<C: ContentTypes>(self, codec: C) -> ByContentType<Or<S, C>> {
        let named = Named::ByCodec(codec.content_types());
        self.with(Member { codec, named })
    }

    /// Decodes bodies of this content type with the codec, for a name of your own such as
    /// `application/vnd.shop.order+json`.
    pub fn or_as<C>(self, content_type: &'static str, codec: C) -> ByContentType<Or<S, C>> {
        let named = Named::As(content_type);
        self.with(Member { codec, named })
    }

    fn with<C>(self, last: Member<C>) -> ByContentType<Or<S, C>> {
        ByContentType {
            set: Or {
                before: self.set,
                last,
            },
            assumed: self.assumed,
        }
    }

    /// Takes messages without a content type for messages of this one.
    pub fn assume(mut self, content_type: &'static str) -> Self {
        self.assumed = Some(content_type);
        self
    }
}

impl<C> Member<C> {
    fn content_types(&self) -> &[&'static str] {
        match &self.named {
            Named::ByCodec(content_types) => content_types,
            Named::As(content_type) => std::slice::from_ref(content_type),
        }
    }

    fn encode<T: ?Sized>(&self, value: &T) -> Result<Encoded>
    where
        C: Encode<T>,
    {
        let mut encoded = self.codec.encode(value)?;
        if let Named::As(content_type) = self.named {
            encoded.content_type = content_type;
        }
        Ok(encoded)
    }

    fn decode_if<T>(
        &self,
        essence: &str,
        body: &Bytes,
        properties: &Properties,
    ) -> Option<Result<T>>
    where
        C: Decode<T>,
    {
        let matches = |content_type: &&str| content_type.eq_ignore_ascii_case(essence);
        let found = self.content_types().iter().any(matches);
        found.then(|| self.codec.decode(body, properties))
    }
}

/// The content types of a set.
pub trait Accepted {
    /// Adds them to a list, in the order of the set.
    fn list(&self, accepted: &mut Vec<String>);
}

impl<C> Accepted for Member<C> {
    fn list(&self, accepted: &mut Vec<String>) {
        accepted.extend(self.content_types().iter().map(ToString::to_string));
    }
}

impl<S: Accepted, C> Accepted for Or<S, C> {
    fn list(&self, accepted: &mut Vec<String>) {
        self.before.list(accepted);
        self.last.list(accepted);
    }
}

/// The first codec of a set.
pub trait EncodeFirst<T: ?Sized> {
    /// Encodes `value` with it.
    ///
    /// # Errors
    /// The codec's.
    fn encode_first(&self, value: &T) -> Result<Encoded>;
}

impl<T: ?Sized, C: Encode<T>> EncodeFirst<T> for Member<C> {
    fn encode_first(&self, value: &T) -> Result<Encoded> {
        self.encode(value)
    }
}

impl<T: ?Sized, S: EncodeFirst<T>, C> EncodeFirst<T> for Or<S, C> {
    fn encode_first(&self, value: &T) -> Result<Encoded> {
        self.before.encode_first(value)
    }
}

/// The codecs of a set that all decode to the same type.
pub trait DecodeAny<T>: Accepted {
    /// Decodes with the first codec that has this content type, which is without parameters. None
    /// if no codec has it.
    fn decode_any(&self, essence: &str, body: &Bytes, properties: &Properties)
    -> Option<Result<T>>;
}

impl<T, C: Decode<T>> DecodeAny<T> for Member<C> {
    fn decode_any(
        &self,
        essence: &str,
        body: &Bytes,
        properties: &Properties,
    ) -> Option<Result<T>> {
        self.decode_if(essence, body, properties)
    }
}

impl<T, S: DecodeAny<T>, C: Decode<T>> DecodeAny<T> for Or<S, C> {
    fn decode_any(
        &self,
        essence: &str,
        body: &Bytes,
        properties: &Properties,
    ) -> Option<Result<T>> {
        let found = self.before.decode_any(essence, body, properties);
        found.or_else(|| self.last.decode_if(essence, body, properties))
    }
}

impl<T: ?Sized, S: EncodeFirst<T>> Encode<T> for ByContentType<S> {
    fn encode(&self, value: &T) -> Result<Encoded> {
        self.set.encode_first(value)
    }
}

impl<T, S: DecodeAny<T>> Decode<T> for ByContentType<S> {
    fn decode(&self, body: &Bytes, properties: &Properties) -> Result<T> {
        let content_type = properties.content_type.as_deref();
        // An empty property says as little as an absent one.
        let content_type = content_type.filter(|content_type| !content_type.is_empty());
        let Some(content_type) = content_type.or(self.assumed) else {
            let accepted = self.accepted();
            return Err(CodecError::NoContentType { accepted }.into());
        };
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        let decoded = self.set.decode_any(essence, body, properties);
        decoded.unwrap_or_else(|| {
            let content_type = content_type.to_owned();
            let accepted = self.accepted();
            let cause = CodecError::UnknownContentType {
                content_type,
                accepted,
            };
            Err(cause.into())
        })
    }
}

impl<S: Accepted> ByContentType<S> {
    fn accepted(&self) -> Vec<String> {
        let mut accepted = Vec::new();
        self.set.list(&mut accepted);
        accepted
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use mooq_core::ErrorKind;

    use super::*;
    use crate::{Json, RawBytes, Text};

    fn of_type(content_type: &str) -> Properties {
        let mut properties = Properties::default();
        properties.content_type = Some(content_type.try_into().unwrap());
        properties
    }

    fn decode<S: DecodeAny<String>>(set: &ByContentType<S>, content_type: &str) -> Result<String> {
        set.decode(&Bytes::from_static(b"\"a\""), &of_type(content_type))
    }

    #[test]
    fn content_type_chooses_whatever_its_case_and_parameters() {
        let set = ByContentType::new(Json).or(Text);
        assert_eq!(decode(&set, "application/json").unwrap(), "a");
        assert_eq!(
            decode(&set, "Application/JSON ; charset=utf-8").unwrap(),
            "a"
        );
        assert_eq!(decode(&set, "text/plain").unwrap(), "\"a\"");
    }

    #[test]
    fn the_first_codec_encodes_and_the_first_of_a_content_type_decodes() {
        let set = ByContentType::new(Text).or(Json).or_as("text/plain", Json);
        let encoded = set.encode("a").unwrap();
        assert_eq!(
            (&encoded.body[..], encoded.content_type),
            (&b"a"[..], "text/plain")
        );
        assert_eq!(decode(&set, "text/plain").unwrap(), "\"a\"");
    }

    #[test]
    fn a_codec_under_another_name_has_that_name_only() {
        let set = ByContentType::new_as("application/vnd.shop+json", Json);
        assert_eq!(
            set.encode("a").unwrap().content_type,
            "application/vnd.shop+json"
        );
        assert_eq!(decode(&set, "application/vnd.shop+json").unwrap(), "a");
        assert_eq!(
            decode(&set, "application/json").unwrap_err().kind(),
            ErrorKind::Decode
        );
    }

    #[test]
    fn an_unknown_content_type_is_named_with_the_accepted_ones() {
        let set = ByContentType::new(Json).or(Text);
        for unknown in [
            "application/xml",
            "application/jso\n",
            "application",
            "; a=b",
        ] {
            let err = decode(&set, unknown).unwrap_err();
            assert_eq!(err.kind(), ErrorKind::Decode);
            let cause: Option<&CodecError> = err.source().unwrap().downcast_ref();
            let accepted = ["application/json", "text/plain"].map(String::from).into();
            let content_type = unknown.to_owned();
            let expected = CodecError::UnknownContentType {
                content_type,
                accepted,
            };
            assert_eq!(cause, Some(&expected));
            assert!(!err.to_string().contains('\n'), "{err}");
        }
    }

    #[test]
    fn a_missing_content_type_is_refused_unless_one_is_assumed() {
        let body = Bytes::from_static(b"\"a\"");
        let set = ByContentType::new(Json).or(Text);
        for properties in [Properties::default(), of_type("")] {
            let refused: Result<String> = set.decode(&body, &properties);
            assert_eq!(
                refused.unwrap_err().to_string(),
                "the message has no content type (accepted: application/json, text/plain)"
            );
            let assumed = set.assume(Text::CONTENT_TYPE);
            assert_eq!(assumed.decode(&body, &properties).unwrap(), "\"a\"");
            let elsewhere = set.assume("text/html");
            let refused: Result<String> = elsewhere.decode(&body, &properties);
            assert!(refused.unwrap_err().to_string().contains("'text/html'"));
        }
    }

    #[test]
    fn a_set_of_one_type_may_encode_another() {
        let set = ByContentType::new(RawBytes);
        assert_eq!(set.encode(&[1, 2]).unwrap().body, [1, 2][..]);
        let decoded: Vec<u8> = set
            .decode(&Bytes::from_static(&[3]), &of_type(RawBytes::CONTENT_TYPE))
            .unwrap();
        assert_eq!(decoded, [3]);
    }
}
