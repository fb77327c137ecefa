//! Versions of RabbitMQ.

use std::fmt;
use std::str::FromStr;

use mooq_memory::Profile;

/// A minor version of RabbitMQ, such as 4.0. Patches do not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    major: u16,
    minor: u16,
}

impl Version {
    /// RabbitMQ 3.10.
    pub const V3_10: Self = Self::new(3, 10);
    /// RabbitMQ 4.0.
    pub const V4_0: Self = Self::new(4, 0);
    /// RabbitMQ 4.1.
    pub const V4_1: Self = Self::new(4, 1);
    /// RabbitMQ 4.2.
    pub const V4_2: Self = Self::new(4, 2);
    /// RabbitMQ 4.3.
    pub const V4_3: Self = Self::new(4, 3);

    const fn new(major: u16, minor: u16) -> Self {
        Self { major, minor }
    }

    /// Returns the version that a profile of the in-memory broker behaves as.
    #[must_use]
    pub fn of(profile: Profile) -> Self {
        profile.name().parse().expect("a profile is named for it")
    }
}

/// The version as in the names of tests: `v4_0`.
impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}_{}", self.major, self.minor)
    }
}

/// Parses a version as RabbitMQ reports it: `4.0.5`.
impl FromStr for Version {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut numbers = text.trim().split('.').map(str::parse);
        match (numbers.next(), numbers.next()) {
            (Some(Ok(major)), Some(Ok(minor))) => Ok(Self::new(major, minor)),
            _ => Err(format!("'{text}' is no version of RabbitMQ")),
        }
    }
}

/// The versions that a scenario holds for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versions {
    from: Option<Version>,
    before: Option<Version>,
}

impl Versions {
    /// Every version.
    pub const ALL: Self = Self {
        from: None,
        before: None,
    };

    /// Restricts the versions to `version` and later ones.
    #[must_use]
    pub const fn and_from(self, version: Version) -> Self {
        Self {
            from: Some(version),
            ..self
        }
    }

    /// Restricts the versions to those before `version`.
    #[must_use]
    pub const fn and_before(self, version: Version) -> Self {
        Self {
            before: Some(version),
            ..self
        }
    }

    /// Returns true if `version` is one of them.
    #[must_use]
    pub fn contain(self, version: Version) -> bool {
        self.from.is_none_or(|from| from <= version)
            && self.before.is_none_or(|before| version < before)
    }
}
