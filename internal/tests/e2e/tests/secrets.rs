//! Debug output shows no password, token or key (issue 11, item 8): a value of every public type that holds one is
//! printed, and no type of the workspace holds one in a field that its derived `Debug` would print.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use auth::SigningKey;
use clap::{Args as _, Command, FromArgMatches as _};
use environment::Entropy;
use protocol::{ClientFrame, PasswordBody, RefreshBody, Registration, SessionBody};
use secret::Secret;
use store_scylla::ScyllaConfig;
use terminal::{ChatArguments, ChatOptions, StatePath, Target};

/// The secret of every value below.
const HIDDEN: &str = "hidden-from-everybody";
/// What is printed in place of a secret.
const SHOWN_INSTEAD: &str = "[secret]";

/// Parts of field names that suggest a secret.
const SECRET: [&str; 9] =
    ["password", "passphrase", "token", "secret", "cookie", "bearer", "authorization", "private_key", "signing_key"];
/// Types whose debug output shows their content.
const SHOWN: [&str; 7] = ["String", "str", "[u8", "Vec<u8>", "Bytes", "Value", "HeaderValue"];
/// Exceptions: fields that are named like a secret and may be shown. File and field.
const NONE: [(&str, &str); 2] = [
    // Hashes for checking a password or a refresh token; nobody can sign in with a hash.
    ("internal/store/src/users.rs", "password_hash"),
    ("internal/store/src/sessions.rs", "secret_hash"),
];

/// Every public type with a field of the type [`Secret`], as `folder::Type`, with its two debug outputs.
fn printed() -> Result<Vec<(&'static str, String)>> {
    let secret = || Secret::new(HIDDEN);
    let user = serde_json::json!({
        "id": "01890a5d-ac96-774b-bcce-b302099a8057", "name": "ann", "display_name": "", "created": 1
    });
    let session = SessionBody {
        access_token: secret(),
        expires_in: 1,
        refresh_token: secret(),
        device_token: Some(secret()),
        user: serde_json::from_value(user)?,
    };
    let credentials =
        protocol::Credentials { device_token: Some(secret()), ..protocol::Credentials::new("a", secret()) };
    let role = store_scylla::Credentials { username: "klatsch".into(), password: secret() };
    let cql = ScyllaConfig { credentials: Some(role.clone()), ..ScyllaConfig::new(vec![], "klatsch".parse()?) };
    let keyspace = process::options::KeyspaceOptions {
        keyspace: "klatsch".into(),
        cql_datacenter: None,
        cql_user: Some("klatsch".into()),
        cql_password: Some(secret()),
    };
    let request = testkit::device::Request {
        method: "GET".parse()?,
        base: String::new(),
        path: String::new(),
        token: Some(secret()),
        body: None,
    };
    Ok(vec![
        (
            "protocol::ClientFrame",
            both(&ClientFrame::Hello { token: Some(secret()), cursor: None, user: None, batch: None, signals: None }),
        ),
        ("protocol::ClientFrame", both(&ClientFrame::Renew { token: secret() })),
        ("protocol::Registration", both(&Registration { name: "a".into(), password: secret(), display_name: None })),
        ("protocol::Credentials", both(&credentials)),
        ("protocol::PasswordBody", both(&PasswordBody { current_password: secret(), new_password: secret() })),
        ("protocol::RefreshBody", both(&RefreshBody { refresh_token: secret() })),
        ("protocol::SessionBody", both(&session)),
        ("process::KeyspaceOptions", both(&keyspace)),
        ("store-scylla::Credentials", both(&role)),
        ("store-scylla::Credentials", both(&cql)),
        ("terminal::ChatArguments", both(&chat_arguments()?)),
        ("terminal::ChatOptions", both(&chat_options()?)),
        ("testkit::Request", both(&request)),
    ])
}

fn both(value: &impl Debug) -> String {
    format!("{value:?} {value:#?}")
}

fn chat_arguments() -> Result<ChatArguments> {
    let command = ChatArguments::augment_args(Command::new("chat"));
    let words = ["chat", "--name", "ann", "--with", "bob", "--password", HIDDEN];
    Ok(ChatArguments::from_arg_matches(&command.try_get_matches_from(words)?)?)
}

fn chat_options() -> Result<ChatOptions> {
    Ok(ChatOptions {
        endpoints: client::Endpoints::new("http://127.0.0.1:1", None, None)?,
        name: "ann".into(),
        password: Secret::new(HIDDEN),
        register: false,
        target: Target::With("bob".into()),
        state: StatePath::File("state".into()),
        once: false,
        interactive: false,
        wait: std::time::Duration::ZERO,
        colour: false,
        keys: std::sync::Arc::default(),
    })
}

#[test]
fn no_value_of_a_public_type_shows_its_secret() -> Result<()> {
    let printed = printed()?;
    for (name, text) in &printed {
        ensure!(!text.contains(HIDDEN), "{name} shows its secret: {text}");
        ensure!(text.contains(SHOWN_INSTEAD), "{name} shows no secret at all, so this proves nothing: {text}");
    }
    let printed: BTreeSet<String> = printed.into_iter().map(|(name, _)| name.to_owned()).collect();
    let mut holders = BTreeSet::new();
    for (file, text) in all_sources()? {
        // The folder of the crate; crates for tests are one folder deeper than others.
        let folder = file.split("/src/").next().and_then(|folder| folder.rsplit('/').next()).unwrap_or_default();
        holders.extend(public_holders(&text).into_iter().map(|name| format!("{folder}::{name}")));
    }
    ensure!(holders == printed, "of these public types with a secret each is to be printed here: {holders:#?}");
    Ok(())
}

