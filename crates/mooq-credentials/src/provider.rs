//! Providers of credentials.

use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use mooq_core::{Credentials, Endpoint, Error, ErrorKind, Result};
use tokio::time::timeout;

/// The error of a provider.
type BoxError = Box<dyn StdError + Send + Sync>;

/// Provides the credentials of each login: a token from an identity provider, or a password that is
/// changed from time to time and read from a file or a vault.
///
/// Async closures without arguments that return `Result<Credentials, _>` are providers. It may be
/// asked several times at once, by connections that share it, and its future may be dropped when the
/// connection is closed or its time is over.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use mooq::{ConnectOptions, Credentials, CredentialsProvider};
///
/// /// The password stands in a file, which an agent renews.
/// struct InFile(std::path::PathBuf);
///
/// impl CredentialsProvider for InFile {
///     async fn credentials(
///         &self,
///     ) -> Result<Credentials, Box<dyn std::error::Error + Send + Sync>> {
///         let password = std::fs::read_to_string(&self.0)?;
///         let hour = Duration::from_secs(3600);
///         Ok(Credentials::new("billing", password.trim()).expires_in(hour))
///     }
/// }
///
/// let options = ConnectOptions::new().credentials_from(InFile("/run/secrets/rabbitmq".into()));
/// # let _ = options;
/// ```
pub trait CredentialsProvider: Send + Sync + 'static {
    /// Returns credentials that are valid now.
    ///
    /// # Errors
    /// Any error: it becomes the source of a
    /// [`CredentialsUnavailable`](ErrorKind::CredentialsUnavailable). Its text is part of that
    /// error's, and goes into logs.
    fn credentials(&self) -> impl Future<Output = Result<Credentials, BoxError>> + Send;
}

impl<F, Fut, E> CredentialsProvider for F
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Credentials, E>> + Send,
    E: Into<BoxError>,
{
    async fn credentials(&self) -> Result<Credentials, BoxError> {
        self().await.map_err(Into::into)
    }
}

type Answer = BoxFuture<'static, Result<Credentials, BoxError>>;
type Ask = dyn Fn() -> Answer + Send + Sync;

/// A provider of any type. Clones are the same provider.
#[derive(Clone)]
pub struct Provider(Arc<Ask>);

impl Provider {
    /// A provider of any type.
    #[must_use]
    pub fn new(provider: impl CredentialsProvider) -> Self {
        let provider = Arc::new(provider);
        Self(Arc::new(move || -> Answer {
            let provider = Arc::clone(&provider);
            Box::pin(async move { provider.credentials().await })
        }))
    }

    /// Asks the provider for credentials to log in to `endpoint`, for the endpoint's connect timeout
    /// at most.
    ///
    /// # Errors
    /// `CredentialsUnavailable`.
    pub(crate) async fn ask(&self, endpoint: &Endpoint) -> Result<Credentials> {
        let limit = endpoint.connect_timeout;
        let failed = |what: &str| unavailable(endpoint, what);
        match timeout(limit, (self.0)()).await {
            Ok(Ok(credentials)) => Ok(credentials),
            Ok(Err(error)) => Err(failed(&format!("failed: {error}")).with_source(error)),
            Err(elapsed) => Err(late(endpoint, limit).with_source(elapsed)),
        }
    }
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provider").finish_non_exhaustive()
    }
}

fn unavailable(endpoint: &Endpoint, what: &str) -> Error {
    let address = endpoint.address();
    Error::connection(
        ErrorKind::CredentialsUnavailable,
        format!("no credentials for {address}: their provider {what}"),
    )
}

fn late(endpoint: &Endpoint, limit: Duration) -> Error {
    unavailable(endpoint, &format!("did not answer within {limit:?}"))
}
