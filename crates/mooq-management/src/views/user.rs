//! Users.

use mooq_memory::{Profile, UserInfo, password_hash};
use serde_json::{Value, json};

use super::entries;
use crate::versions::Rules;

/// A user.
pub(crate) fn view(info: &UserInfo) -> Value {
    let (hash, algorithm) = password_hash(info);
    json!({
        "name": info.name,
        "password_hash": hash,
        "hashing_algorithm": algorithm,
        "tags": info.tags,
        "limits": {},
    })
}

/// The user who asks.
pub(crate) fn caller(name: &str, tags: &[String], profile: Profile) -> Value {
    let mut view = entries(json!({"name": name, "tags": tags}));
    if profile.tells_where_users_are_kept() {
        view.insert("is_internal_user".into(), true.into());
    }
    Value::Object(view)
}
