//! Checks of a published message before it is routed.

use std::sync::Arc;

use super::dead_letters::dead_letter::Annotations;
use super::direct_reply::REPLY_TO;
use super::erlang::layout::Layout;
use super::ids::ExchangeId;
use super::message::{Accepted, all_keys};
use super::permissions::Access;
use super::profile::Profile;
use super::queue::arguments::{VALUE_NEGATIVE, VALUE_TOO_LARGE, check_expiry};
use super::reply_error::{ReplyError, type_name};
use super::{Caller, Engine};
use mooq_core::{FieldValue, Message, Properties, RoutingKey, ShortString};

impl Engine {
    /// Checks a published message, in RabbitMQ's order.
    pub(super) fn validate_publish(
        &mut self,
        caller: Caller,
        mut message: Message,
        immediate: bool,
    ) -> Result<(ExchangeId, Accepted), ReplyError> {
        if immediate {
            return Err(ReplyError::not_implemented("immediate=true"));
        }
        let max = self.options.message_size_limit();
        let size = message.body.len();
        if size > max {
            return Err(ReplyError::message_too_large(size as u64, max));
        }
        self.permit_exchange(caller, Access::Write, &message.exchange)?;
        let (key, exchange) = self.find_exchange(caller, &message.exchange)?;
        if exchange.internal {
            let resource = self.vhost(caller.vhost)?.exchange(&message.exchange);
            return Err(ReplyError::access_refused(format!(
                "cannot publish to internal {resource}"
            )));
        }
        let profile = self.options.profile;
        if !profile.limits_every_routing_key() {
            let own = all_keys(&message.routing_key, None);
            self.permit_topic(caller, Access::Write, key, own)?;
        }
        let properties = &message.properties;
        let reply_to = match &properties.reply_to {
            Some(name) if name == REPLY_TO => Some(self.reply_address(caller)?),
            _ => None,
        };
        if profile.checks_user_id_first() {
            self.check_user_id(caller, properties)?;
        }
        let ttl = expiration(properties, profile)?;
        if profile.refuses_unknown_delivery_modes() {
            check_delivery_mode(properties)?;
        }
        let annotations = routing_headers(properties)?;
        if profile.limits_every_routing_key() {
            let keys = all_keys(&message.routing_key, annotations.as_ref());
            self.permit_topic(caller, Access::Write, key, keys)?;
        }
        if !profile.checks_user_id_first() {
            self.check_user_id(caller, properties)?;
        }
        make_deliverable(&mut message, ttl, reply_to, profile);
        self.keeps_time |= ttl.is_some();
        Ok((
            key,
            Accepted {
                message: message.into(),
                annotations: annotations.map(Arc::new),
                ttl,
            },
        ))
    }

    /// Checks that `user_id`, if set, names the connection's own user
    /// ([validated user-id](https://www.rabbitmq.com/docs/validated-user-id)).
    fn check_user_id(&self, caller: Caller, properties: &Properties) -> Result<(), ReplyError> {
        let Some(user) = &properties.user_id else {
            return Ok(());
        };
        let login = &self.connection(caller.connection)?.username;
        if **user == **login {
            return Ok(());
        }
        Err(ReplyError::precondition_failed(format!(
            "user_id property set to '{user}' but authenticated user was '{login}'"
        )))
    }
}

/// Turns a message into the form that its consumers see. RabbitMQ removes the header BCC, and
/// writes a requester's own address into its requests.
fn make_deliverable(
    message: &mut Message,
    ttl: Option<u64>,
    reply_to: Option<ShortString>,
    profile: Profile,
) {
    if reply_to.is_some() {
        Arc::make_mut(&mut message.properties).reply_to = reply_to;
    }
    let expiration = ttl.filter(|_| profile.rewrites_expiration());
    if let Some(expiration) = expiration.map(|millis| millis.to_string())
        && message.properties.expiration.as_deref() != Some(expiration.as_str())
    {
        Arc::make_mut(&mut message.properties).expiration = expiration.try_into().ok();
    }
    let headers = &message.properties.headers;
    if !headers.is_empty() && headers.get("BCC").is_some() {
        Arc::make_mut(&mut message.properties).headers.remove("BCC");
    }
}

