//! Expansion of a scenario of mooq-conformance: the function as it is, and its entry in the list.

use proc_macro2::{Ident, TokenStream};
use quote::quote;
use syn::parse::{Parse, ParseStream, Parser};
use syn::punctuated::Punctuated;
use syn::{Error, ItemFn, Result, Token};

/// One option: `alone`, or `since = V4_0`.
struct Opt {
    name: Ident,
    version: Option<Ident>,
}

impl Parse for Opt {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let name = input.parse()?;
        let equals: Option<Token![=]> = input.parse()?;
        let version = equals.map(|_| input.parse()).transpose()?;
        Ok(Self { name, version })
    }
}

/// Registers `function` in the list of scenarios.
pub(crate) fn scenario(options: TokenStream, function: TokenStream) -> Result<TokenStream> {
    let options = Punctuated::<Opt, Token![,]>::parse_terminated.parse2(options)?;
    let function: ItemFn = syn::parse2(function)?;
    let sig = &function.sig;
    if sig.asyncness.is_none() || sig.inputs.len() != 1 {
        let message = "a scenario is an `async fn(fixture: Fixture)`";
        return Err(Error::new_spanned(sig, message));
    }
    let setters = options.iter().map(setter).collect::<Result<Vec<_>>>()?;
    let name = &sig.ident;
    Ok(quote! {
        #function

        const _: () = {
            #[allow(unsafe_code, reason = "linkme places the entry in a section of its own")]
            #[::mooq_conformance::linkme::distributed_slice(::mooq_conformance::SCENARIOS)]
            #[linkme(crate = ::mooq_conformance::linkme)]
            static SCENARIO: ::mooq_conformance::Scenario = ::mooq_conformance::Scenario::new(
                ::core::concat!(::core::module_path!(), "::", ::core::stringify!(#name)),
                |fixture| ::std::boxed::Box::pin(#name(fixture)),
            )
            #(#setters)*;
        };
    })
}

/// An option as a call on the scenario.
fn setter(Opt { name, version }: &Opt) -> Result<TokenStream> {
    match (name.to_string().as_str(), version) {
        ("since" | "before", Some(version)) => {
            Ok(quote!(.#name(::mooq_conformance::Version::#version)))
        }
        ("alone" | "short_timeouts", None) => Ok(quote!(.#name())),
        ("since" | "before", None) => {
            let message = format!("`{name}` needs a version: `{name} = V4_0`");
            Err(Error::new(name.span(), message))
        }
        ("alone" | "short_timeouts", Some(_)) => {
            Err(Error::new(name.span(), format!("`{name}` takes no value")))
        }
        _ => {
            let known = "`since = …`, `before = …`, `alone` or `short_timeouts`";
            let message = format!("expected {known}, found `{name}`");
            Err(Error::new(name.span(), message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(options: TokenStream) -> Result<String> {
        let function = quote!(
            async fn acks(fixture: Fixture) {}
        );
        let text = scenario(options, function)?.to_string();
        Ok(text.split_whitespace().collect())
    }

    #[test]
    fn options_become_calls() {
        let text = expanded(quote!(since = V4_0, before = V4_3, alone)).unwrap();
        let calls = ".since(::mooq_conformance::Version::V4_0)\
                     .before(::mooq_conformance::Version::V4_3).alone();";
        assert!(text.contains(calls), "{text}");
        assert!(text.contains("asyncfnacks(fixture:Fixture){}"), "{text}");
    }

    #[test]
    fn wrong_options_are_refused() {
        for (options, expected) in [
            (quote!(since), "`since` needs a version: `since = V4_0`"),
            (quote!(alone = V4_0), "`alone` takes no value"),
            (
                quote!(until = V4_0),
                "expected `since = …`, `before = …`, `alone` or `short_timeouts`, found `until`",
            ),
        ] {
            assert_eq!(expanded(options).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn other_functions_are_refused() {
        for function in [
            quote!(
                fn acks(fixture: Fixture) {}
            ),
            quote!(
                async fn acks() {}
            ),
        ] {
            let refused = scenario(TokenStream::new(), function).unwrap_err();
            let expected = "a scenario is an `async fn(fixture: Fixture)`";
            assert_eq!(refused.to_string(), expected);
        }
    }
}
