//! The part of a URL between `//` and the path, as its author wrote it.
//!
//! The URL parser cannot tell an empty password from one that is left out, and reports a password
//! with a `#` in it as a port that is not a number. This module checks for both before the URL is
//! parsed.

use super::invalid;
use crate::error::Result;

/// User info and hosts, both as they stand in the URL.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Authority<'a> {
    /// Name and password, if an `@` follows them.
    pub(super) login: Option<&'a str>,
    hosts: &'a str,
    /// The rest of the URL, from the character that ends the authority.
    rest: &'a str,
}

impl<'a> Authority<'a> {
    /// Returns the authority of `url`, if it has one.
    pub(super) fn of(url: &'a str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        if !scheme
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
        {
            return None;
        }
        let (authority, rest) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let (login, hosts) = match authority.rsplit_once('@') {
            Some((login, hosts)) => (Some(login), hosts),
            None => (None, authority),
        };
        Some(Self { login, hosts, rest })
    }

    /// Rejects text that the parser would misread, or would report in misleading words.
    pub(super) fn check(&self) -> Result<()> {
        if self.login.is_none() && self.rest.contains('@') && !self.is_host_and_port() {
            let culprit = self.rest.chars().next().unwrap_or_default();
            return Err(invalid(format!(
                "a '{culprit}' before the '@': in a user name or a password, write it as %{:02X}",
                u32::from(culprit)
            )));
        }
        if self.hosts.contains(',') {
            return Err(invalid(
                "several hosts: keep the first in the URL, and add the others by \
                 ConnectOptions::or_host",
            ));
        }
        Ok(())
    }

    /// Returns true if `hosts` may be one host and not the first half of a password: `name`,
    /// `name:5672`.
    fn is_host_and_port(&self) -> bool {
        let port = match self.hosts.rsplit_once(':') {
            Some((_, port)) if !self.hosts.ends_with(']') => port,
            _ => "",
        };
        port.chars().all(|digit| digit.is_ascii_digit()) && !self.hosts.contains(',')
    }
}

/// Rejects a `%` in `text`, the URL's `what`, that is not followed by two hexadecimal digits:
/// decoding would keep such a `%` as it is, even if it is a mistake.
pub(super) fn check_escapes(what: &str, text: &str) -> Result<()> {
    let whole = |escape: &str| {
        let mut digits = escape.bytes();
        let mut is_digit = || digits.next().is_some_and(|digit| digit.is_ascii_hexdigit());
        is_digit() && is_digit()
    };
    if text.split('%').skip(1).all(whole) {
        return Ok(());
    }
    Err(invalid(format!(
        "a '%' in the {what} that no two hexadecimal digits follow: write it as %25"
    )))
}
