//! A message that is being written: what the setters of a publish change.

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use mooq_core::{
    DeliveryMode, ExchangeName, FieldTable, FieldValue, FirstError, IntoChecked, Message,
    Properties, Result, RoutingKey, ShortString,
};

use crate::codec::Encode;
use crate::json::Json;
use crate::plain::{RawBytes, Text};

/// The properties of most messages, by mooq's own codecs, held once for all messages.
static USUAL: LazyLock<[Arc<Properties>; 3]> = LazyLock::new(|| {
    [
        Json::CONTENT_TYPE,
        RawBytes::CONTENT_TYPE,
        Text::CONTENT_TYPE,
    ]
    .map(|content_type| Arc::new(persistent(content_type.try_into().ok())))
});

fn persistent(content_type: Option<ShortString>) -> Properties {
    let mut properties = Properties::default();
    properties.content_type = content_type;
    properties.delivery_mode = Some(DeliveryMode::Persistent);
    properties
}

/// A message that is being written, with the first error of its setters. It is persistent unless
/// they say otherwise.
#[derive(Debug)]
pub struct Draft {
    exchange: ExchangeName,
    routing_key: RoutingKey,
    /// None while no setter has changed the usual properties.
    properties: Option<Arc<Properties>>,
    /// Set on the message if `properties` have none.
    content_type: Option<&'static str>,
    /// The compression of the body, by its codec. Set on the message if `properties` have none.
    content_encoding: Option<&'static str>,
    body: Bytes,
    deferred: FirstError,
}

impl Draft {
    /// A message to `exchange` with this body, or the error of making it.
    pub fn new(exchange: impl IntoChecked<ExchangeName>, body: Result<Bytes>) -> Self {
        let mut deferred = FirstError::default();
        Self {
            exchange: deferred.check(exchange).unwrap_or_default(),
            routing_key: RoutingKey::default(),
            properties: None,
            content_type: None,
            content_encoding: None,
            body: deferred.note(body).unwrap_or_default(),
            deferred,
        }
    }

    /// A message to `exchange` whose body is `msg` in this codec, with the properties that it
    /// gives.
    pub fn encoded<T: ?Sized>(
        exchange: impl IntoChecked<ExchangeName>,
        msg: &T,
        codec: &impl Encode<T>,
    ) -> Self {
        let encoded = match codec.encode(msg) {
            Ok(encoded) => encoded,
            Err(err) => return Self::new(exchange, Err(err)),
        };
        let mut draft = Self::new(exchange, Ok(encoded.body));
        draft.content_type = Some(encoded.content_type);
        draft.content_encoding = encoded.content_encoding;
        if let Some(kind) = encoded.kind {
            draft.change_properties().kind = Some(kind);
        }
        draft
    }

    /// Sets the routing key.
    pub fn routing_key(&mut self, key: impl IntoChecked<RoutingKey>) {
        if let Some(key) = self.deferred.check(key) {
            self.routing_key = key;
        }
    }

    /// Sends `properties` and no others, but for the compression of the body.
    pub fn replace_properties(&mut self, properties: Arc<Properties>) {
        self.properties = Some(properties);
        self.content_type = None;
    }

    /// Sets a text property: `set` gets its checked value.
    pub fn text(
        &mut self,
        value: impl IntoChecked<ShortString>,
        set: impl FnOnce(&mut Properties, ShortString),
    ) {
        if let Some(value) = self.deferred.check(value) {
            set(self.change_properties(), value);
        }
    }

    /// Adds headers; a header with the same name is replaced.
    pub fn headers(&mut self, headers: FieldTable) {
        self.change_properties().headers.append(headers);
    }

    /// Adds a header; a header with the same name is replaced.
    pub fn header(&mut self, key: impl IntoChecked<ShortString>, value: impl Into<FieldValue>) {
        self.text(key, |properties, key| {
            properties.headers.insert(key, value);
        });
    }

    /// The properties, to be changed. The content type is the codec's unless it is changed here.
    pub fn change_properties(&mut self) -> &mut Properties {
        let properties = self
            .properties
            .get_or_insert_with(|| Arc::new(persistent(None)));
        Arc::make_mut(properties)
    }

    /// Returns the message.
    ///
    /// # Errors
    /// The first error of the codec and the setters.
    pub fn finish(mut self) -> Result<Message> {
        if let Some(encoding) = self.content_encoding {
            let encoding = self.deferred.check(encoding);
            let content_encoding = &mut self.change_properties().content_encoding;
            *content_encoding = content_encoding.take().or(encoding);
        }
        self.deferred.finish()?;
        Ok(Message {
            exchange: self.exchange,
            routing_key: self.routing_key,
            properties: finish_properties(self.properties, self.content_type)?,
            body: self.body,
        })
    }
}

fn finish_properties(
    set: Option<Arc<Properties>>,
    content_type: Option<&'static str>,
) -> Result<Arc<Properties>> {
    Ok(match (set, content_type) {
        (None, Some(Json::CONTENT_TYPE)) => Arc::clone(&USUAL[0]),
        (None, Some(RawBytes::CONTENT_TYPE)) => Arc::clone(&USUAL[1]),
        (None, Some(Text::CONTENT_TYPE)) => Arc::clone(&USUAL[2]),
        (None, content_type) => {
            let content_type = content_type.map(ShortString::try_from).transpose()?;
            Arc::new(persistent(content_type))
        }
        (Some(mut properties), Some(content_type)) if properties.content_type.is_none() => {
            Arc::make_mut(&mut properties).content_type = Some(content_type.try_into()?);
            properties
        }
        (Some(properties), _) => properties,
    })
}
