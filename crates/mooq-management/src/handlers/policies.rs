//! Policies, operator policies, and the parameters that operator policies are.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use mooq_core::{Error, VirtualHost};
use mooq_memory::{ApplyTo, Policy, PolicyInfo};
use serde_json::{Value, json};

use super::{Answer, Status, object, ok, sorted_by_columns};
use crate::access::{Api, Caller};
use crate::body::{Object, table};
use crate::failure::Failure;
use crate::listing::Query;
use crate::versions::Rules;
use crate::views::policy as view;

const ORDER: [&str; 2] = ["vhost", "name"];

/// Whose policies a request is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    Users,
    Operators,
}

impl Whose {
    fn all(self, api: &Api) -> Vec<PolicyInfo> {
        match self {
            Self::Users => api.broker.policies(),
            Self::Operators => api.broker.operator_policies(),
        }
    }

    /// Checks that the user may change them.
    fn change(self, caller: &Caller) -> Result<(), Failure> {
        match self {
            Self::Users => caller.policymaker(),
            Self::Operators => caller.administrator(),
        }
    }

    fn find(self, api: &Api, vhost: &VirtualHost, name: &str) -> Option<PolicyInfo> {
        let mut all = self.all(api).into_iter();
        all.find(|policy| policy.vhost == *vhost && policy.name == name)
    }

    fn set(self, api: &Api, vhost: &VirtualHost, name: &str, policy: Policy) -> Result<(), Error> {
        match self {
            Self::Users => api.broker.set_policy(vhost.clone(), name, policy),
            Self::Operators => api.broker.set_operator_policy(vhost.clone(), name, policy),
        }
    }

    fn clear(self, api: &Api, vhost: &VirtualHost, name: &str) -> Result<(), Error> {
        match self {
            Self::Users => api.broker.clear_policy(vhost.clone(), name),
            Self::Operators => api.broker.clear_operator_policy(vhost.clone(), name),
        }
    }

    fn in_all(self, api: &Api, caller: &Caller, query: &Query) -> Answer {
        let vhosts = caller.vhosts(api);
        let mut found = self.all(api);
        found.retain(|policy| vhosts.contains(&policy.vhost));
        sorted_by_columns(found.iter().map(view::view).collect(), &ORDER, query)
    }

    fn in_one(self, api: &Api, caller: &Caller, vhost: &str, query: &Query) -> Answer {
        let vhost = caller.vhost(api, vhost)?;
        let mut found = self.all(api);
        found.retain(|policy| policy.vhost == vhost);
        sorted_by_columns(found.iter().map(view::view).collect(), &ORDER, query)
    }

    fn one(self, api: &Api, caller: &Caller, (vhost, name): &At, query: &Query) -> Answer {
        let vhost = caller.vhost(api, vhost)?;
        let found = self.find(api, &vhost, name);
        object(view::view(&found.ok_or_else(Failure::not_found)?), query)
    }

    fn put(self, api: &Api, caller: &Caller, (vhost, name): &At, body: &Object) -> Status {
        self.change(caller)?;
        let vhost = caller.target_vhost(api, vhost)?;
        body.require(&["pattern", "definition"])?;
        let existed = self.find(api, &vhost, name).is_some();
        let set = policy(body)?.and_then(|policy| self.set(api, &vhost, name, policy));
        set.map_err(|error| invalid(&error.to_string(), api))?;
        Ok(super::put(existed))
    }

    fn delete(self, api: &Api, caller: &Caller, (vhost, name): &At) -> Status {
        self.change(caller)?;
        let vhost = caller.vhost(api, vhost)?;
        let found = self.find(api, &vhost, name);
        found.ok_or_else(Failure::not_found)?;
        self.clear(api, &vhost, name)?;
        Ok(StatusCode::NO_CONTENT)
    }
}

/// A virtual host and a name in a path.
type At = (String, String);

/// The policy in a body.
fn policy(body: &Object) -> Result<Result<Policy, Error>, Failure> {
    let pattern = body.text_or_empty("pattern")?;
    let definition = body.get("definition").unwrap_or(&Value::Null);
    let definition = table("definition", definition)?;
    let priority = body.integer("priority")?.unwrap_or(0);
    let apply_to = body.text("apply-to")?.map_or(Ok(ApplyTo::All), str::parse);
    Ok(apply_to.and_then(|apply_to| {
        let policy = Policy::new(pattern, &definition)?;
        Ok(policy.apply_to(apply_to).priority(priority))
    }))
}

fn invalid(text: &str, api: &Api) -> Failure {
    let text = if api.profile.escapes_texts() {
        text.replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;")
    } else {
        text.to_owned()
    };
    Failure::bad_request(format!("Validation failed\n\n{text}\n"))
}

pub(crate) async fn list(State(api): State<Api>, caller: Caller, query: Query) -> Answer {
    Whose::Users.in_all(&api, &caller, &query)
}

pub(crate) async fn list_operators(State(api): State<Api>, caller: Caller, query: Query) -> Answer {
    Whose::Operators.in_all(&api, &caller, &query)
}

pub(crate) async fn of_vhost(
    State(api): State<Api>,
    caller: Caller,
    Path(vhost): Path<String>,
    query: Query,
) -> Answer {
    Whose::Users.in_one(&api, &caller, &vhost, &query)
}

pub(crate) async fn operators_of_vhost(
    State(api): State<Api>,
    caller: Caller,
    Path(vhost): Path<String>,
    query: Query,
) -> Answer {
    Whose::Operators.in_one(&api, &caller, &vhost, &query)
}

pub(crate) async fn show(
    State(api): State<Api>,
    caller: Caller,
    Path(at): Path<At>,
    query: Query,
) -> Answer {
    Whose::Users.one(&api, &caller, &at, &query)
}

pub(crate) async fn show_operators(
    State(api): State<Api>,
    caller: Caller,
    Path(at): Path<At>,
    query: Query,
) -> Answer {
    Whose::Operators.one(&api, &caller, &at, &query)
}

pub(crate) async fn put(
    State(api): State<Api>,
    caller: Caller,
    Path(at): Path<At>,
    body: Object,
) -> Status {
    Whose::Users.put(&api, &caller, &at, &body)
}

pub(crate) async fn put_operators(
    State(api): State<Api>,
    caller: Caller,
    Path(at): Path<At>,
    body: Object,
) -> Status {
    Whose::Operators.put(&api, &caller, &at, &body)
}

pub(crate) async fn delete(State(api): State<Api>, caller: Caller, Path(at): Path<At>) -> Status {
    Whose::Users.delete(&api, &caller, &at)
}

pub(crate) async fn delete_operators(
    State(api): State<Api>,
    caller: Caller,
    Path(at): Path<At>,
) -> Status {
    Whose::Operators.delete(&api, &caller, &at)
}

pub(crate) async fn parameters(State(api): State<Api>, caller: Caller, query: Query) -> Answer {
    caller.policymaker()?;
    let vhosts = caller.vhosts(&api);
    let mut found = api.broker.operator_policies();
    found.retain(|policy| vhosts.contains(&policy.vhost));
    let order = ["component", "vhost", "name"];
    sorted_by_columns(found.iter().map(view::parameter).collect(), &order, &query)
}

/// The parameters of a plugin, of which there are none: operator policies are none of a plugin.
pub(crate) async fn parameters_of(caller: Caller, Path(_component): Path<String>) -> Answer {
    caller.policymaker()?;
    ok(&json!([]))
}

pub(crate) async fn global_parameters(caller: Caller) -> Answer {
    caller.policymaker()?;
    ok(&json!([]))
}
