//! Bodies that are encoded already, and the properties that belong to them.

use bytes::Bytes;
use mooq_codecs::{Encode, Encoded};
use mooq_core::{Properties, Result};

/// Publishes bytes as they are, without a copy. The publisher sets the content type.
pub(crate) struct AsIs;

impl Encode<Bytes> for AsIs {
    fn encode(&self, body: &Bytes) -> Result<Encoded> {
        Ok(Encoded::new(body.clone(), "application/octet-stream"))
    }
}

/// The properties that tell how to decode a body.
pub(crate) fn properties_of(encoded: &Encoded) -> Properties {
    let mut properties = Properties::default();
    properties.content_type = encoded.content_type.try_into().ok();
    properties.content_encoding = encoded
        .content_encoding
        .and_then(|encoding| encoding.try_into().ok());
    properties.kind.clone_from(&encoded.kind);
    properties
}
