//! The compressions: bytes to fewer bytes, and back within a limit.

use std::io::{self, Read};
use std::ops::RangeInclusive;

/// A compression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    /// RFC 1952; and RFC 1950, which kombu writes under this name.
    #[cfg(feature = "gzip")]
    Gzip,
    /// RFC 8878, with the windows of RFC 9659.
    #[cfg(feature = "zstd")]
    Zstd,
}

/// The largest window of a zstd frame, as a power of two: 8 MiB. RFC 9659 allows no larger one in a
/// content encoding. A decoder allocates it before it knows the length of the content.
#[cfg(feature = "zstd")]
const WINDOW_LOG_MAX: u32 = 23;

/// The first two bytes of a gzip member (RFC 1952, section 2.3.1). None is the first of a zlib
/// stream.
#[cfg(feature = "gzip")]
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Number of bytes that are expanded at a time.
const CHUNK: usize = 8 * 1024;

impl Compression {
    /// The name of the content encoding.
    pub(crate) fn name(self) -> &'static str {
        match self {
            #[cfg(feature = "gzip")]
            Self::Gzip => "gzip",
            #[cfg(feature = "zstd")]
            Self::Zstd => "zstd",
        }
    }

    /// Returns true if this is a name of the compression: in a content encoding, or in kombu's
    /// header.
    pub(crate) fn has_name(self, name: &str) -> bool {
        let names: &[&str] = match self {
            #[cfg(feature = "gzip")]
            Self::Gzip => &["gzip", "x-gzip", "application/x-gzip"],
            #[cfg(feature = "zstd")]
            Self::Zstd => &["zstd", "application/zstd"],
        };
        names.iter().any(|own| own.eq_ignore_ascii_case(name))
    }

    /// The levels, from the fastest to the smallest.
    pub(crate) fn levels(self) -> RangeInclusive<u32> {
        match self {
            #[cfg(feature = "gzip")]
            Self::Gzip => 1..=9,
            // From 20 on, windows are larger than RFC 9659 allows.
            #[cfg(feature = "zstd")]
            Self::Zstd => 1..=19,
        }
    }

    /// The level of most uses.
    pub(crate) fn usual_level(self) -> u32 {
        match self {
            #[cfg(feature = "gzip")]
            Self::Gzip => 6,
            #[cfg(feature = "zstd")]
            Self::Zstd => 3,
        }
    }

    /// Compresses `body`. The level is one of [`levels`](Self::levels).
    pub(crate) fn compress(self, body: &[u8], level: u32) -> io::Result<Vec<u8>> {
        match self {
            #[cfg(feature = "gzip")]
            Self::Gzip => {
                let level = flate2::Compression::new(level);
                let mut compressed = Vec::new();
                flate2::bufread::GzEncoder::new(body, level).read_to_end(&mut compressed)?;
                Ok(compressed)
            }
            #[cfg(feature = "zstd")]
            Self::Zstd => {
                let level = i32::try_from(level).map_err(io::Error::other)?;
                zstd::bulk::compress(body, level)
            }
        }
    }

    /// Expands `body`. None if that takes more than `limit` bytes.
    pub(crate) fn expand(self, body: &[u8], limit: usize) -> io::Result<Option<Vec<u8>>> {
        match self {
            #[cfg(feature = "gzip")]
            Self::Gzip if body.starts_with(&GZIP_MAGIC) => {
                read_within(flate2::bufread::MultiGzDecoder::new(body), limit)
            }
            #[cfg(feature = "gzip")]
            Self::Gzip => {
                let mut stream = flate2::bufread::ZlibDecoder::new(body);
                let expanded = read_within(&mut stream, limit)?;
                if expanded.is_some() && !stream.get_ref().is_empty() {
                    return Err(io::Error::other(
                        "there are bytes after the compressed ones",
                    ));
                }
                Ok(expanded)
            }
            #[cfg(feature = "zstd")]
            Self::Zstd => {
                let mut frames = zstd::stream::read::Decoder::with_buffer(body)?;
                frames.window_log_max(WINDOW_LOG_MAX)?;
                read_within(frames, limit)
            }
        }
    }
}

/// Reads `source` to its end, into a buffer that never has room for more than `limit` bytes. None if
/// the source has more.
fn read_within(mut source: impl Read, limit: usize) -> io::Result<Option<Vec<u8>>> {
    let mut chunk = [0; CHUNK];
    let mut whole = Vec::new();
    loop {
        let read = source.read(&mut chunk)?;
        if read == 0 {
            return Ok(Some(whole));
        }
        let length = whole.len() + read;
        if length > limit {
            return Ok(None);
        }
        if length > whole.capacity() {
            let room = (2 * whole.capacity()).clamp(length, limit);
            whole.reserve_exact(room - whole.len());
        }
        whole.extend_from_slice(&chunk[..read]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffer_never_has_room_for_more_than_the_limit() {
        for (length, limit) in [(0, 0), (1, 1), (CHUNK, CHUNK), (100_000, 100_001)] {
            let source = io::repeat(7).take(length as u64);
            let whole = read_within(source, limit).unwrap().unwrap();
            assert_eq!(whole.len(), length);
            assert!(whole.capacity() <= limit, "{} {limit}", whole.capacity());
        }
        for limit in [0, 1, CHUNK, 100_000] {
            assert_eq!(read_within(io::repeat(7), limit).unwrap(), None);
        }
    }
}
