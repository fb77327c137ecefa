//! The class `channel`, and `confirm.select`.

use crate::channel::{Channel, Ended, PublishingMode};
use crate::command::{Method, Reply};
use crate::ids::ConnectionId;
use crate::recording::Settled;
use crate::reply_code::ReplyCode;
use crate::reply_error::ReplyError;
use crate::{Caller, Engine};

impl Engine {
    /// Handles `channel.open`, and any other method on a channel that is not open.
    pub(crate) fn open_channel(
        &mut self,
        id: ConnectionId,
        number: u16,
        method: &Method,
    ) -> Result<Option<Reply>, ReplyError> {
        let limit = self.strike_channel_limit(id);
        let connection = self.connection(id)?;
        let max = limit.unwrap_or(connection.channel_max);
        if connection.open_channels() >= max {
            let open = connection.open_channels();
            return Err(ReplyError::not_allowed(format!(
                "number of channels opened ({open}) has reached the negotiated channel_max ({max})"
            )));
        }
        if !matches!(method, Method::ChannelOpen) {
            // mooq-server has this text too, for what it refuses on such a channel: `expected_open`.
            return Err(ReplyError::new(
                ReplyCode::ChannelError,
                "expected 'channel.open'",
            ));
        }
        let channel = self.channels.insert(Channel::new(id, number));
        self.connection_mut(id)?.add_channel(number, channel);
        Ok(Some(Reply::Done))
    }

    pub(super) fn channel_open_again(&self) -> ReplyError {
        ReplyError::new(ReplyCode::ChannelError, "second 'channel.open' seen")
    }

    pub(super) fn channel_close(&mut self, caller: Caller) {
        self.end_channel(caller.channel, Ended::Gone, Settled::ChannelClosed);
        self.remove_channel(caller);
    }

    pub(super) fn channel_flow(&mut self, active: bool) -> Result<(), ReplyError> {
        if active {
            Ok(())
        } else {
            Err(ReplyError::not_implemented("active=false"))
        }
    }

    pub(super) fn confirm_select(&mut self, caller: Caller) -> Result<(), ReplyError> {
        let publishing = &mut self.channel_mut(caller)?.publishing;
        match publishing {
            PublishingMode::Plain => *publishing = PublishingMode::Confirm { next: 1 },
            PublishingMode::Confirm { .. } => {}
            PublishingMode::Transaction(_) => {
                return Err(ReplyError::precondition_failed(
                    "cannot switch from tx to confirm mode",
                ));
            }
        }
        Ok(())
    }

    /// Handles a method on a channel that the broker has closed. Only close and close-ok still
    /// count (AMQP 0-9-1, 1.5.2.5), and an open, which comes too early.
    pub(crate) fn handle_while_closing(
        &mut self,
        caller: Caller,
        method: &Method,
    ) -> Result<Option<Reply>, ReplyError> {
        match method {
            Method::ChannelCloseOk => self.channel_close(caller),
            // Both sides closed the channel at once. The client still owes a close-ok for the
            // broker's close.
            Method::ChannelClose => return Ok(Some(Reply::Done)),
            Method::ChannelOpen => return Err(self.channel_open_again()),
            _ => {}
        }
        Ok(None)
    }

    fn remove_channel(&mut self, caller: Caller) {
        self.channels.remove(caller.channel);
        if let Ok(connection) = self.connection_mut(caller.connection) {
            connection.remove_channel(caller.number);
        }
    }
}
