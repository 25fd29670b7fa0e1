//! Bodies and frames show no password or token in debug output, and have them on the wire.
#![allow(clippy::unwrap_used)]

use std::fmt::Debug;

use protocol::{ClientFrame, Credentials, PasswordBody, RefreshBody, Registration, SessionBody};
use secret::Secret;
use serde::Serialize;
use serde::de::DeserializeOwned;

const HIDDEN: &str = "hidden from everybody";

#[track_caller]
fn hides<T: Debug + Serialize + DeserializeOwned + PartialEq>(value: &T, secrets: usize) {
    let (shown, wire) = (format!("{value:?} {value:#?}"), serde_json::to_string(value).unwrap());
    assert!(!shown.contains(HIDDEN), "{shown}");
    assert_eq!(shown.matches("[secret]").count(), 2 * secrets, "{shown}");
    assert_eq!(wire.matches(HIDDEN).count(), secrets, "{wire}");
    assert_eq!(serde_json::from_str::<T>(&wire).unwrap(), *value);
}

#[test]
fn no_body_and_no_frame_shows_a_secret() {
    let secret = || Secret::new(HIDDEN);
    hides(&ClientFrame::Hello { token: Some(secret()), cursor: None, user: None, batch: None, signals: None }, 1);
    hides(&ClientFrame::Renew { token: secret() }, 1);
    hides(&Registration { name: "ann".into(), password: secret(), display_name: None }, 1);
    hides(&Credentials { device_token: Some(secret()), ..Credentials::new("ann", secret()) }, 2);
    hides(&PasswordBody { current_password: secret(), new_password: secret() }, 2);
    hides(&RefreshBody { refresh_token: secret() }, 1);
    let user = serde_json::json!({"id": "01890a5d-ac96-774b-bcce-b302099a8057", "name": "ann", "display_name": "", "created": 1});
    let session = SessionBody {
        access_token: secret(),
        expires_in: 1,
        refresh_token: secret(),
        device_token: Some(secret()),
        user: serde_json::from_value(user).unwrap(),
    };
    hides(&session, 3);
}
