//! Turns system calls into steps: the changes of one folder, in order.

use std::collections::HashMap;
use std::path::Path;

use crate::strace::{Arg, Call, TraceError, calls};

/// System calls that change files in ways that the model does not cover: a recording that has one of them on the
/// folder is refused.
pub const UNSUPPORTED: [&str; 12] = [
    "writev",
    "pwritev",
    "pwritev2",
    "truncate",
    "fallocate",
    "sync_file_range",
    "link",
    "linkat",
    "symlink",
    "symlinkat",
    "copy_file_range",
    "sendfile",
];

/// A file or folder, numbered in the order of creation; 0 is the recorded folder itself.
pub(crate) type Node = usize;

/// A change of the folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Bytes were written.
    Write {
        /// The file.
        node: usize,
        /// The offset.
        at: u64,
        /// The bytes.
        data: Vec<u8>,
    },
    /// The length of a file was set.
    Length {
        /// The file.
        node: usize,
        /// The length.
        bytes: u64,
    },
    /// A name was given to a file or folder, replacing its former one, or was removed.
    Named {
        /// The folder of the name.
        folder: usize,
        /// The name.
        name: String,
        /// The file or folder; `None` when the name was removed.
        node: Option<usize>,
        /// The former folder and name, if it was renamed: that name is removed in the same step.
        before: Option<(usize, String)>,
    },
    /// A sync has begun: it makes the steps before this one durable.
    SyncBegun {
        /// The file or folder.
        node: usize,
        /// The number of the sync.
        number: usize,
    },
    /// A sync has returned.
    SyncDone {
        /// The file or folder.
        node: usize,
        /// The number of the sync.
        number: usize,
    },
    /// The process acknowledged a line, which must hold after any later cut.
    Acknowledged(String),
}

/// The changes that a process made to a folder.
#[derive(Debug, Default)]
pub struct Recording {
    /// The steps, in order.
    pub steps: Vec<Step>,
    /// Which nodes are folders.
    pub(crate) folders: Vec<bool>,
}

/// The state while a trace is parsed.
struct Reader<'a> {
    recording: Recording,
    folder: &'a str,
    acknowledged: &'a str,
    /// The file or folder of each path.
    paths: HashMap<String, Node>,
    /// The offset of the next `write`, by descriptor.
    offsets: HashMap<i64, FileOffset>,
    lengths: HashMap<Node, u64>,
}

#[derive(Clone, Copy)]
struct FileOffset {
    at: u64,
    append: bool,
}

impl Recording {
    /// Parses a trace of `strace -f -y -xx -s LARGE -e trace=CALLS` into the changes in `folder` and the lines that
    /// were written to the file `acknowledged`.
    ///
    /// # Errors
    /// When the trace cannot be read, or a call on the folder is not modelled.
    pub fn parse(trace: &str, folder: &Path, acknowledged: &Path) -> Result<Self, TraceError> {
        let (folder, acknowledged) = (folder.to_string_lossy(), acknowledged.to_string_lossy());
        let mut reader = Reader {
            recording: Self { steps: Vec::new(), folders: vec![true] },
            folder: &folder,
            acknowledged: &acknowledged,
            paths: HashMap::from([(folder.to_string(), 0)]),
            offsets: HashMap::new(),
            lengths: HashMap::new(),
        };
        for call in calls(trace)? {
            match call.result {
                None => reader.begin(&call),
                Some(result) if result >= 0 => reader.end(&call, result)?,
                Some(_) => {}
            }
        }
        Ok(reader.recording)
    }
}

