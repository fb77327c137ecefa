//! Compression around a codec.

use bytes::Bytes;
use mooq_core::{Error, ErrorKind, Properties, Result};

use crate::codec::{ContentTypes, Decode, Encode, Encoded};
use crate::compression::Compression;
use crate::error::CodecError;

/// Bodies shorter than this, in bytes, gain little from compression: they fit in one packet as they
/// are.
const THRESHOLD: usize = 1024;

/// The longest body that a compressed one may expand to, in bytes: 64 MiB. RabbitMQ itself takes
/// messages of up to 16 MiB by default (`max_message_size`, since 4.0).
const EXPANDED_LIMIT: usize = 64 * 1024 * 1024;

/// Content encodings that change no byte: of HTTP, and the character sets that kombu and Spring AMQP
/// put into the same property.
const UNCOMPRESSED: [&str; 8] = [
    "identity", "binary", "8bit", "7bit", "utf-8", "utf8", "us-ascii", "ascii",
];

/// The header in which kombu names its compression.
const KOMBU_HEADER: &str = "compression";

/// A codec whose bodies are compressed, with gzip or zstd.
///
/// Published bodies are compressed, and their messages have the content encoding `gzip` or `zstd`.
/// Bodies of less than 1 KiB ([`threshold`](Self::threshold)) are sent as they are, and so are those
/// that would become no smaller; such messages have no content encoding.
///
/// Consumed bodies are expanded by their content encoding, up to 64 MiB
/// ([`expanded_limit`](Self::expanded_limit)): a longer one is a decode error that names the limit.
/// The buffer of an expanded body never has room for more than the limit. zstd uses up to 8 MiB
/// more, which is the largest window of a content encoding (RFC 9659); frames with a larger one are
/// decode errors. A body without a content encoding is decoded as it is, and so is one whose content
/// encoding is `identity` or a character set, as kombu and Spring AMQP send them. Any other content
/// encoding is a decode error that names it, and so is a body that was compressed more than once.
///
/// The header `compression`, in which kombu and Celery name the compression instead, is understood,
/// with the `zlib` streams that they call gzip. It is never sent.
///
/// Compression takes place where the message is published, and expansion before the callback starts,
/// on the same thread: 64 MiB take a good part of a second.
///
/// # Examples
/// ```
/// use mooq::{Compressed, Json};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> mooq::Result<()> {
/// # use mooq::memory::InMemoryBroker;
/// # let broker = InMemoryBroker::start();
/// # let conn = mooq::connect(&broker).await?;
/// # let chan = conn.create_channel().await?;
/// let codec = Compressed::gzip(Json);
/// let names = vec!["Ann"; 10_000];
/// chan.declare_queue("names").await?;
/// chan.publish_with("", &names, codec).routing_key("names").await?;
///
/// let got = chan.get_one::<Vec<String>>("names").codec(codec).await?;
/// assert!(got.body().is_some_and(|body| body.len() < 1_000));
/// assert_eq!(got.ack().await?, names);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Compressed<C> {
    codec: C,
    compression: Compression,
    /// The other compression, if it is accepted too.
    also: Option<Compression>,
    level: u32,
    threshold: usize,
    expanded_limit: usize,
}

impl<C> Compressed<C> {
    /// Compresses what `codec` encodes with gzip (RFC 1952), and expands gzip.
    #[cfg(feature = "gzip")]
    pub fn gzip(codec: C) -> Self {
        Self::new(codec, Compression::Gzip)
    }

    /// Compresses what `codec` encodes with zstd (RFC 8878), and expands zstd.
    #[cfg(feature = "zstd")]
    pub fn zstd(codec: C) -> Self {
        Self::new(codec, Compression::Zstd)
    }

    fn new(codec: C, compression: Compression) -> Self {
        Self {
            codec,
            compression,
            also: None,
            level: compression.usual_level(),
            threshold: THRESHOLD,
            expanded_limit: EXPANDED_LIMIT,
        }
    }

    /// Expands gzip too, while publishers change from one to the other.
    #[cfg(feature = "gzip")]
    pub fn or_gzip(self) -> Self {
        self.or(Compression::Gzip)
    }

    /// Expands zstd too, while publishers change from one to the other.
    #[cfg(feature = "zstd")]
    pub fn or_zstd(self) -> Self {
        self.or(Compression::Zstd)
    }

    fn or(mut self, also: Compression) -> Self {
        self.also = (also != self.compression).then_some(also);
        self
    }

