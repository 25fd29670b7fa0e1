//! Messages as plain text, and targets that may be opened.

use markdown::{DEPTH_MAX, QUOTES_MAX, SPANS_MAX, is_link, parse, plain};

#[test]
fn a_message_is_its_text_without_marks() {
    for (text, expected) in [
        ("", ""),
        ("**a** *b*\n~~c~~ `d`", "a b\nc d"),
        ("one\n\n\ntwo", "one\ntwo"),
        ("> a\n> > b\n> - c\n\nd", "> a\n> > b\n> - c\nd"),
        ("3. a\n- **b**", "3. a\n- b"),
        ("```rust\nfn a() {}\n\n  b\n```", "fn a() {}\n\n  b"),
        ("[see **this**](https://a.org), https://b.org.", "see this (https://a.org), https://b.org."),
        ("\\*a\\* \\_b", "*a* \\_b"),
        ("**never closed [a](javascript:b)", "**never closed [a](javascript:b)"),
    ] {
        assert_eq!(plain(&parse(text)), expected, "{text:?}");
    }
}

#[test]
fn only_whole_targets_of_three_schemes_are_links() {
    for target in ["http://a", "https://a.org:1/b_(c)?d#e", "HTTPS://A.ORG", "mailto:a.b+c@d.org?subject=e"] {
        assert!(is_link(target), "{target}");
    }
    for target in [
        "",
        "https://",
        "a.org",
        "//a.org",
        " https://a.org",
        "https://a.org ",
        "https://a.org/\n",
        "https://a.org/b)",
        "https://a@b.org",
        "https://a.org\\@b.org",
        "https://bücher.example",
        "https://a.org/ä",
        "https://a.org:123456",
        "https://[::1]",
        "javascript:alert(1)",
        "JavaScript:https://a.org",
        "java\tscript:alert(1)",
        "data:text/html,a",
        "vbscript:a",
        "file:///etc/passwd",
        "mailto:",
        "mailto:a",
        "mailto:@b.org",
    ] {
        assert!(!is_link(target), "{target}");
    }
}

/// The sum is what the page promises to those who write a client.
#[test]
fn a_tree_is_eight_deep_at_most() {
    assert_eq!((QUOTES_MAX, SPANS_MAX, DEPTH_MAX), (4, 4, 8));
}
