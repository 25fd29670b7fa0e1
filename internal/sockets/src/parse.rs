//! A device's text to a frame, or to a sentence about what is wrong with it.

use api::{ClientFrame, CommandFrame, ErrorCode, ServerFrame};
use domain::{CommandId, ConversationId};
use serde::Deserialize;
use serde_json::Value;

/// Frames that are not commands.
const PLAIN_TYPES: [&str; 3] = ["hello", "mark", "pong"];
/// Characters of a parser's words that are repeated to the client.
const WORDS_MAX: usize = 200;

/// What a frame may name.
#[derive(Debug, Deserialize)]
struct Names {
    #[serde(rename = "type")]
    kind: Option<Value>,
    id: Option<Value>,
    conversation: Option<Value>,
}

/// The frame that `text` is.
///
/// # Errors
/// An error frame that says what is wrong.
pub fn parse(text: &str) -> Result<ClientFrame, ServerFrame> {
    serde_json::from_str(text).map_err(|_| diagnose(text))
}

/// What is wrong with a text that is not a frame. Slow and exact: few clients send such texts, and never many.
fn diagnose(text: &str) -> ServerFrame {
    let names = match serde_json::from_str::<Names>(text) {
        Ok(names) => names,
        Err(error) => return refusal(None, ErrorCode::BadRequest, &format!("not a JSON object: {error}")),
    };
    let Some(kind) = names.kind.as_ref().and_then(Value::as_str) else {
        return refusal(Some(&names), ErrorCode::BadRequest, "a frame needs a 'type', a text");
    };
    if PLAIN_TYPES.contains(&kind) {
        let words = match kind {
            "mark" => "a 'mark' frame needs 'conversation', an id, and 'seq', a number",
            "hello" => "a 'hello' frame has 'token' and 'cursor', both texts, both optional",
            _ => "a 'pong' frame has only its type",
        };
        return refusal(Some(&names), ErrorCode::BadRequest, words);
    }
    match serde_json::from_str::<CommandFrame>(text) {
        Err(error) if error.to_string().starts_with("unknown variant") => {
            refusal(Some(&names), ErrorCode::UnknownFrame, "there is no frame of that type")
        }
        Err(error) => refusal(Some(&names), ErrorCode::BadRequest, &format!("not a '{kind}' frame: {error}")),
        Ok(_) => refusal(Some(&names), ErrorCode::BadRequest, "a field comes twice"),
    }
}

fn refusal(names: Option<&Names>, code: ErrorCode, words: &str) -> ServerFrame {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    let id = names.and_then(|names| text(names.id.as_ref())?.parse::<CommandId>().ok());
    let conversation = names.and_then(|names| text(names.conversation.as_ref())?.parse::<ConversationId>().ok());
    ServerFrame::Error { id, conversation, code, message: words.chars().take(WORDS_MAX).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

    fn code_of(text: &str) -> (ErrorCode, String, bool) {
        match parse(text) {
            Err(ServerFrame::Error { code, message, id, .. }) => (code, message, id.is_some()),
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn a_wrong_frame_is_told_what_is_wrong_with_it() {
        for text in ["", "hi", "[]", "{", "7", r#"{"id":1}"#, r#"{"type":7}"#] {
            assert_eq!(code_of(text).0, ErrorCode::BadRequest, "{text}");
        }
        let (code, _, named) = code_of(&format!(r#"{{"type":"shout","id":"{ID}"}}"#));
        assert_eq!((code, named), (ErrorCode::UnknownFrame, true));
        let (code, words, named) = code_of(&format!(r#"{{"type":"send","id":"{ID}","conversation":"{ID}"}}"#));
        assert_eq!((code, named), (ErrorCode::BadRequest, true));
        assert!(words.contains("missing field `body`"), "{words}");
        assert_eq!(code_of(r#"{"type":"mark","seq":"x"}"#).0, ErrorCode::BadRequest);
        assert_eq!(code_of(r#"{"type":"send","id":"not an id"}"#).0, ErrorCode::BadRequest);
        assert!(parse(&format!(r#"{{"type":"leave","id":"{ID}","conversation":"{ID}"}}"#)).is_ok());
    }
}
