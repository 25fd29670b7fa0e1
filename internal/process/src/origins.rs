//! Which web pages may use the server: one allow-list for the HTTP API and for sockets.
//!
//! A browser asks before it lets a page read an answer of another origin (CORS). No cookies are involved: a page without
//! a token can do nothing here, so the list is about whose pages may hold tokens at all.

use crate::options::LISTENING;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use clap::Args;

use crate::ConfigFault;

/// An entry that allows every origin.
const ANY: &str = "*";
/// The methods and headers that a page of another origin may use.
const METHODS: HeaderValue = HeaderValue::from_static("GET, POST, PUT, PATCH, DELETE");
const HEADERS: HeaderValue = HeaderValue::from_static("authorization, content-type, x-request-id, traceparent");
/// The headers of an answer that a page may read, beside those that it always may.
const EXPOSED: HeaderValue = HeaderValue::from_static("x-request-id, retry-after");
/// How long a browser may keep the answer to its question, in seconds.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");

/// The allow-list as it is given.
#[derive(Debug, Clone, Default, Args)]
pub struct OriginOptions {
    /// Origins of web pages that may use the HTTP API and open sockets, as a browser sends them (scheme, host, port), or '*'
    #[arg(long, help_heading = LISTENING, env = "KLATSCH_ORIGINS", value_name = "ORIGIN,...", value_delimiter = ',')]
    pub origins: Vec<String>,
}

impl OriginOptions {
    /// The list, each entry of which can be the origin of a page.
    ///
    /// # Errors
    /// Every entry that no page can ever have, and what is wrong with it.
    pub fn parsed(&self) -> Result<Origins, ConfigFault> {
        Origins::parse(&self.origins)
    }
}

/// Origins that are allowed. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Origins(Arc<[String]>);

impl Origins {
    /// A list of origins as browsers send them.
    ///
    /// # Errors
    /// See [`OriginOptions::parsed`].
    pub fn parse<T: AsRef<str>>(origins: &[T]) -> Result<Self, ConfigFault> {
        let fault = |origin: &T| {
            let reason = fault_of(origin.as_ref())?;
            Some(format!("the origin '{}' can never be that of a page: {reason}", origin.as_ref()))
        };
        ConfigFault::all(&origins.iter().filter_map(fault).collect::<Vec<_>>())?;
        Ok(Self(origins.iter().map(|origin| origin.as_ref().to_owned()).collect()))
    }

    /// Whether a request with these headers is allowed: from a page on the list, or from a program, which sends no
    /// origin. A browser sends the page's origin and lets no page change it.
    #[must_use]
    pub fn allow(&self, headers: &HeaderMap) -> bool {
        !headers.contains_key(header::ORIGIN) || origin_of(headers).is_some_and(|origin| self.has(origin))
    }

    fn has(&self, origin: &HeaderValue) -> bool {
        self.is_any() || self.0.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(origin.as_bytes()))
    }

    fn is_any(&self) -> bool {
        self.0.iter().any(|known| known == ANY)
    }
}

/// The origin, when there is exactly one: browsers send no more.
fn origin_of(headers: &HeaderMap) -> Option<&HeaderValue> {
    let mut all = headers.get_all(header::ORIGIN).iter();
    all.next().filter(|_| all.next().is_none())
}

/// Why no page can have this origin; `None` when one can.
fn fault_of(origin: &str) -> Option<String> {
    if origin == ANY {
        return None;
    }
    if origin.trim().is_empty() {
        return Some("it is blank".into());
    }
    if origin.contains(char::is_whitespace) || !origin.is_ascii() {
        return Some("it must be plain ASCII without blanks; write other letters of a host as 'xn--...'".into());
    }
    if origin.contains('*') {
        return Some("it is compared as a whole: name each origin, or '*' alone for all".into());
    }
    let Some((scheme, rest)) = origin.split_once("://") else {
        return Some(format!("it needs a scheme: 'https://{origin}'"));
    };
    if let Some(at) = rest.find(['/', '?', '#']) {
        return Some(format!("it ends behind host and port: '{scheme}://{}'", &rest[..at]));
    }
    let parsed = origin.parse::<Uri>().ok().and_then(|uri| uri.into_parts().authority);
    let host_and_port = parsed.filter(|authority| !authority.host().is_empty() && !authority.as_str().contains('@'));
    let Some(authority) = host_and_port else { return Some("there is no host in it, or more than one".into()) };
    let port = authority.as_str().strip_prefix(authority.host()).and_then(|rest| rest.strip_prefix(':'));
    let usual = match scheme.to_ascii_lowercase().as_str() {
        "http" => "80",
        "https" => "443",
        _ => "",
    };
    match port {
        Some(port) if port == usual => {
            Some(format!("browsers leave out the usual port: '{scheme}://{}'", authority.host()))
        }
        Some(port) if port.parse::<u16>().is_err() || port.starts_with(['+', '0']) => {
            Some(format!("'{port}' is no port"))
        }
        _ => None,
    }
}

