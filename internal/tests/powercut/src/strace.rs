//! Parses lines of `strace -f -y -xx` into calls.

use std::collections::HashMap;

/// The system calls that have to be traced, in the form of `strace -e trace=`.
pub const CALLS: &str = "open,openat,creat,close,read,readv,write,writev,pwrite64,pwritev,pwritev2,lseek,ftruncate,truncate,\
fallocate,fsync,fdatasync,sync_file_range,rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,rmdir,dup,dup2,dup3,\
fcntl,link,linkat,symlink,symlinkat,copy_file_range,sendfile";

/// Why a trace is refused.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// A line has no known form.
    #[error("line {0} of the trace cannot be read: {1}")]
    Line(usize, String),
    /// A call that the model does not know has changed the folder.
    #[error("line {0} of the trace: {1} on the folder is not modelled")]
    Unsupported(usize, String),
}

/// A system call, at its beginning or at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Call {
    /// The line in the trace of its end, or of its beginning.
    pub(crate) line: usize,
    pub(crate) name: String,
    pub(crate) args: Vec<Arg>,
    /// The result; `None` at the beginning of a call.
    pub(crate) result: Option<i64>,
    /// The number of the call, the same at its beginning and end.
    pub(crate) number: usize,
}

/// An argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Arg {
    /// A file descriptor, with the path of its file.
    Fd(i64, String),
    /// A path or data.
    Bytes(Vec<u8>),
    /// Anything else, as text.
    Word(String),
}

/// The calls of a trace, each at its beginning and at its end, in the order of the trace.
pub(crate) fn calls(trace: &str) -> Result<Vec<Call>, TraceError> {
    let mut found = Vec::new();
    let mut under_way: HashMap<&str, (String, usize)> = HashMap::new();
    for (number, text) in trace.lines().enumerate() {
        let line = number + 1;
        let wrong = || TraceError::Line(line, text.chars().take(120).collect());
        let (thread, rest) = text.split_once(' ').ok_or_else(wrong)?;
        let rest = rest.trim_start();
        if rest.starts_with("+++") || rest.starts_with("---") {
            continue;
        }
        if let Some(resumed) = rest.strip_prefix("<... ") {
            let (_, tail) = resumed.split_once(" resumed>").ok_or_else(wrong)?;
            let (head, number) = under_way.remove(thread).ok_or_else(wrong)?;
            found.extend(call(line, number, &format!("{head}{tail}")).ok_or_else(wrong)?);
        } else if let Some(head) = rest.strip_suffix(" <unfinished ...>") {
            found.extend(call(line, line, &format!("{head})")).ok_or_else(wrong)?);
            under_way.insert(thread, (head.to_owned(), line));
        } else {
            let Some(ended) = call(line, line, rest).ok_or_else(wrong)? else { continue };
            found.push(Call { result: None, ..ended.clone() });
            found.push(ended);
        }
    }
    Ok(found)
}

/// Parses `name(args) = result`; at the beginning of a call there is no result. The inner `None` stands for a call
/// that never returns.
fn call(line: usize, number: usize, text: &str) -> Option<Option<Call>> {
    let (name, mut rest) = text.split_once('(')?;
    let mut args = Vec::new();
    loop {
        rest = rest.trim_start_matches([' ', ',']);
        if let Some(after) = rest.strip_prefix(')') {
            let result = match after.trim_start().strip_prefix('=') {
                None => None,
                Some(result) if result.trim_start().starts_with('?') => return Some(None),
                Some(result) => Some(first_number(result.trim_start())?),
            };
            return Some(Some(Call { line, name: name.to_owned(), args, result, number }));
        }
        let (arg, after) = argument(rest)?;
        args.push(arg);
        rest = after;
    }
}

fn argument(text: &str) -> Option<(Arg, &str)> {
    if let Some(inner) = text.strip_prefix('"') {
        let end = inner.find('"')?;
        let after = &inner[end + 1..];
        // Data that strace has cut short cannot be used.
        return (!after.starts_with("...")).then_some((Arg::Bytes(bytes(&inner[..end])?), after));
    }
    let mut depth = 0_u32;
    let end = text.find(|char| {
        match char {
            '{' | '[' => depth += 1,
            '}' | ']' if depth > 0 => depth -= 1,
            ',' | ')' if depth == 0 => return true,
            _ => {}
        }
        false
    })?;
    let (word, after) = text.split_at(end);
    if let Some((fd, path)) = word.split_once('<')
        && let Some(path) = path.strip_suffix('>').or_else(|| path.strip_suffix(">(deleted"))
    {
        let number = if fd == "AT_FDCWD" { -100 } else { fd.parse().ok()? };
        let deleted = word.ends_with("(deleted");
        let path = if path.starts_with('\\') { String::from_utf8(bytes(path)?).ok()? } else { path.to_owned() };
        let path = if deleted { String::new() } else { path };
        let after = if deleted { after.strip_prefix(')')? } else { after };
        return Some((Arg::Fd(number, path), after));
    }
    Some((Arg::Word(word.to_owned()), after))
}

/// Decodes `\x41\x42` into bytes.
fn bytes(text: &str) -> Option<Vec<u8>> {
    let (codes, []) = text.as_bytes().as_chunks::<4>() else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    codes.iter().map(|[_, _, high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}

fn first_number(text: &str) -> Option<i64> {
    let end = text.find(|char: char| !char.is_ascii_digit() && char != '-').unwrap_or(text.len());
    text[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_read_at_their_beginning_and_at_their_end() {
        let trace = concat!(
            "7 openat(AT_FDCWD<\\x2f>, \"\\x2f\\x61\", O_RDWR|O_CREAT, 0666) = 3<\\x2f\\x61>\n",
            "7 write(3<\\x2f\\x61>, \"\\x68\\x22\", 2 <unfinished ...>\n",
            "8 fsync(4<\\x2f\\x62>(deleted)) = 0\n",
            "7 <... write resumed>) = 2\n",
            "7 exit_group(0) = ?\n",
            "7 +++ exited with 0 +++\n",
        );
        let calls = calls(trace).unwrap();
        let brief: Vec<_> = calls.iter().map(|call| (call.name.as_str(), call.result, call.number)).collect();
        let expected = [
            ("openat", None, 1),
            ("openat", Some(3), 1),
            ("write", None, 2),
            ("fsync", None, 3),
            ("fsync", Some(0), 3),
            ("write", Some(2), 2),
        ];
        assert_eq!(brief, expected);
        assert_eq!(calls[5].args[..2], [Arg::Fd(3, "/a".into()), Arg::Bytes(b"h\"".to_vec())]);
        assert_eq!(calls[4].args, [Arg::Fd(4, String::new())]);
    }
}
