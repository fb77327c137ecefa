//! Credentials that a provider returns: before each login, and again before they expire.
//!
//! Services use it through the facade, `mooq`: `ConnectOptions::credentials_from`. A provider goes
//! before a [`Transport`](mooq_core::Transport), and what comes out is a transport too, so that the
//! runtime above knows nothing of it.
//!
//! | File | Contents |
//! |---|---|
//! | `provider` | the provider, and asking it within a time limit |
//! | `transport` | a transport with a provider before it |
//! | `renewal` | asking again before the credentials expire |

mod provider;
mod renewal;
mod transport;

pub use provider::{CredentialsProvider, Provider};
pub use transport::over;
