//! The options in the attribute's parentheses.

use std::fmt::Display;

use proc_macro2::{Ident, Span, TokenStream};
use syn::parse::{Parse, ParseStream, Parser};
use syn::punctuated::Punctuated;
use syn::{Error, Expr, ExprArray, ExprPath, Result, Token};

/// The versions that in-memory brokers can behave as, as `mooq::memory::Profile` calls them. A test
/// compares the two.
const VERSIONS: [&str; 5] = ["V3_10", "V4_0", "V4_1", "V4_2", "V4_3"];

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
    /// Versions to run as, each a variant of `Profile`.
    pub(crate) profiles: Option<Vec<Ident>>,
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
            "profiles" => {
                let value = value.ok_or_else(|| error(span, PROFILES_EXPECTED))?;
                self.profiles = Some(profiles(&value)?);
                return Ok(());
            }
            _ => {
                let known = "`memory`, `wire`, `paused`, `seeds = …`, `profile = …`, \
                             `profiles = …`, `multi_thread` or `limit = …`";
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
        if self.profile.is_some() && self.profiles.is_some() {
            let message = "`profile` and `profiles` exclude each other: \
                           `profiles = [V4_0, V4_3]` lists every version to run as";
            return Err(error(span, message));
        }
        Ok(())
    }

    /// Returns true if the test can run on the in-memory broker only.
    pub(crate) fn needs_memory(&self) -> bool {
        self.memory || self.paused || self.seeds.is_some()
    }
}

const PROFILES_EXPECTED: &str = "`profiles` needs `all` or a list: `profiles = [V4_0, V4_3]`";

/// Reads `all`, or a list of versions such as `[V4_0, Profile::V4_3]`.
fn profiles(value: &Expr) -> Result<Vec<Ident>> {
    match value {
        Expr::Path(ExprPath { path, .. }) if path.is_ident("all") => {
            let all = VERSIONS.map(|version| Ident::new(version, Span::call_site()));
            Ok(all.into())
        }
        Expr::Array(ExprArray { elems, .. }) if elems.is_empty() => {
            Err(Error::new_spanned(value, "`profiles` lists no version"))
        }
        Expr::Array(ExprArray { elems, .. }) => {
            let mut listed: Vec<Ident> = Vec::new();
            for element in elems {
                let version = version(element)?;
                if listed.contains(&version) {
                    let message = format!("`{version}` is listed twice");
                    return Err(Error::new_spanned(element, message));
                }
                listed.push(version);
            }
            Ok(listed)
        }
        _ => Err(Error::new_spanned(value, PROFILES_EXPECTED)),
    }
}

/// Reads the name of a version, whatever path leads to it.
fn version(element: &Expr) -> Result<Ident> {
    let name = match element {
        Expr::Path(ExprPath { path, .. }) => path.segments.last().map(|last| last.ident.clone()),
        _ => None,
    };
    name.filter(|name| VERSIONS.iter().any(|version| name == version))
        .ok_or_else(|| {
            let known = VERSIONS.join(", ");
            let message = format!("expected versions of RabbitMQ: {known}");
            Error::new_spanned(element, message)
        })
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
            "expected `memory`, `wire`, `paused`, `seeds = …`, `profile = …`, `profiles = …`, \
             `multi_thread` or `limit = …`, found `start_paused`"
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

    fn versions(tokens: TokenStream) -> Vec<String> {
        let profiles = Options::parse(tokens).unwrap().profiles.unwrap();
        profiles.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn profiles_are_all_or_listed() {
        assert_eq!(versions(quote!(profiles = all)), VERSIONS);
        let listed = quote!(
            profiles = [V4_3, mooq::memory::Profile::V3_10,],
            seeds = 0..9
        );
        assert_eq!(versions(listed), ["V4_3", "V3_10"]);

        for (tokens, expected) in [
            (quote!(profiles), PROFILES_EXPECTED),
            (quote!(profiles = every), PROFILES_EXPECTED),
            (quote!(profiles = V4_3), PROFILES_EXPECTED),
            (quote!(profiles = []), "`profiles` lists no version"),
            (
                quote!(profiles = [V4_3, Profile::V4_3]),
                "`V4_3` is listed twice",
            ),
            (
                quote!(profiles = [V5_0]),
                "expected versions of RabbitMQ: V3_10, V4_0, V4_1, V4_2, V4_3",
            ),
            (
                quote!(profiles = ["4.3"]),
                "expected versions of RabbitMQ: V3_10, V4_0, V4_1, V4_2, V4_3",
            ),
            (
                quote!(profile = Profile::V4_3, profiles = all),
                "`profile` and `profiles` exclude each other: `profiles = [V4_0, V4_3]` lists every \
                 version to run as",
            ),
        ] {
            assert_eq!(refused(tokens), expected);
        }
    }

    #[test]
    fn every_version_of_the_engine_is_known() {
        let versions = mooq::memory::Profile::ALL.map(|profile| format!("{profile:?}"));
        assert_eq!(versions, VERSIONS);
    }

    #[test]
    fn a_paused_clock_is_for_one_thread() {
        let message = refused(quote!(paused, multi_thread));
        assert!(message.starts_with("`paused` and `multi_thread` exclude each other"));
        let message = refused(quote!(wire, paused));
        assert!(message.starts_with("`paused` and `wire` exclude each other"));
    }
}
