//! Parses a device's text into a frame, or into an error that says what is wrong with it.

use domain::{CommandId, ConversationId};
use protocol::{ClientFrame, CommandFrame, CommandKind, ErrorCode, Field, FieldType, ServerFrame, is_object};
use serde::Deserialize;
use serde_json::{Map, Value};

/// The types of frames that are not commands.
const PLAIN_TYPES: [&str; 7] = ["hello", "mark", "pong", "presence", "renew", "typing", "watch"];
/// The most characters of an error message, which may quote serde's own message.
const WORDS_MAX: usize = 200;

/// The fields by which an error refers to a frame that cannot be parsed as a whole.
#[derive(Debug, Deserialize)]
struct Names {
    #[serde(rename = "type")]
    kind: Option<Value>,
    id: Option<Value>,
    conversation: Option<Value>,
}

/// Parses `text`.
///
/// # Errors
/// An error frame that says what is wrong.
pub fn parse(text: &str) -> Result<ClientFrame, ServerFrame> {
    match serde_json::from_str(text) {
        Ok(frame) if is_object(text.as_bytes()) => Ok(frame),
        _ => Err(diagnose(text)),
    }
}

/// Finds out why a text is not a frame. Slow and exact: few clients send such texts, and `MALFORMED_MAX` bounds
/// how many.
fn diagnose(text: &str) -> ServerFrame {
    let names = match serde_json::from_str::<Names>(text) {
        Ok(names) if is_object(text.as_bytes()) => names,
        Ok(_) => return refusal(None, ErrorCode::BadRequest, "not a JSON object"),
        Err(error) => return refusal(None, ErrorCode::BadRequest, &format!("not a JSON object: {error}")),
    };
    let Some(kind) = names.kind.as_ref().and_then(Value::as_str) else {
        return refusal(Some(&names), ErrorCode::BadRequest, "a frame needs a 'type', a text");
    };
    if let Some(words) = wrong_field(kind, text) {
        return refusal(Some(&names), ErrorCode::BadRequest, &words);
    }
    if PLAIN_TYPES.contains(&kind) {
        return refusal(Some(&names), ErrorCode::BadRequest, &format!("a field of this '{kind}' frame comes twice"));
    }
    if is_unknown(text) {
        return refusal(Some(&names), ErrorCode::UnknownFrame, "there is no frame of that type");
    }
    match serde_json::from_str::<CommandFrame>(text) {
        Err(error) => refusal(Some(&names), ErrorCode::BadRequest, &format!("not a '{kind}' frame: {error}")),
        Ok(_) => refusal(Some(&names), ErrorCode::BadRequest, "a field comes twice"),
    }
}

/// Whether the text's type is the type of no command.
fn is_unknown(text: &str) -> bool {
    serde_json::from_str::<CommandKind>(text).is_err_and(|error| error.to_string().starts_with("unknown variant"))
}

/// A message about the first field that is missing from a frame of that type, or has a wrong value.
fn wrong_field(kind: &str, text: &str) -> Option<String> {
    let frame: Map<String, Value> = serde_json::from_str(text).ok()?;
    let named: &[_] = match kind {
        "hello" | "renew" | "presence" | "watch" => &[],
        "mark" | "typing" => &[CONVERSATION],
        "create" => &[ID],
        _ if is_unknown(text) => &[],
        _ => &[ID, CONVERSATION],
    };
    for Field { name, field_type, is_required } in named.iter().copied().chain(fields_of(kind)) {
        match frame.get(name) {
            None | Some(Value::Null) if !is_required => {}
            None => return Some(format!("a '{kind}' frame needs '{name}': {}", field_type.words())),
            Some(value) if field_type.takes(value) => {}
            Some(value) => return Some(format!("'{name}' must be {}, not {}", field_type.words(), shown(value))),
        }
    }
    None
}

/// The fields of every command: its id, and its conversation.
const ID: Field = Field::required("id", FieldType::Command);
const CONVERSATION: Field = Field::required("conversation", FieldType::Conversation);

/// The other fields of a frame of that type.
fn fields_of(kind: &str) -> Vec<Field> {
    match kind {
        "hello" => vec![
            Field::optional("token", FieldType::Text),
            Field::optional("cursor", FieldType::Text),
            Field::optional("user", FieldType::User),
            Field::optional("batch", FieldType::Flag),
            Field::optional("signals", FieldType::Flag),
        ],
        "renew" => vec![Field::required("token", FieldType::Text)],
        "mark" => vec![Field::required("seq", FieldType::Seq)],
        "presence" => vec![Field::required("status", FieldType::Status)],
        "watch" => vec![Field::required("users", FieldType::Users)],
        "typing" => vec![Field::optional("doing", FieldType::Doing), Field::optional("thread", FieldType::Command)],
        command => CommandKind::fields_of(command),
    }
}

/// A description of a value. Never the value itself, which may be a token.
fn shown(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "that number",
        Value::String(_) => "that text",
        Value::Array(_) => "that list",
        Value::Object(_) => "an object",
    }
}

fn refusal(names: Option<&Names>, code: ErrorCode, words: &str) -> ServerFrame {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    let id = names.and_then(|names| text(names.id.as_ref())?.parse::<CommandId>().ok());
    let conversation = names.and_then(|names| text(names.conversation.as_ref())?.parse::<ConversationId>().ok());
    let message = words.chars().take(WORDS_MAX).collect();
    ServerFrame::Error { id, conversation, code, message, retry_after: None }
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
        for text in ["", "hi", "[]", "{", "7", r#"{"id":1}"#, r#"{"type":7}"#, r#"["hello",null,null,null]"#] {
            assert_eq!(code_of(text).0, ErrorCode::BadRequest, "{text}");
        }
        assert_eq!(code_of(&format!(r#"["leave","{ID}","{ID}"]"#)).0, ErrorCode::BadRequest);
        let (code, _, named) = code_of(&format!(r#"{{"type":"shout","id":"{ID}"}}"#));
        assert_eq!((code, named), (ErrorCode::UnknownFrame, true));
        let (code, words, named) = code_of(&format!(r#"{{"type":"send","id":"{ID}","conversation":"{ID}"}}"#));
        assert_eq!((code, named), (ErrorCode::BadRequest, true));
        assert!(words.contains("needs 'body'"), "{words}");
        for (text, field) in [
            (r#"{"type":"hello","token":7}"#.to_owned(), "'token'"),
            (r#"{"type":"hello","cursor":[]}"#.to_owned(), "'cursor'"),
            (format!(r#"{{"type":"mark","conversation":"{ID}","seq":"x"}}"#), "'seq'"),
            (format!(r#"{{"type":"mark","conversation":"{ID}","seq":1.5}}"#), "'seq'"),
            (format!(r#"{{"type":"leave","id":"{ID}","conversation":"nowhere"}}"#), "'conversation'"),
            (r#"{"type":"hello","token":"a","token":"b"}"#.to_owned(), "twice"),
        ] {
            let (code, words, _) = code_of(&text);
            assert!(code == ErrorCode::BadRequest && words.contains(field), "{text}: {words}");
        }
        assert_eq!(code_of(r#"{"type":"send","id":"not an id"}"#).0, ErrorCode::BadRequest);
        assert!(parse(&format!(r#"{{"type":"leave","id":"{ID}","conversation":"{ID}"}}"#)).is_ok());
    }
}
