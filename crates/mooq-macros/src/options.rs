//! The options in the attribute's parentheses.

use std::fmt::Display;

use proc_macro2::{Ident, Span, TokenStream};
use syn::parse::{Parse, ParseStream, Parser};
use syn::punctuated::Punctuated;
use syn::{Error, Expr, Result, Token};

/// The options of one test.
#[derive(Default)]
pub(crate) struct Options {
    pub(crate) memory: bool,
    pub(crate) wire: bool,
    pub(crate) paused: bool,
    pub(crate) multi_thread: bool,
    pub(crate) limit: Option<Expr>,
    pub(crate) seeds: Option<Expr>,
    pub(crate) profile: Option<Expr>,
}

/// One option: `name` or `name = value`.
struct OptionText {
    name: Ident,
    value: Option<Expr>,
}

impl Parse for OptionText {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let name = input.parse()?;
        let equals: Option<Token![=]> = input.parse()?;
        let value = equals.map(|_| input.parse()).transpose()?;
        Ok(Self { name, value })
    }
}

impl Options {
    pub(crate) fn parse(tokens: TokenStream) -> Result<Self> {
        let texts = Punctuated::<OptionText, Token![,]>::parse_terminated.parse2(tokens)?;
        let mut options = Self::default();
        let mut seen: Vec<String> = Vec::new();
        for OptionText { name, value } in texts {
            let (span, name) = (name.span(), name.to_string());
            if seen.contains(&name) {
                return Err(error(span, format!("`{name}` is said twice")));
            }
            options.set(&name, value, span)?;
            seen.push(name);
        }
        options.check(Span::call_site())?;
        Ok(options)
    }

    fn set(&mut self, name: &str, value: Option<Expr>, span: Span) -> Result<()> {
        let flag = match name {
            "memory" => &mut self.memory,
            "wire" => &mut self.wire,
            "paused" => &mut self.paused,
            "multi_thread" => &mut self.multi_thread,
            "limit" => {
                let expected = "`limit` needs a value: `limit = Duration::from_secs(5)`";
                self.limit = Some(value.ok_or_else(|| error(span, expected))?);
                return Ok(());
            }
            "seeds" => {
                let expected = "`seeds` needs a value: `seeds = 0..100`";
                self.seeds = Some(value.ok_or_else(|| error(span, expected))?);
                return Ok(());
            }
            "profile" => {
                let expected = "`profile` needs a value: `profile = Profile::V4_3`";
                self.profile = Some(value.ok_or_else(|| error(span, expected))?);
                return Ok(());
            }
            _ => {
                let known = "`memory`, `wire`, `paused`, `seeds = …`, `profile = …`, \
                             `multi_thread` or `limit = …`";
                return Err(error(span, format!("expected {known}, found `{name}`")));
            }
        };
        if value.is_some() {
            return Err(error(span, format!("`{name}` takes no value")));
        }
        *flag = true;
        Ok(())
    }

    fn check(&self, span: Span) -> Result<()> {
        if self.paused && self.multi_thread {
            let message = "`paused` and `multi_thread` exclude each other: \
                           tokio pauses the clock of current-thread runtimes only";
            return Err(error(span, message));
        }
        if self.paused && self.wire {
            let message = "`paused` and `wire` exclude each other: \
                           a paused clock does not wait for sockets";
            return Err(error(span, message));
        }
        Ok(())
    }

    /// Returns true if the test can run on the in-memory broker only.
    pub(crate) fn needs_memory(&self) -> bool {
        self.memory || self.paused || self.seeds.is_some()
    }
}

fn error(span: Span, message: impl Display) -> Error {
    Error::new(span, message)
}

#[cfg(test)]
mod tests {
    use quote::quote;

    use super::*;

    #[track_caller]
    fn refused(tokens: TokenStream) -> String {
        match Options::parse(tokens) {
            Ok(_) => panic!("these options are taken"),
            Err(err) => err.to_string(),
        }
    }

    #[test]
    fn each_is_understood() {
        let plain = Options::parse(TokenStream::new()).unwrap();
        assert!(!plain.needs_memory() && plain.limit.is_none());

        let wire = Options::parse(quote!(wire)).unwrap();
        assert!(wire.wire && !wire.needs_memory());
        let both = Options::parse(quote!(multi_thread, limit = Duration::from_secs(5))).unwrap();
        assert!(both.multi_thread && both.limit.is_some() && !both.needs_memory());

        for memory in [quote!(memory), quote!(paused), quote!(seeds = 0..100)] {
            assert!(Options::parse(memory).unwrap().needs_memory());
        }
        assert!(Options::parse(quote!(memory, paused,)).unwrap().paused);
    }

    #[test]
    fn others_are_refused_by_name() {
        assert_eq!(
            refused(quote!(start_paused = true)),
            "expected `memory`, `wire`, `paused`, `seeds = …`, `profile = …`, `multi_thread` or \
             `limit = …`, found `start_paused`"
        );
        assert_eq!(refused(quote!(paused = true)), "`paused` takes no value");
        assert_eq!(refused(quote!(memory, memory)), "`memory` is said twice");
        assert_eq!(
            refused(quote!(limit)),
            "`limit` needs a value: `limit = Duration::from_secs(5)`"
        );
        assert_eq!(
            refused(quote!(seeds)),
            "`seeds` needs a value: `seeds = 0..100`"
        );
        assert_eq!(
            refused(quote!(profile)),
            "`profile` needs a value: `profile = Profile::V4_3`"
        );
    }

    #[test]
    fn a_paused_clock_is_for_one_thread() {
        let message = refused(quote!(paused, multi_thread));
        assert!(message.starts_with("`paused` and `multi_thread` exclude each other"));
        let message = refused(quote!(wire, paused));
        assert!(message.starts_with("`paused` and `wire` exclude each other"));
    }
}
