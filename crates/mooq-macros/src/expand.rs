//! Expansion of the user's function into a test.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Attribute, Error, FnArg, ItemFn, Result, ReturnType, Signature};

use crate::options::Options;
use crate::variable::Broker;

/// The reason why a test is ignored without an in-memory broker.
const IGNORED: &str = "needs the in-memory broker, and MOOQ_TEST_BROKER names another";

/// Expands `function` into a test, compiled for brokers of the kind `on`.
pub(crate) fn test(options: TokenStream, function: TokenStream, on: Broker) -> Result<TokenStream> {
    let options = Options::parse(options)?;
    let function: ItemFn = syn::parse2(function)?;
    check(&function)?;

    match &options.profiles {
        Some(versions) if on == Broker::Memory => cases(&options, &function, versions),
        _ => alone(&options, &function, on),
    }
}

/// One test, with the user's function in it.
fn alone(options: &Options, function: &ItemFn, on: Broker) -> Result<TokenStream> {
    let ItemFn {
        attrs,
        vis,
        sig,
        block,
        ..
    } = function;
    let name = &sig.ident;
    let mut setters = setters(options, attrs);
    if let Some(versions) = &options.profiles {
        setters.push(quote!(.profiles([#(::mooq::memory::Profile::#versions),*])));
    }
    let is_ignored = options.needs_memory() && on == Broker::RabbitMq;
    let ignored = is_ignored.then(|| quote!(#[ignore = #IGNORED]));
    let watch = is_ignored.then(|| watch(attrs, name));
    let test = runner(options, sig, name, &setters, Some(&quote!(#sig #block)))?;
    Ok(quote! {
        #(#attrs)*
        #ignored
        #[::core::prelude::v1::test]
        #vis #test
        #watch
    })
}

/// A test for each version, and the user's function beside them.
fn cases(options: &Options, function: &ItemFn, versions: &[Ident]) -> Result<TokenStream> {
    let ItemFn {
        attrs,
        vis,
        sig,
        block,
        ..
    } = function;
    let shared = attrs
        .iter()
        .filter(|attr| is_any_of(attr, &["cfg"]) || is_lint(attr));
    let of_tests: Vec<_> = attrs.iter().filter(|attr| !is_lint(attr)).collect();
    let tests = versions.iter().map(|version| {
        let number = version.to_string();
        let number = number.trim_start_matches('V');
        let name = format_ident!("{}_on_{number}", sig.ident);
        let mut setters = setters(options, attrs);
        setters.push(quote!(.case(::mooq::memory::Profile::#version)));
        let test = runner(options, sig, &name, &setters, None)?;
        Ok(quote! {
            #(#of_tests)*
            #[::core::prelude::v1::test]
            #vis #test
        })
    });
    let tests = tests.collect::<Result<Vec<_>>>()?;
    Ok(quote! {
        #[cfg(test)]
        #(#shared)*
        #sig #block
        #(#tests)*
    })
}

/// The function of a test called `name`, which calls the user's.
fn runner(
    options: &Options,
    sig: &Signature,
    name: &Ident,
    setters: &[TokenStream],
    user: Option<&TokenStream>,
) -> Result<TokenStream> {
    let called = &sig.ident;
    let arguments = arguments(sig, options)?;
    let numbered: Vec<_> = (0..arguments.len())
        .map(|n| format_ident!("argument_{n}"))
        .collect();
    // Otherwise cargo would not know that the choice above depends on the variable.
    let is_chosen = options.needs_memory() || options.profiles.is_some();
    let depends = is_chosen.then(|| {
        quote!(
            const _: ::core::option::Option<&str> = ::core::option_env!("MOOQ_TEST_BROKER");
        )
    });
    // A function that returns nothing must still return nothing: `#[should_panic]` demands it.
    let (returned, end) = match &sig.output {
        ReturnType::Default => (None, quote!(;)),
        ReturnType::Type(..) => (Some(quote!(-> ::std::process::ExitCode)), quote!()),
    };
    Ok(quote! {
        fn #name() #returned {
            #depends
            #user
            ::mooq::testing::Test::new(::core::concat!(
                ::core::module_path!(), "::", ::core::stringify!(#name)
            ))
            #(#setters)*
            .run(|broker: ::mooq::testing::TestBroker| async move {
                #(let #numbered = #arguments;)*
                #called(#(#numbered),*).await
            })
            #end
        }
    })
}

fn is_any_of(attribute: &Attribute, names: &[&str]) -> bool {
    names.iter().any(|name| attribute.path().is_ident(name))
}

/// Returns true for an attribute about the function's code, which a test that only calls the
/// function must not have.
fn is_lint(attribute: &Attribute) -> bool {
    is_any_of(attribute, &["allow", "expect", "warn", "deny", "forbid"])
}

/// A test beside one that is ignored, which fails if the ignored one should run: when a binary that
/// was compiled for RabbitMQ runs in memory.
fn watch(attrs: &[Attribute], name: &Ident) -> TokenStream {
    let cfgs = attrs.iter().filter(|attr| attr.path().is_ident("cfg"));
    let watch = format_ident!("{name}_is_ignored_on_rabbitmq");
    quote! {
        #(#cfgs)*
        #[::core::prelude::v1::test]
        fn #watch() {
            ::mooq::testing::expect_no_memory(::core::stringify!(#name));
        }
    }
}

fn check(function: &ItemFn) -> Result<()> {
    let sig = &function.sig;
    if sig.asyncness.is_none() {
        let message = "a test with a broker is an `async fn`";
        return Err(Error::new_spanned(sig.fn_token, message));
    }
    if !sig.generics.params.is_empty() {
        let message = "a test has no generic parameters";
        return Err(Error::new_spanned(&sig.generics, message));
    }
    let own = |attribute: &&Attribute| attribute.path().is_ident("test");
    if let Some(attribute) = function.attrs.iter().find(own) {
        let message = "`#[mooq::test]` makes it a test: leave `#[test]` out";
        return Err(Error::new_spanned(attribute, message));
    }
    Ok(())
}

/// The options as calls on the test.
fn setters(options: &Options, attrs: &[Attribute]) -> Vec<TokenStream> {
    let should_panic = attrs.iter().any(|attr| is_any_of(attr, &["should_panic"]));
    let flags = [
        (should_panic, quote!(.should_panic())),
        (options.memory, quote!(.in_memory())),
        (options.wire, quote!(.wire())),
        (options.paused, quote!(.paused())),
        (options.multi_thread, quote!(.multi_thread())),
    ];
    let flags = flags
        .into_iter()
        .filter_map(|(set, call)| set.then_some(call));
    let limit = options.limit.as_ref().map(|limit| quote!(.limit(#limit)));
    let seeds = options.seeds.as_ref().map(|seeds| quote!(.seeds(#seeds)));
    let profile = options.profile.as_ref();
    let profile = profile.map(|profile| quote!(.profile(#profile)));
    flags.chain(limit).chain(seeds).chain(profile).collect()
}

/// The expressions that make each argument. An error about an argument's type is shown at the type.
fn arguments(sig: &Signature, options: &Options) -> Result<Vec<TokenStream>> {
    let on = if options.needs_memory() {
        quote!(::mooq::testing::MemoryOnly)
    } else {
        quote!(::mooq::testing::AnyBroker)
    };
    let each = sig.inputs.iter().map(|argument| match argument {
        FnArg::Typed(argument) => {
            let ty = &argument.ty;
            let there = Span::call_site().located_at(ty.span());
            Ok(quote_spanned! {there=>
                ::mooq::testing::argument::<#ty, #on>(&broker).await
            })
        }
        FnArg::Receiver(receiver) => {
            let message = "a test is a free function, without `self`";
            Err(Error::new_spanned(receiver, message))
        }
    });
    each.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The test as text without any spaces.
    fn expanded(options: TokenStream, function: TokenStream, on: Broker) -> String {
        let expanded = test(options, function, on).unwrap().to_string();
        expanded.split_whitespace().collect()
    }

    #[track_caller]
    fn refused(function: TokenStream) -> String {
        let expanded = test(TokenStream::new(), function, Broker::Memory);
        expanded.unwrap_err().to_string()
    }

    #[test]
    fn an_argument_is_made_by_its_type() {
        let function = quote!(
            async fn audits(conn: Connection, mut shop: my::Shop) {}
        );
        let plain = expanded(TokenStream::new(), function.clone(), Broker::Memory);
        for made in ["Connection", "my::Shop"] {
            let call = format!("argument::<{made},::mooq::testing::AnyBroker>(&broker).await");
            assert!(plain.contains(&call), "{call} in {plain}");
        }
        let memory = expanded(quote!(memory), function, Broker::Memory);
        assert!(memory.contains("argument::<Connection,::mooq::testing::MemoryOnly>"));
    }

    #[test]
    fn what_needs_memory_is_ignored_elsewhere() {
        let function = quote!(
            async fn audits() {}
        );
        for (options, needs_memory) in [
            (quote!(), false),
            (quote!(multi_thread), false),
            (quote!(profile = Profile::V4_3), false),
            (quote!(memory), true),
            (quote!(paused), true),
            (quote!(seeds = 0..9), true),
        ] {
            let here = expanded(options.clone(), function.clone(), Broker::Memory);
            assert!(!here.contains("#[ignore"), "{here}");
            assert!(!here.contains("is_ignored_on_rabbitmq"), "{here}");
            assert_eq!(here.contains("option_env!"), needs_memory, "{here}");
            let there = expanded(options, function.clone(), Broker::RabbitMq);
            assert_eq!(there.contains("#[ignore=\"needs"), needs_memory, "{there}");
            let watch = "fnaudits_is_ignored_on_rabbitmq(){\
                         ::mooq::testing::expect_no_memory(::core::stringify!(audits));}";
            assert_eq!(there.contains(watch), needs_memory, "{there}");
        }
    }

    #[test]
    fn a_watch_is_there_only_where_its_test_is() {
        let function = quote!(
            #[cfg(feature = "audits")]
            #[should_panic]
            async fn audits() {}
        );
        let there = expanded(quote!(memory), function, Broker::RabbitMq);
        let watch = "#[cfg(feature=\"audits\")]#[::core::prelude::v1::test]fnaudits_is_ignored";
        assert!(there.contains(watch), "{there}");
    }

    #[test]
    fn options_become_calls() {
        let wire = expanded(
            quote!(wire),
            quote!(
                async fn audits() {}
            ),
            Broker::RabbitMq,
        );
        assert!(wire.contains(".wire().run("), "{wire}");
        let options = quote!(paused, profile = NEWEST, limit = FIVE, seeds = 0..9);
        let test = expanded(
            options,
            quote!(
                async fn audits() {}
            ),
            Broker::Memory,
        );
        assert!(
            test.contains(".paused().limit(FIVE).seeds(0..9).profile(NEWEST).run("),
            "{test}"
        );
    }

    #[test]
    fn versions_become_tests_that_share_the_function() {
        let function = quote!(
            #[cfg(feature = "audits")]
            #[should_panic]
            #[allow(clippy::unwrap_used)]
            async fn audits(conn: Connection) {}
        );
        let options = quote!(profiles = [V3_10, V4_3]);
        let tests = expanded(options.clone(), function.clone(), Broker::Memory);
        let shared = "#[cfg(test)]#[cfg(feature=\"audits\")]#[allow(clippy::unwrap_used)]\
                      asyncfnaudits(conn:Connection){}";
        assert!(tests.contains(shared), "{tests}");
        for (name, version) in [("audits_on_3_10", "V3_10"), ("audits_on_4_3", "V4_3")] {
            let test = format!(
                "#[cfg(feature=\"audits\")]#[should_panic]#[::core::prelude::v1::test]fn{name}()"
            );
            assert!(tests.contains(&test), "{tests}");
            let named = format!("::core::stringify!({name})))");
            assert!(tests.contains(&named), "{tests}");
            let case = format!(".should_panic().case(::mooq::memory::Profile::{version}).run(");
            assert!(tests.contains(&case), "{tests}");
        }
        assert!(tests.contains("option_env!"), "{tests}");

        // On RabbitMQ there is one version.
        let there = expanded(options, function.clone(), Broker::RabbitMq);
        assert!(there.contains("fnaudits(){"), "{there}");
        assert!(
            there.contains(
                ".profiles([::mooq::memory::Profile::V3_10,::mooq::memory::Profile::V4_3]).run("
            ),
            "{there}"
        );
        assert!(!there.contains("#[ignore"), "{there}");
        let paused = quote!(paused, profiles = all);
        let there = expanded(paused, function, Broker::RabbitMq);
        assert!(there.contains("#[ignore=\"needs"), "{there}");
    }

    #[test]
    fn attributes_and_the_absence_of_a_result_stay() {
        let function = quote!(
            #[should_panic(expected = "no")]
            async fn audits() {}
        );
        let test = expanded(TokenStream::new(), function, Broker::Memory);
        assert!(test.contains("#[should_panic(expected=\"no\")]"), "{test}");
        assert!(test.contains("fnaudits(){"), "{test}");
    }

    #[test]
    fn what_is_no_test_is_refused() {
        assert_eq!(
            refused(quote!(
                fn audits() {}
            )),
            "a test with a broker is an `async fn`"
        );
        assert_eq!(
            refused(quote!(
                async fn audits<T>(shop: T) {}
            )),
            "a test has no generic parameters"
        );
        assert_eq!(
            refused(quote!(
                async fn audits(&self) {}
            )),
            "a test is a free function, without `self`"
        );
        assert_eq!(
            refused(quote!(
                #[test]
                async fn audits() {}
            )),
            "`#[mooq::test]` makes it a test: leave `#[test]` out"
        );
    }
}