impl Reader<'_> {
    fn begin(&mut self, call: &Call) {
        match (call.name.as_str(), &call.args[..]) {
            // Acknowledged from the beginning of the call: a reader could have seen the line from then on.
            ("write", [Arg::Fd(_, path), Arg::Bytes(data), ..]) if path == self.acknowledged => {
                let lines = String::from_utf8_lossy(data);
                self.recording.steps.extend(lines.lines().map(|line| Step::Acknowledged(line.to_owned())));
            }
            ("fsync" | "fdatasync", [Arg::Fd(_, path)]) => {
                if let Some(node) = self.paths.get(path) {
                    self.recording.steps.push(Step::SyncBegun { node: *node, number: call.number });
                }
            }
            _ => {}
        }
    }

    fn end(&mut self, call: &Call, result: i64) -> Result<(), TraceError> {
        let name = call.name.as_str();
        match (name, &call.args[..]) {
            ("open" | "openat" | "creat", args) => self.opened(args, result),
            ("close", [Arg::Fd(fd, _)]) => drop(self.offsets.remove(fd)),
            // Two descriptors that share an offset are not modelled.
            ("dup" | "dup2" | "dup3", [Arg::Fd(fd, path), ..])
                if self.paths.contains_key(path) && self.offsets.contains_key(fd) =>
            {
                return Err(TraceError::Unsupported(call.line, name.to_owned()));
            }
            // The clone has a copied offset instead of a shared one. That is right while only one of the two writes,
            // as with a clone that is only kept to sync or close the file.
            ("fcntl", [Arg::Fd(fd, path), Arg::Word(what), ..]) if what.starts_with("F_DUPFD") => {
                if let (true, Some(offset)) = (self.paths.contains_key(path), self.offsets.get(fd).copied()) {
                    self.offsets.insert(result, offset);
                }
            }
            ("read", [Arg::Fd(fd, _), ..]) => self.advance(*fd, result),
            ("lseek", [Arg::Fd(fd, _), ..]) => {
                if let Some(offset) = self.offsets.get_mut(fd) {
                    offset.at = result.unsigned_abs();
                }
            }
            ("write", [Arg::Fd(fd, path), Arg::Bytes(data), ..]) => {
                if let Some(node) = self.paths.get(path).copied() {
                    let offset = self.offsets.get(fd).copied().unwrap_or(FileOffset { at: 0, append: false });
                    let at = if offset.append { self.lengths.get(&node).copied().unwrap_or(0) } else { offset.at };
                    self.write(node, at, &data[..usize::try_from(result).unwrap_or(0).min(data.len())]);
                    self.advance(*fd, result);
                }
            }
            ("pwrite64", [Arg::Fd(_, path), Arg::Bytes(data), _, Arg::Word(at)]) => {
                if let Some(node) = self.paths.get(path).copied() {
                    let at = at.parse().map_err(|_| TraceError::Line(call.line, at.clone()))?;
                    self.write(node, at, &data[..usize::try_from(result).unwrap_or(0).min(data.len())]);
                }
            }
            ("ftruncate", [Arg::Fd(_, path), Arg::Word(bytes)]) => {
                if let Some(node) = self.paths.get(path).copied() {
                    let bytes = bytes.parse().map_err(|_| TraceError::Line(call.line, bytes.clone()))?;
                    self.lengths.insert(node, bytes);
                    self.recording.steps.push(Step::Length { node, bytes });
                }
            }
            ("fsync" | "fdatasync", [Arg::Fd(_, path)]) => {
                if let Some(node) = self.paths.get(path) {
                    self.recording.steps.push(Step::SyncDone { node: *node, number: call.number });
                }
            }
            ("rename" | "renameat" | "renameat2", args) => self.renamed(args),
            ("mkdir" | "mkdirat", args) => {
                if let Some(path) = self.inside(args).first() {
                    let node = self.node(true);
                    self.name(path, Some(node), None);
                }
            }
            ("unlink" | "unlinkat" | "rmdir", args) => {
                if let Some(path) = self.inside(args).first() {
                    self.name(path, None, None);
                }
            }
            (name, args) if UNSUPPORTED.contains(&name) && self.concerns(args) => {
                return Err(TraceError::Unsupported(call.line, name.to_owned()));
            }
            _ => {}
        }
        Ok(())
    }

    fn opened(&mut self, args: &[Arg], fd: i64) {
        let flags = args.iter().find_map(|arg| match arg {
            Arg::Word(word) if word.starts_with("O_") => Some(word.as_str()),
            _ => None,
        });
        let (Some(path), flags) = (self.inside(args).first().cloned(), flags.unwrap_or_default()) else { return };
        let node = match self.paths.get(&path) {
            Some(node) => *node,
            None if flags.contains("O_CREAT") => {
                let node = self.node(false);
                self.name(&path, Some(node), None);
                node
            }
            None => return,
        };
        if flags.contains("O_TRUNC") && self.lengths.get(&node).is_some_and(|bytes| *bytes > 0) {
            self.lengths.insert(node, 0);
            self.recording.steps.push(Step::Length { node, bytes: 0 });
        }
        self.offsets.insert(fd, FileOffset { at: 0, append: flags.contains("O_APPEND") });
    }

    fn renamed(&mut self, args: &[Arg]) {
        let [from, to] = &self.inside(args)[..] else { return };
        let Some(node) = self.paths.get(from).copied() else { return };
        // The paths below a renamed folder change, too.
        let inside: Vec<(String, Node)> = self
            .paths
            .iter()
            .filter_map(|(path, node)| Some((path.strip_prefix(&format!("{from}/"))?.to_owned(), *node)))
            .collect();
        for (rest, node) in inside {
            self.paths.remove(&format!("{from}/{rest}"));
            self.paths.insert(format!("{to}/{rest}"), node);
        }
        self.paths.remove(from);
        let before = split(from).and_then(|(folder, name)| Some((*self.paths.get(folder)?, name.to_owned())));
        self.name(to, Some(node), before);
    }

    fn name(&mut self, path: &str, node: Option<Node>, before: Option<(Node, String)>) {
        match node {
            Some(node) => drop(self.paths.insert(path.to_owned(), node)),
            None => drop(self.paths.remove(path)),
        }
        let Some((folder, name)) = split(path) else { return };
        let Some(folder) = self.paths.get(folder).copied() else { return };
        self.recording.steps.push(Step::Named { folder, name: name.to_owned(), node, before });
    }

    fn node(&mut self, folder: bool) -> Node {
        self.recording.folders.push(folder);
        self.recording.folders.len() - 1
    }

    fn write(&mut self, node: Node, at: u64, data: &[u8]) {
        let end = at + data.len() as u64;
        let length = self.lengths.entry(node).or_default();
        *length = end.max(*length);
        self.recording.steps.push(Step::Write { node, at, data: data.to_vec() });
    }

    fn advance(&mut self, fd: i64, bytes: i64) {
        if let Some(offset) = self.offsets.get_mut(&fd) {
            offset.at += bytes.unsigned_abs();
        }
    }

    /// The absolute paths among the arguments that lie in the folder; a relative name belongs to the descriptor
    /// before it.
    fn inside(&self, args: &[Arg]) -> Vec<String> {
        let (mut base, mut found) = (String::new(), Vec::new());
        for arg in args {
            match arg {
                Arg::Fd(_, path) => base.clone_from(path),
                Arg::Bytes(bytes) => {
                    let text = String::from_utf8_lossy(bytes).trim_end_matches('/').to_owned();
                    let path = if text.starts_with('/') { text } else { format!("{base}/{text}") };
                    if path.starts_with(&format!("{}/", self.folder)) || path == self.folder {
                        found.push(path);
                    }
                }
                Arg::Word(_) => {}
            }
        }
        found
    }

    fn concerns(&self, args: &[Arg]) -> bool {
        let known = |arg: &Arg| matches!(arg, Arg::Fd(_, path) if self.paths.contains_key(path));
        args.iter().any(known) || !self.inside(args).is_empty()
    }
}

fn split(path: &str) -> Option<(&str, &str)> {
    path.rsplit_once('/')
}
