//! A check that a broker speaks AMQP: the first step of a connection, without a login.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::address::BrokerAddress;

/// The client's first bytes: the protocol's name and version (AMQP 0-9-1, 4.2.2).
const PROTOCOL_HEADER: [u8; 8] = *b"AMQP\x00\x00\x09\x01";
const METHOD_FRAME: u8 = 1;
const FRAME_END: u8 = 0xCE;
/// Maximum length of `connection.start`. It is above the 500 bytes or so with which RabbitMQ
/// introduces itself, and below the size that the bytes of another protocol amount to.
const MAX_START_LENGTH: usize = 64 * 1024;

/// Connects, offers AMQP 0-9-1 and reads the broker's `connection.start`, all within `limit`.
pub(crate) async fn handshake(
    address: &BrokerAddress,
    limit: Duration,
) -> Result<(), HandshakeError> {
    timeout(limit, converse(address))
        .await
        .unwrap_or(Err(HandshakeError::TimedOut { after: limit }))
}

async fn converse(address: &BrokerAddress) -> Result<(), HandshakeError> {
    let mut stream = TcpStream::connect((address.host(), address.port()))
        .await
        .map_err(HandshakeError::Connect)?;
    stream
        .write_all(&PROTOCOL_HEADER)
        .await
        .map_err(HandshakeError::Broken)?;
    read_start(&mut stream).await?;
    // No input is left unread, so the broker sees the connection end in good order. The result of
    // the shutdown does not change the answer.
    let _ = stream.shutdown().await;
    Ok(())
}

/// Reads the first frame, which has to be the method `connection.start`.
async fn read_start(stream: &mut TcpStream) -> Result<(), HandshakeError> {
    let not_amqp = |received: &[u8]| HandshakeError::NotAmqp {
        received: String::from_utf8_lossy(received).into_owned(),
    };

    let mut header = [0; 7];
    let length = read_up_to(stream, &mut header).await?;
    if length == 0 {
        return Err(HandshakeError::Closed);
    }
    if header.starts_with(b"AMQP") {
        return Err(HandshakeError::Refused);
    }
    let [METHOD_FRAME, 0, 0, size @ ..] = header else {
        return Err(not_amqp(&header[..length]));
    };
    let size = u32::from_be_bytes(size) as usize;
    if length < header.len() || size > MAX_START_LENGTH {
        return Err(not_amqp(&header[..length]));
    }

    let mut rest = vec![0; size + 1];
    if read_up_to(stream, &mut rest).await? < rest.len() {
        return Err(HandshakeError::Closed);
    }
    match rest[..] {
        // Class 10 is connection, and its method 10 is start.
        [0, 10, 0, 10, .., FRAME_END] => Ok(()),
        _ => Err(not_amqp(&rest)),
    }
}

/// Fills `buffer`, or as much of it as arrives before the peer closes the connection.
async fn read_up_to(stream: &mut TcpStream, buffer: &mut [u8]) -> Result<usize, HandshakeError> {
    let mut length = 0;
    while length < buffer.len() {
        match stream.read(&mut buffer[length..]).await {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(error) => return Err(HandshakeError::Broken(error)),
        }
    }
    Ok(length)
}

