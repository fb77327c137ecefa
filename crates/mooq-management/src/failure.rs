//! Errors, with RabbitMQ's status codes and bodies.

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use mooq_core::{CloseReason, Error};
use serde_json::{Value, json};

/// A request that is refused.
#[derive(Debug, PartialEq)]
pub(crate) struct Failure {
    status: StatusCode,
    /// RabbitMQ's word for the error, and the reason. None for an empty body.
    told: Option<(&'static str, Value)>,
    /// True if the client is asked to log in.
    challenge: bool,
}

impl Failure {
    fn new(status: StatusCode, error: &'static str, reason: impl Into<Value>) -> Self {
        Self {
            status,
            told: Some((error, reason.into())),
            challenge: false,
        }
    }

    /// Nothing is served at the path, or the object does not exist.
    pub(crate) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "Object Not Found", "Not Found")
    }

    /// Another object, which the request needs, does not exist.
    pub(crate) fn missing(reason: impl Into<Value>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", reason)
    }

    pub(crate) fn bad_request(reason: impl Into<Value>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", reason)
    }

    /// The parameters of a list are refused for `error`.
    pub(crate) fn bad_list(error: &'static str, reason: impl Into<Value>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error, reason)
    }

    /// The request has no credentials.
    pub(crate) fn no_credentials() -> Self {
        Self {
            status: StatusCode::UNAUTHORIZED,
            told: None,
            challenge: true,
        }
    }

    /// The credentials are wrong.
    pub(crate) fn login_refused(challenge: bool) -> Self {
        let reason = if challenge {
            "Login failed"
        } else {
            "Not_Authorized"
        };
        Self {
            challenge,
            ..Self::new(StatusCode::UNAUTHORIZED, "not_authorized", reason)
        }
    }

    /// The user may not do that.
    pub(crate) fn not_authorised(reason: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "not_authorised", reason)
    }

    pub(crate) fn unavailable(reason: impl Into<Value>) -> Self {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Self::new(status, "service_unavailable", reason)
    }

    /// A method of AMQP is refused, in a request that stands for that method alone.
    pub(crate) fn of_method(reason: &CloseReason) -> Self {
        // RabbitMQ tells the explanation without the name of the code.
        let text = reason.text.as_str();
        let explanation = text.split_once(" - ").map_or(text, |(_, rest)| rest);
        match reason.code {
            404 => Self::missing(explanation),
            403 | 530 => Self::not_authorised("Access refused."),
            _ => Self::bad_request(explanation),
        }
    }

    /// A method of AMQP is refused, on a channel that was opened for the request.
    pub(crate) fn of_channel(reason: &CloseReason) -> Self {
        Self::bad_request(format!("{} {}", reason.code, reason.text))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error.reason() {
            Some(reason) => Self::of_method(reason),
            None => Self::bad_request(error.to_string()),
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = match self.told {
            Some((error, reason)) => {
                json_response(self.status, &json!({"error": error, "reason": reason}))
            }
            None => self.status.into_response(),
        };
        if self.challenge {
            let realm = HeaderValue::from_static("Basic realm=\"RabbitMQ Management\"");
            response.headers_mut().insert(WWW_AUTHENTICATE, realm);
        }
        response
    }
}

/// An answer with a JSON body.
pub(crate) fn json_response(status: StatusCode, value: &Value) -> Response {
    let json = HeaderValue::from_static("application/json");
    let mut response = Response::new(Body::from(value.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(code: u16, text: &str) -> CloseReason {
        CloseReason {
            code,
            text: text.into(),
            class_id: 0,
            method_id: 0,
        }
    }

    #[test]
    fn refusals_of_methods_are_told_without_the_name_of_the_code() {
        let missing = reason(404, "NOT_FOUND - no queue 'q' in vhost '/'");
        let expected = Failure::missing("no queue 'q' in vhost '/'");
        assert_eq!(Failure::of_method(&missing), expected);
        let refused = reason(403, "ACCESS_REFUSED - read access to queue 'q' refused");
        let expected = Failure::not_authorised("Access refused.");
        assert_eq!(Failure::of_method(&refused), expected);
        let inequivalent = reason(406, "PRECONDITION_FAILED - inequivalent arg 'durable'");
        let expected = Failure::bad_request("inequivalent arg 'durable'");
        assert_eq!(Failure::of_method(&inequivalent), expected);
        let expected = Failure::bad_request("404 NOT_FOUND - no queue 'q' in vhost '/'");
        assert_eq!(Failure::of_channel(&missing), expected);
    }
}
