//! Bodies and headers of HTTP requests.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The first byte selects the type of the body, the rest is the body.
pub(crate) fn http_body(bytes: &[u8]) {
    let Some((which, body)) = bytes.split_first() else { return };
    match which % 14 {
        0 => read::<protocol::CreateBody>(body),
        1 => read::<protocol::AddMembersBody>(body),
        2 => read::<protocol::RoleBody>(body),
        3 => read::<protocol::TitleBody>(body),
        4 => read::<protocol::SendBody>(body),
        5 => read::<protocol::EditBody>(body),
        6 => read::<protocol::ReactBody>(body),
        7 => read::<protocol::MarkUpTo>(body),
        8 => read::<protocol::CommandBody>(body),
        // These have secrets, and are never serialized.
        9 => drop(serde_json::from_slice::<protocol::Credentials>(body)),
        10 => drop(serde_json::from_slice::<protocol::Registration>(body)),
        11 => drop(serde_json::from_slice::<protocol::RefreshBody>(body)),
        // The public keys that services fetch.
        12 => drop(serde_json::from_slice::<auth::Jwks>(body)),
        _ => {
            let Ok(text) = std::str::from_utf8(body) else { return };
            if let Ok(parent) = text.parse::<process::TraceParent>() {
                let again = parent.to_string().parse::<process::TraceParent>().expect("what was written can be read");
                assert_eq!(again.to_string(), parent.to_string());
            }
        }
    }
}

fn read<T: DeserializeOwned + Serialize>(body: &[u8]) {
    let Ok(value) = serde_json::from_slice::<T>(body) else { return };
    let text = serde_json::to_string(&value).expect("what was read can be written");
    let again: T = serde_json::from_str(&text).expect("what was written can be read");
    assert_eq!(serde_json::to_string(&again).expect("again"), text);
}
