//! Bodies that are encoded already.

use bytes::Bytes;
use mooq_client::Encode;
use mooq_core::Result;

/// Publishes bytes as they are, without a copy. The publisher sets the content type.
pub(crate) struct Encoded;

impl Encode<Bytes> for Encoded {
    fn content_type(&self) -> &'static str {
        "application/octet-stream"
    }

    fn encode(&self, body: &Bytes) -> Result<Bytes> {
        Ok(body.clone())
    }
}
