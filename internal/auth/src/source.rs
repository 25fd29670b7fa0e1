//! The source of published keys: a URL or a file.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::{Client, Url, redirect};

use crate::jwks::{Jwks, JwksError};

/// The timeout of a fetch.
const FETCH_WITHIN: Duration = Duration::from_secs(2);
/// A larger document is not a key set of ours.
const DOCUMENT_BYTES_MAX: usize = 64 * 1024;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A location of a key set.
#[derive(Debug)]
pub(crate) enum Source {
    Url(Client, Url),
    File(PathBuf),
}

#[derive(Debug, thiserror::Error)]
#[error("the document is larger than {DOCUMENT_BYTES_MAX} bytes")]
struct TooLarge;

impl Source {
    /// A URL when it begins like one, otherwise the path of a file.
    pub(crate) fn parse(location: &str) -> Result<Self, JwksError> {
        if !location.contains("://") {
            return Ok(Self::File(PathBuf::from(location)));
        }
        let fault = |reason: String| JwksError::Location(format!("keys cannot be fetched from {location}: {reason}"));
        let url = Url::parse(location).map_err(|error| fault(error.to_string()))?;
        if url.scheme() != "http" {
            return Err(fault("only http:// URLs and file paths are supported".into()));
        }
        // The keys come from a neighbouring service: no proxy and no redirection.
        let client = Client::builder().timeout(FETCH_WITHIN).no_proxy().redirect(redirect::Policy::none());
        Ok(Self::Url(client.build().map_err(|error| fault(error.to_string()))?, url))
    }

    /// Fetches the key set.
    pub(crate) async fn fetch(&self) -> Result<Jwks, JwksError> {
        let unreachable = |cause| JwksError::Unreachable { location: self.location(), cause };
        let document = match self {
            Self::Url(client, url) => get(client, url).await.map_err(unreachable)?,
            Self::File(path) => tokio::fs::read(path).await.map_err(|error| unreachable(error.into()))?,
        };
        serde_json::from_slice(&document).map_err(|error| JwksError::Malformed(error.to_string()))
    }

    fn location(&self) -> String {
        match self {
            Self::Url(_, url) => url.to_string(),
            Self::File(path) => path.display().to_string(),
        }
    }
}

async fn get(client: &Client, url: &Url) -> Result<Vec<u8>, BoxError> {
    let mut response = client.get(url.clone()).send().await?.error_for_status()?;
    let mut document = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if document.len() + chunk.len() > DOCUMENT_BYTES_MAX {
            return Err(TooLarge.into());
        }
        document.extend_from_slice(&chunk);
    }
    Ok(document)
}
