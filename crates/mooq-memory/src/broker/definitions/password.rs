//! Hashed passwords ([RabbitMQ's hashing](https://www.rabbitmq.com/docs/passwords)).

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mooq_core::Error;
use mooq_engine::{Password, UserInfo};
use sha2::{Digest, Sha256, Sha512};

use super::invalid;

/// Number of bytes of a password hash that are its salt.
const SALT: usize = 4;

/// The algorithm that RabbitMQ uses unless it is told otherwise.
const SHA_256: &str = "rabbit_password_hashing_sha256";

/// Reads a password that RabbitMQ has hashed.
///
/// # Errors
/// `InvalidArgument` if the hash is not base64, or the algorithm neither SHA-256 nor SHA-512.
pub(super) fn hashed(hash: &str, algorithm: Option<&str>) -> Result<Password, Error> {
    let bytes = STANDARD
        .decode(hash)
        .map_err(|e| invalid("its password hash is not base64").with_source(e))?;
    let algorithm = algorithm.unwrap_or(SHA_256);
    let digest: fn(&[u8], &str) -> Vec<u8> = match algorithm {
        SHA_256 => salted::<Sha256>,
        "rabbit_password_hashing_sha512" => salted::<Sha512>,
        other => {
            let message =
                format!("its password is hashed by '{other}', expected SHA-256 or SHA-512");
            return Err(invalid(message));
        }
    };
    let is_right = move |password: &str| {
        let Some((salt, hash)) = bytes.split_at_checked(SALT) else {
            return false;
        };
        digest(salt, password) == hash
    };
    Ok(Password::Hashed {
        hash: hash.to_owned(),
        algorithm: algorithm.to_owned(),
        is_right: Arc::new(is_right),
    })
}

/// Returns a user's password as RabbitMQ exports it: its hash, and RabbitMQ's name of the algorithm.
///
/// The salt of a password that the broker has hashed follows from the name and the password, so
/// that the hash is the same each time.
#[must_use]
pub fn password_hash(user: &UserInfo) -> (String, String) {
    match &user.password {
        Password::Plain(password) => {
            let salt = salted::<Sha256>(user.name.as_bytes(), password);
            let mut bytes = salt.get(..SALT).unwrap_or_default().to_vec();
            bytes.extend(salted::<Sha256>(&bytes, password));
            (STANDARD.encode(bytes), SHA_256.to_owned())
        }
        Password::Hashed {
            hash, algorithm, ..
        } => (hash.clone(), algorithm.clone()),
        // A kind that the engine gains later has no hash yet: the user cannot log in by password.
        _ => (String::new(), SHA_256.to_owned()),
    }
}

fn salted<D: Digest>(salt: &[u8], password: &str) -> Vec<u8> {
    let hash = D::new().chain_update(salt).chain_update(password);
    hash.finalize().to_vec()
}