/// Refuses a delivery mode other than 1 and 2, which only a client on a socket can send.
fn check_delivery_mode(properties: &Properties) -> Result<(), ReplyError> {
    /// The number of the property's flag.
    const DELIVERY_MODE: u8 = 12;
    let octets = properties.verbatim.iter().flat_map(|kept| &kept.octets);
    let mut modes = octets.filter(|(property, _)| *property == DELIVERY_MODE);
    let Some((_, octets)) = modes.next() else {
        return Ok(());
    };
    let mode = octets.first().copied().unwrap_or_default();
    Err(ReplyError::precondition_failed(format!(
        "invalid message: {{delivery_mode_unknown,{mode}}}"
    )))
}

/// Returns the message's own time to live, in milliseconds.
fn expiration(properties: &Properties, profile: Profile) -> Result<Option<u64>, ReplyError> {
    let Some(text) = &properties.expiration else {
        return Ok(None);
    };
    parse_expiration(text, profile).map(Some).map_err(|why| {
        let before = format!("invalid expiration '{text}': ");
        ReplyError::precondition_failed(why.after(&before, profile))
    })
}

fn parse_expiration(text: &str, profile: Profile) -> Result<u64, Layout> {
    let named = |name: &str, value: Layout| Layout::tuple(vec![Layout::whole(name), value]);
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let digits = unsigned.bytes().take_while(u8::is_ascii_digit).count();
    if digits == 0 {
        return Err(Layout::whole("no_integer"));
    }
    let (number, leftover) = text.split_at(text.len() - unsigned.len() + digits);
    if !leftover.is_empty() {
        let leftover = Layout::string(leftover, profile.prints_leftover_as_text());
        return Err(named("leftover_string", leftover));
    }
    match number.parse::<i64>() {
        Ok(millis) => check_expiry(millis)
            .map_err(|unfit| named(unfit.problem, Layout::whole(unfit.value.to_string()))),
        Err(_) if number.starts_with('-') => {
            let number = number.trim_start_matches(['-', '0']);
            Err(named(VALUE_NEGATIVE, Layout::whole(format!("-{number}"))))
        }
        Err(_) => {
            let number = number.trim_start_matches(['+', '0']);
            Err(named(VALUE_TOO_LARGE, Layout::whole(number)))
        }
    }
}

/// Returns the keys in the headers CC and BCC, if there are any.
fn routing_headers(properties: &Properties) -> Result<Option<Annotations>, ReplyError> {
    if properties.headers.is_empty() {
        return Ok(None);
    }
    let keys = |header: &str| match properties.headers.get(header) {
        None => Ok(Vec::new()),
        Some(FieldValue::Array(keys)) => {
            // A text too long for a routing key matches nothing.
            let keys = keys.iter().filter_map(FieldValue::as_str);
            Ok(keys
                .filter_map(|key| RoutingKey::try_from(key).ok())
                .collect())
        }
        Some(other) => Err(ReplyError::precondition_failed(format!(
            "invalid message: {{unacceptable_type_in_header,\"{header}\",{}}}",
            type_name(other)
        ))),
    };
    let (mut more_keys, bcc) = (keys("CC")?, keys("BCC")?);
    more_keys.extend(bcc.iter().cloned());
    Ok((!more_keys.is_empty()).then(|| Annotations::new(more_keys, bcc)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expiration_is_a_whole_number_of_milliseconds() {
        for (text, expected) in [
            ("0", Ok(0)),
            ("+005", Ok(5)),
            ("foo", Err("no_integer")),
            ("", Err("no_integer")),
            (" 5", Err("no_integer")),
            ("5x", Err("{leftover_string,\"x\"}")),
            ("1.5", Err("{leftover_string,\".5\"}")),
            ("-1", Err("{value_negative,-1}")),
            (
                "-0099999999999999999999",
                Err("{value_negative,-99999999999999999999}"),
            ),
            ("315360000001", Err("{value_too_large,315360000001}")),
            (
                "99999999999999999999",
                Err("{value_too_large,99999999999999999999}"),
            ),
        ] {
            assert_eq!(
                parse_expiration(text, Profile::default())
                    .map_err(|why| why.after("", Profile::default())),
                expected.map_err(str::to_owned),
                "'{text}'"
            );
        }
    }
}