    /// The level of compression: 1 (fastest) to 9 (smallest) for gzip, 6 by default; 1 to 19 for
    /// zstd, 3 by default. Another one is an error of each publish, of kind `InvalidArgument`.
    pub fn level(mut self, level: u32) -> Self {
        self.level = level;
        self
    }

    /// Sends bodies of less than so many bytes as they are; 1024 by default.
    pub fn threshold(mut self, bytes: usize) -> Self {
        self.threshold = bytes;
        self
    }

    /// The longest body that a compressed one may expand to, in bytes; 64 MiB by default.
    pub fn expanded_limit(mut self, bytes: usize) -> Self {
        self.expanded_limit = bytes;
        self
    }

    fn check_level(&self) -> Result<()> {
        let levels = self.compression.levels();
        if levels.contains(&self.level) {
            return Ok(());
        }
        let (name, level) = (self.compression.name(), self.level);
        let (first, last) = (levels.start(), levels.end());
        let message = format!("{name} has no level {level}: use {first} to {last}");
        Err(Error::new(ErrorKind::InvalidArgument, message))
    }

    fn compress(&self, body: &[u8]) -> Result<Vec<u8>> {
        let compressed = self.compression.compress(body, self.level);
        compressed.map_err(|e| {
            let name = self.compression.name();
            let message = format!("the body could not be compressed with {name}: {e}");
            Error::new(ErrorKind::Encode, message).with_source(e)
        })
    }

    fn expand(&self, body: &[u8], compression: Compression) -> Result<Vec<u8>> {
        let limit = self.expanded_limit;
        match compression.expand(body, limit) {
            Ok(Some(expanded)) => Ok(expanded),
            Ok(None) => Err(CodecError::TooLarge { limit }.into()),
            Err(e) => {
                let name = compression.name();
                let message = format!("the body cannot be expanded as {name}: {e}");
                Err(Error::new(ErrorKind::Decode, message).with_source(e))
            }
        }
    }

    /// The compression of a body with these properties, if there is one.
    fn compression_of(&self, properties: &Properties) -> Result<Option<Compression>, CodecError> {
        let encoding = properties.content_encoding.as_deref().unwrap_or_default();
        let header = properties.headers.get(KOMBU_HEADER);
        let header = header.and_then(|header| header.as_str());
        // A list is separated by commas in HTTP, and was by colons in Spring AMQP.
        let names = encoding.split([',', ':']).chain(header).map(str::trim);
        let mut names = names.filter(|name| {
            let is_name = |other: &&str| other.eq_ignore_ascii_case(name);
            !name.is_empty() && !UNCOMPRESSED.iter().any(is_name)
        });
        let Some(name) = names.next() else {
            return Ok(None);
        };
        if let Some(second) = names.next() {
            let encoding = format!("{name}, {second}");
            return Err(CodecError::CompressedTwice { encoding });
        }
        let mut accepted = self.accepted();
        let found = accepted.find(|compression| compression.has_name(name));
        found.map(Some).ok_or_else(|| CodecError::UnknownEncoding {
            encoding: name.to_owned(),
            accepted: self.accepted().map(|it| it.name().to_owned()).collect(),
        })
    }

    fn accepted(&self) -> impl Iterator<Item = Compression> + use<C> {
        [Some(self.compression), self.also].into_iter().flatten()
    }
}

impl<T: ?Sized, C: Encode<T>> Encode<T> for Compressed<C> {
    /// # Errors
    /// The codec's; `InvalidArgument` if there is no such level.
    fn encode(&self, value: &T) -> Result<Encoded> {
        self.check_level()?;
        let mut encoded = self.codec.encode(value)?;
        if encoded.content_encoding.is_none() && encoded.body.len() >= self.threshold {
            let compressed = self.compress(&encoded.body)?;
            if compressed.len() < encoded.body.len() {
                encoded.body = compressed.into_boxed_slice().into();
                encoded.content_encoding = Some(self.compression.name());
            }
        }
        Ok(encoded)
    }
}

impl<T, C: Decode<T>> Decode<T> for Compressed<C> {
    fn decode(&self, body: &Bytes, properties: &Properties) -> Result<T> {
        match self.compression_of(properties)? {
            None => self.codec.decode(body, properties),
            Some(compression) => {
                let expanded = self.expand(body, compression)?;
                self.codec.decode(&expanded.into(), properties)
            }
        }
    }
}

impl<C: ContentTypes> ContentTypes for Compressed<C> {
    fn content_types(&self) -> &'static [&'static str] {
        self.codec.content_types()
    }
}