/// Answers browsers that ask about pages of other origins (CORS). Use with `axum::middleware::from_fn_with_state`,
/// around everything that answers: a page could not read a refusal from further out, and would report a broken network.
pub(crate) async fn answered(State(origins): State<Origins>, request: Request, next: Next) -> Response {
    let origin = origin_of(request.headers()).filter(|origin| origins.has(origin)).cloned();
    let asks =
        *request.method() == Method::OPTIONS && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = match &origin {
        Some(_) if asks => StatusCode::NO_CONTENT.into_response(),
        _ => next.run(request).await,
    };
    let headers = response.headers_mut();
    headers.append(header::VARY, HeaderValue::from_name(header::ORIGIN));
    if let Some(origin) = origin {
        let allowed = if origins.is_any() { HeaderValue::from_static(ANY) } else { origin };
        let always = [(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed), (header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED)];
        let asked: [(HeaderName, HeaderValue); 3] = [
            (header::ACCESS_CONTROL_ALLOW_METHODS, METHODS),
            (header::ACCESS_CONTROL_ALLOW_HEADERS, HEADERS),
            (header::ACCESS_CONTROL_MAX_AGE, MAX_AGE),
        ];
        headers.extend(always.into_iter().chain(asked.into_iter().filter(|_| asks)));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_that_no_page_can_have_is_a_fault_in_words() {
        for good in [
            "*",
            "https://chat.example",
            "http://localhost:3000",
            "HTTPS://chat.example",
            "capacitor://localhost",
            "http://[::1]:8080",
            "https://chat.example:80",
        ] {
            assert_eq!(fault_of(good), None, "{good}");
        }
        for (wrong, words) in [
            ("", "blank"),
            (" ", "blank"),
            ("https://chat.example/", "'https://chat.example'"),
            ("https://chat.example/app", "'https://chat.example'"),
            ("chat.example", "'https://chat.example'"),
            ("https://chat.example:443", "usual port"),
            ("http://chat.example:80", "usual port"),
            ("https://chat.example:99999", "no port"),
            ("https://chat.example:", "no port"),
            (" https://chat.example", "blanks"),
            ("https://büro.example", "xn--"),
            ("https://", "no host"),
            ("https://*.chat.example", "as a whole"),
            ("**", "as a whole"),
            ("https://user@chat.example", "no host"),
            ("https://a.example https://b.example", "blanks"),
        ] {
            let fault = fault_of(wrong).unwrap_or_else(|| panic!("{wrong}"));
            assert!(fault.contains(words), "{wrong}: {fault}");
        }
        let faults = Origins::parse(&["https://chat.example/", "", "*"]).unwrap_err().to_string();
        assert!(faults.contains("'https://chat.example/'") && faults.contains("''"), "{faults}");
    }

    #[test]
    fn only_known_origins_and_programs_are_allowed() {
        let origins = Origins::parse(&["https://chat.example"]).unwrap();
        let from = |origin: &str| {
            let origin = HeaderValue::from_str(origin).unwrap();
            origins.allow(&HeaderMap::from_iter([(header::ORIGIN, origin)]))
        };
        assert!(from("https://chat.example") && from("HTTPS://chat.example"));
        assert!(!from("https://chat.example.evil") && !from("null") && !from(""));
        assert!(origins.allow(&HeaderMap::new()));
        let mut two = HeaderMap::new();
        for origin in ["https://chat.example", "https://chat.example.evil"] {
            two.append(header::ORIGIN, HeaderValue::from_static(origin));
        }
        assert!(!origins.allow(&two), "of two, neither counts");
    }
}
