//! No password, token, key or cookie stands in a field that its struct's `Debug` would print (issue 11, item 4): such
//! fields are of the type `secret::Secret`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

/// Parts of a field's name that say that it holds a secret.
const SECRET: [&str; 9] =
    ["password", "passphrase", "token", "secret", "cookie", "bearer", "authorization", "private_key", "signing_key"];
/// Types that show what they hold.
const SHOWN: [&str; 7] = ["String", "str", "[u8", "Vec<u8>", "Bytes", "Value", "HeaderValue"];
/// Fields that are named like a secret, with why they may be shown. File, field.
const NONE: [(&str, &str); 2] = [
    // What is kept to check a password or a refresh token with; from either nothing can be signed in with.
    ("internal/store/src/users.rs", "password_hash"),
    ("internal/store/src/sessions.rs", "secret_hash"),
];

#[test]
fn no_field_with_a_secret_is_printed_by_debug() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let (mut found, mut files, mut excused) = (Vec::new(), 0, Vec::new());
    for folder in ["internal", "cmd"] {
        for path in sources(&root.join(folder))? {
            files += 1;
            let text = fs::read_to_string(&path)?;
            let name = path.strip_prefix(&root)?.to_string_lossy().into_owned();
            for (line, field) in shown_secrets(&text) {
                if NONE.contains(&(name.as_str(), field.as_str())) {
                    excused.push(field);
                } else {
                    found.push(format!("{name}:{line}: {field}"));
                }
            }
        }
    }
    ensure!(files > 300, "only {files} files were read");
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
    let wrapped = "#[derive(Debug)]\nstruct A {\n    token: Option<Secret>,\n    token_count: usize,\n}\n";
    assert_eq!(shown_secrets(wrapped), []);
    let unprinted =
        "#[derive(Clone)]\nstruct A {\n    token: String,\n}\nfn f() {\n    let x = A { token: String::new() };\n}\n";
    assert_eq!(shown_secrets(unprinted), []);
}

/// Line and name of each such field of a type that derives `Debug`.
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
        if code.trim() == "}" && line.starts_with('}') {
            inside = false;
        }
    }
    found
}

fn sources(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && name != "tests" && name != "corpus" {
            found.extend(sources(&path)?);
        } else if name.ends_with(".rs") {
            found.push(path);
        }
    }
    Ok(found)
}
