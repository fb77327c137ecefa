//! Asks a broker that is silent about a login for the reason.
//!
//! RabbitMQ gives the reason for refusing a login only to clients that announce support for it,
//! which amqprs does not: for others it delays the close for 3 seconds, and then hangs up without a
//! reason. So while a login gets no answer, this module logs in on a connection of its own,
//! announces the support, and reads the answer. Only a refusal is used.

use std::io;

use mooq_core::{CloseReason, Endpoint};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// A method's class and number.
type Method = (u16, u16);

const START: Method = (10, 10);
const START_OK: Method = (10, 11);
const CLOSE: Method = (10, 50);
const CLOSE_OK: Method = (10, 51);

/// Maximum size of a frame here. RabbitMQ's frames have some hundred bytes, and AMQP allows 4,096.
const FRAME_MAX: u32 = 65_536;

/// The byte that begins a frame with a method, and the byte that ends every frame.
const METHOD: u8 = 1;
const END: u8 = 0xce;

/// Returns the reason why the broker at the other end of `stream` refuses the login to `endpoint`,
/// or `None` if it accepts the login.
///
/// # Errors
/// The socket's errors, and `InvalidData` if the peer does not speak AMQP 0-9-1.
pub(crate) async fn ask(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    endpoint: &Endpoint,
) -> io::Result<Option<CloseReason>> {
    stream.write_all(b"AMQP\0\0\x09\x01").await?;
    stream.flush().await?;
    let (method, _) = read(&mut stream).await?;
    if method != START {
        return Err(not_amqp());
    }
    write(&mut stream, START_OK, &start_ok(endpoint)).await?;
    let (method, arguments) = read(&mut stream).await?;
    if method != CLOSE {
        return Ok(None);
    }
    let reason = close_reason(&arguments).ok_or_else(not_amqp)?;
    // A courtesy: the broker already knows.
    let _ = write(&mut stream, CLOSE_OK, &[]).await;
    Ok(Some(reason))
}

async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<(Method, Vec<u8>)> {
    let kind = stream.read_u8().await?;
    let _channel = stream.read_u16().await?;
    let size = stream.read_u32().await?;
    if kind != METHOD || !(4..=FRAME_MAX).contains(&size) {
        return Err(not_amqp());
    }
    let method = (stream.read_u16().await?, stream.read_u16().await?);
    let mut arguments = vec![0; size as usize - 4];
    stream.read_exact(&mut arguments).await?;
    if stream.read_u8().await? != END {
        return Err(not_amqp());
    }
    Ok((method, arguments))
}

async fn write(
    stream: &mut (impl AsyncWrite + Unpin),
    (class, method): Method,
    arguments: &[u8],
) -> io::Result<()> {
    let mut payload = class.to_be_bytes().to_vec();
    payload.extend(method.to_be_bytes());
    payload.extend(arguments);
    let mut frame = vec![METHOD, 0, 0];
    frame.extend(long(&payload));
    frame.push(END);
    stream.write_all(&frame).await?;
    stream.flush().await
}

fn start_ok(endpoint: &Endpoint) -> Vec<u8> {
    let capabilities = entry("authentication_failure_close", b't', &[1]);
    let mut properties = entry("product", b'S', &long(b"mooq"));
    properties.extend(entry("capabilities", b'F', &long(&capabilities)));
    let mut arguments = long(&properties);
    arguments.extend(short(endpoint.auth_mechanism.as_str()));
    arguments.extend(long(endpoint.login_response().as_bytes()));
    arguments.extend(short("en_US"));
    arguments
}

/// An entry of a table.
fn entry(key: &str, kind: u8, value: &[u8]) -> Vec<u8> {
    let mut entry = short(key);
    entry.push(kind);
    entry.extend(value);
    entry
}

/// A short string of this module.
fn short(text: &str) -> Vec<u8> {
    let mut bytes = vec![text.len().to_be_bytes()[size_of::<usize>() - 1]];
    bytes.extend(text.as_bytes());
    bytes
}

/// A long string, or a table of these entries.
fn long(bytes: &[u8]) -> Vec<u8> {
    // The longest string is a password, which is never as long as 4 GiB.
    let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let mut long = len.to_be_bytes().to_vec();
    long.extend(bytes);
    long
}

fn close_reason(arguments: &[u8]) -> Option<CloseReason> {
    let (code, rest) = arguments.split_first_chunk()?;
    let (&[len], rest) = rest.split_first_chunk()?;
    let (text, rest) = rest.split_at_checked(len.into())?;
    let (class_id, rest) = rest.split_first_chunk()?;
    let (method_id, _) = rest.split_first_chunk()?;
    Some(CloseReason {
        code: u16::from_be_bytes(*code),
        text: String::from_utf8_lossy(text).into_owned(),
        class_id: u16::from_be_bytes(*class_id),
        method_id: u16::from_be_bytes(*method_id),
    })
}

fn not_amqp() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "its answer is not AMQP 0-9-1")
}
