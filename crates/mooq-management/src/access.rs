//! Authentication, and what a user may see and do
//! ([permissions](https://www.rabbitmq.com/docs/management#permissions)).

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mooq_core::{Credentials, VirtualHost};
use mooq_memory::{InMemoryBroker, Profile, UserInfo, VirtualHostInfo};

use crate::failure::Failure;
use crate::versions::Rules;

/// The broker, as handlers see it.
#[derive(Debug, Clone)]
pub(crate) struct Api {
    pub(crate) broker: InMemoryBroker,
    pub(crate) profile: Profile,
}

impl Api {
    pub(crate) fn of(broker: &InMemoryBroker) -> Self {
        Self {
            broker: broker.clone(),
            profile: broker.options().profile,
        }
    }

    /// The virtual host of this name.
    pub(crate) fn find_vhost(&self, name: &str) -> Option<VirtualHostInfo> {
        let mut vhosts = self.broker.vhosts().into_iter();
        vhosts.find(|vhost| vhost.name.as_str() == name)
    }

    /// Names of all virtual hosts, sorted.
    pub(crate) fn vhost_names(&self) -> Vec<VirtualHost> {
        let vhosts = self.broker.vhosts().into_iter();
        vhosts.map(|vhost| vhost.name).collect()
    }

    /// The user of this name.
    ///
    /// # Errors
    /// `not_found` if there is none.
    pub(crate) fn user(&self, name: &str) -> Result<UserInfo, Failure> {
        let mut users = self.broker.users().into_iter();
        let user = users.find(|user| user.name == name);
        user.ok_or_else(Failure::not_found)
    }
}

/// A logged-in user whose tags permit access to the API.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) name: String,
    pub(crate) tags: Vec<String>,
}

impl FromRequestParts<Api> for Caller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Failure> {
        if !api.broker.is_running() {
            return Err(Failure::unavailable("the broker is not running"));
        }
        let Some(header) = parts.headers.get(AUTHORIZATION) else {
            return Err(Failure::no_credentials());
        };
        let credentials = header.to_str().ok().and_then(basic_credentials);
        let user = credentials.and_then(|credentials| api.broker.user_with(&credentials));
        let Some(user) = user else {
            let challenge = api.profile.challenges_refused_logins();
            return Err(Failure::login_refused(challenge));
        };
        let caller = Self {
            name: user.name,
            tags: user.tags,
        };
        let permitted = ["administrator", "monitoring", "policymaker", "management"];
        if !permitted.into_iter().any(|tag| caller.has_tag(tag)) {
            return Err(Failure::not_authorised("Not management user"));
        }
        Ok(caller)
    }
}

/// Reads the header of basic authentication ([RFC 7617](https://www.rfc-editor.org/rfc/rfc7617)).
fn basic_credentials(header: &str) -> Option<Credentials> {
    let (scheme, encoded) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (username, password) = decoded.split_once(':')?;
    Some(Credentials::new(username, password))
}

impl Caller {
    fn has_tag(&self, tag: &str) -> bool {
        self.tags.iter().any(|own| own == tag)
    }

    pub(crate) fn is_administrator(&self) -> bool {
        self.has_tag("administrator")
    }

    /// True if the user sees connections and virtual hosts of others.
    pub(crate) fn is_monitor(&self) -> bool {
        self.is_administrator() || self.has_tag("monitoring")
    }

    pub(crate) fn administrator(&self) -> Result<(), Failure> {
        let permitted = self.is_administrator().then_some(());
        permitted.ok_or_else(|| Failure::not_authorised("Not administrator user"))
    }

    pub(crate) fn monitor(&self) -> Result<(), Failure> {
        let permitted = self.is_monitor().then_some(());
        permitted.ok_or_else(|| Failure::not_authorised("Not monitor user"))
    }

    pub(crate) fn policymaker(&self) -> Result<(), Failure> {
        let permitted = self.is_administrator() || self.has_tag("policymaker");
        let refused = || Failure::not_authorised("User not authorised to access object");
        permitted.then_some(()).ok_or_else(refused)
    }

    /// The virtual host of this name.
    ///
    /// # Errors
    /// If it does not exist, or is closed to the user.
    pub(crate) fn vhost(&self, api: &Api, name: &str) -> Result<VirtualHost, Failure> {
        let vhost = api.find_vhost(name).ok_or_else(Failure::not_found)?;
        self.enter(api, &vhost.name)?;
        Ok(vhost.name)
    }

    /// Like [`Self::vhost`], for a request that declares something in the virtual host.
    pub(crate) fn target_vhost(&self, api: &Api, name: &str) -> Result<VirtualHost, Failure> {
        let missing = || Failure::missing("vhost_not_found");
        let vhost = api.find_vhost(name).ok_or_else(missing)?;
        self.enter(api, &vhost.name)?;
        Ok(vhost.name)
    }

    fn enter(&self, api: &Api, vhost: &VirtualHost) -> Result<(), Failure> {
        if self.is_administrator() || self.has_permissions(api, vhost) {
            return Ok(());
        }
        Err(if api.profile.hides_closed_vhosts() {
            Failure::missing("Not Found")
        } else {
            Failure::not_authorised("User not authorised to access virtual host")
        })
    }

    /// Virtual hosts whose queues, exchanges and policies the user sees, sorted.
    pub(crate) fn vhosts(&self, api: &Api) -> Vec<VirtualHost> {
        let mut vhosts = api.vhost_names();
        if !self.is_administrator() {
            let permissions = api.broker.permissions();
            vhosts.retain(|vhost| {
                let mut own = permissions.iter().filter(|of| of.user == self.name);
                own.any(|of| of.vhost == *vhost)
            });
        }
        vhosts
    }

    fn has_permissions(&self, api: &Api, vhost: &VirtualHost) -> bool {
        let mut permissions = api.broker.permissions().into_iter();
        permissions.any(|of| of.user == self.name && of.vhost == *vhost)
    }

    /// True if the user sees this user's connections.
    pub(crate) fn sees(&self, user: &str) -> bool {
        self.is_monitor() || self.name == user
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn basic_credentials_may_have_colons_in_the_password() {
        let encoded = STANDARD.encode("user:pass:word");
        let expected = Credentials::new("user", "pass:word");
        let header = format!("basic {encoded}");
        assert_eq!(basic_credentials(&header), Some(expected));
        for malformed in [
            "",
            "Basic",
            "Basic ***",
            "Basic dXNlcg==",
            "Bearer dXNlcjpw",
        ] {
            assert_eq!(basic_credentials(malformed), None, "{malformed}");
        }
    }
}