/// The reason why a handshake failed, including the kind of peer that answered instead of a broker.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The name has no address, or none of its addresses accepts connections.
    #[error("no connection could be made")]
    Connect(#[source] io::Error),
    /// The connection broke before the answer was complete.
    #[error("the connection broke")]
    Broken(#[source] io::Error),
    /// The peer closed the connection before its answer was complete. A port that Docker publishes
    /// does so while no process listens behind it.
    #[error("the connection was closed before the answer was complete")]
    Closed,
    /// The peer speaks AMQP, but not AMQP 0-9-1.
    #[error("the peer refuses AMQP 0-9-1")]
    Refused,
    /// The peer speaks another protocol, or its first frame was not the `connection.start` that is
    /// due.
    #[error("the answer was not AMQP: {received:?}")]
    NotAmqp {
        /// The beginning of the answer, as text.
        received: String,
    },
    /// The peer accepted no connection, or did not answer, in time.
    #[error("there was no answer within {after:?}")]
    TimedOut {
        /// The time that was spent waiting.
        after: Duration,
    },
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpSocket};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    /// A handshake with a peer that answers with `bytes` and then closes the connection.
    async fn handshake_with(bytes: &[u8]) -> Result<(), HandshakeError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = address_of(&listener);
        let peer = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut header = [0; 8];
            stream.read_exact(&mut header).await.unwrap();
            assert_eq!(header, PROTOCOL_HEADER);
            stream.write_all(bytes).await.unwrap();
            stream.shutdown().await.unwrap();
        };
        tokio::join!(handshake(&address, LIMIT), peer).0
    }

    fn address_of(listener: &TcpListener) -> BrokerAddress {
        BrokerAddress::new("127.0.0.1", listener.local_addr().unwrap().port())
    }

    /// A method frame on channel 0 with empty arguments.
    fn method_frame(class: u16, method: u16) -> Vec<u8> {
        let mut frame = vec![METHOD_FRAME, 0, 0, 0, 0, 0, 4];
        frame.extend(class.to_be_bytes());
        frame.extend(method.to_be_bytes());
        frame.push(FRAME_END);
        frame
    }

    #[tokio::test]
    async fn a_start_frame_is_a_broker() {
        handshake_with(&method_frame(10, 10)).await.unwrap();
    }

    #[tokio::test]
    async fn another_method_is_none() {
        let error = handshake_with(&method_frame(10, 50)).await.unwrap_err();
        assert!(matches!(error, HandshakeError::NotAmqp { .. }), "{error:?}");
    }

    #[tokio::test]
    async fn a_frame_without_its_end_is_none() {
        let mut frame = method_frame(10, 10);
        *frame.last_mut().unwrap() = 0;
        let error = handshake_with(&frame).await.unwrap_err();
        assert!(matches!(error, HandshakeError::NotAmqp { .. }), "{error:?}");
    }

    #[tokio::test]
    async fn a_frame_of_absurd_size_is_not_read() {
        let frame = [METHOD_FRAME, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF];
        let error = handshake_with(&frame).await.unwrap_err();
        assert!(matches!(error, HandshakeError::NotAmqp { .. }), "{error:?}");
    }

    #[tokio::test]
    async fn another_protocol_is_quoted() {
        let error = handshake_with(b"HTTP/1.1 400 Bad Request\r\n")
            .await
            .unwrap_err();
        assert_eq!(error.to_string(), r#"the answer was not AMQP: "HTTP/1.""#);
    }

    #[tokio::test]
    async fn a_short_answer_is_quoted() {
        let error = handshake_with(b"no\n").await.unwrap_err();
        assert_eq!(error.to_string(), r#"the answer was not AMQP: "no\n""#);
    }

    #[tokio::test]
    async fn a_protocol_header_in_return_is_a_refusal() {
        for header in [PROTOCOL_HEADER, *b"AMQP\x00\x01\x00\x00"] {
            let error = handshake_with(&header).await.unwrap_err();
            assert!(matches!(error, HandshakeError::Refused), "{error:?}");
        }
    }

    #[tokio::test]
    async fn a_peer_that_closes_has_not_answered() {
        let frame = method_frame(10, 10);
        for beginning in [&[][..], &frame[..9]] {
            let error = handshake_with(beginning).await.unwrap_err();
            assert!(matches!(error, HandshakeError::Closed), "{error:?}");
        }
    }

    #[tokio::test]
    async fn a_port_where_nobody_listens_is_a_connect_error() {
        // Bound, so that no other process listens there meanwhile.
        let nobody = TcpSocket::new_v4().unwrap();
        nobody.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let port = nobody.local_addr().unwrap().port();
        let address = BrokerAddress::new("127.0.0.1", port);

        let error = handshake(&address, LIMIT).await.unwrap_err();
        let HandshakeError::Connect(source) = &error else {
            panic!("{error:?}");
        };
        assert_eq!(source.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_peer_ends_at_the_limit() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let error = handshake(&address_of(&listener), LIMIT).await.unwrap_err();
        assert!(
            matches!(error, HandshakeError::TimedOut { after } if after == LIMIT),
            "{error:?}"
        );
    }

    #[tokio::test]
    async fn ipv6_is_spoken() {
        // A machine without IPv6 cannot run this test.
        let Ok(listener) = TcpListener::bind("[::1]:0").await else {
            return;
        };
        let address = BrokerAddress::new("[::1]", listener.local_addr().unwrap().port());
        let peer = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(&method_frame(10, 10)).await.unwrap();
            // Read until the client closes: a close with its header unread would be a reset.
            stream.read_to_end(&mut Vec::new()).await.unwrap();
        };
        tokio::join!(handshake(&address, LIMIT), peer).0.unwrap();
    }
}