/// Apart from the key's public name, the output has nothing that is long enough to be a key.
#[test]
fn a_signing_key_shows_its_public_name_alone() -> Result<()> {
    let key = SigningKey::generate(&Entropy::seeded(7))?;
    let names: Vec<String> = key.jwks().keys.into_iter().map(|key| key.kid).collect();
    let text = names.iter().fold(both(&key), |text, name| text.replace(name.as_str(), ""));
    ensure!(!text.chars().any(|c| c.is_ascii_digit()), "{text}");
    let longest = text.split(|c: char| !c.is_ascii_alphanumeric()).map(str::len).max();
    ensure!(longest.is_some_and(|longest| longest <= "SigningKey".len()), "{text}");
    Ok(())
}

#[test]
fn no_field_with_a_secret_is_printed_by_debug() -> Result<()> {
    let (mut found, mut excused) = (Vec::new(), BTreeSet::new());
    let sources = all_sources()?;
    for (name, text) in &sources {
        for (line, field) in shown_secrets(text) {
            if NONE.contains(&(name.as_str(), field.as_str())) {
                excused.insert(field);
            } else {
                found.push(format!("{name}:{line}: {field}"));
            }
        }
    }
    ensure!(sources.len() > 300, "only {} files were read", sources.len());
    ensure!(excused.len() == NONE.len(), "of the exceptions only these are still there: {excused:?}");
    ensure!(found.is_empty(), "make these a `secret::Secret`: {found:#?}");
    Ok(())
}

#[test]
fn a_secret_in_a_field_is_found() {
    let shown =
        "#[derive(Debug, Clone)]\npub struct A {\n    /// x\n    pub access_token: Option<String>,\n    b: u8,\n}\n";
    assert_eq!(shown_secrets(shown), [(4, "access_token".to_owned())]);
    let variant =
        "#[derive(Debug)]\nenum B {\n    C {\n        password: &'static str,\n    },\n    D { token: Vec<u8> },\n}\n";
    assert_eq!(shown_secrets(variant).len(), 2, "{:?}", shown_secrets(variant));
    let wrapped = "#[derive(Debug)]\npub struct A {\n    token: Option<Secret>,\n    token_count: usize,\n}\n";
    assert_eq!(shown_secrets(wrapped), []);
    assert_eq!(public_holders(wrapped), ["A"]);
    assert_eq!(public_holders(&wrapped.replace("pub ", "pub(crate) ")), [""; 0]);
    let unprinted =
        "#[derive(Clone)]\nstruct A {\n    token: String,\n}\nfn f() {\n    let x = A { token: String::new() };\n}\n";
    assert_eq!(shown_secrets(unprinted), []);
}

/// Line and name of each field that looks like a secret, in types that derive `Debug`.
fn shown_secrets(text: &str) -> Vec<(usize, String)> {
    let (mut found, mut derives, mut inside) = (Vec::new(), false, false);
    for (number, line) in text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        if line.starts_with('}') || code.starts_with("mod ") {
            (derives, inside) = (false, false);
        }
        if code.trim_start().starts_with("#[derive(") {
            derives = code.contains("Debug");
        }
        let item = ["struct ", "enum "].iter().any(|word| code.contains(word));
        if item && code.trim_end().ends_with('{') {
            inside = derives;
            continue;
        }
        if !inside {
            continue;
        }
        for part in code.split(['{', ',']) {
            let Some((name, kind)) = part.split_once(": ") else { continue };
            let name = name.split_whitespace().last().unwrap_or_default();
            let secret = SECRET.iter().any(|word| name.to_lowercase().contains(word));
            if secret && SHOWN.iter().any(|shown| kind.contains(shown)) {
                found.push((number + 1, name.to_owned()));
            }
        }
    }
    found
}

/// The names of the public types with a field of the type `Secret`.
fn public_holders(text: &str) -> Vec<String> {
    let (mut found, mut inside) = (Vec::<String>::new(), None);
    for line in text.lines() {
        let code = line.split("//").next().unwrap_or_default();
        let item = ["pub struct ", "pub enum "].iter().find_map(|word| code.strip_prefix(word));
        if let Some(name) = item.filter(|_| code.ends_with('{')) {
            inside = name.split(|c: char| !c.is_alphanumeric()).next();
        } else if line.starts_with('}') {
            inside = None;
        }
        let words = code.split(|c: char| !c.is_alphanumeric());
        if let Some(name) = inside.filter(|_| words.into_iter().any(|word| word == "Secret"))
            && found.last().is_none_or(|last| last != name)
        {
            found.push(name.to_owned());
        }
    }
    found
}

/// Every source file of the workspace except tests: its path and its content.
fn all_sources() -> Result<Vec<(String, String)>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..");
    let mut found = Vec::new();
    for path in [sources(&root.join("internal"))?, sources(&root.join("cmd"))?].concat() {
        found.push((path.strip_prefix(&root)?.to_string_lossy().into_owned(), fs::read_to_string(&path)?));
    }
    Ok(found)
}

fn sources(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // The `tests` folder of a crate, but not `internal/tests`, whose crates are read.
        let of_tests = name == "tests" && folder.join("Cargo.toml").exists();
        if path.is_dir() && !of_tests && name != "target" && name != "corpus" {
            found.extend(sources(&path)?);
        } else if name.ends_with(".rs") {
            found.push(path);
        }
    }
    Ok(found)
}
