//! Rebuilds the folder as a power cut could leave it.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use crate::recording::{Node, Recording, Step};

/// The unit that a disk writes completely or not at all, in bytes.
const SECTOR: u64 = 512;

/// The fate of writes that were not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// All are lost.
    Nothing,
    /// All are kept: the process died, but the power did not fail.
    Everything,
    /// Each is kept or lost as a whole.
    Some,
    /// Each is kept, lost, or kept in some of its sectors.
    Sectors,
    /// All before a random write are kept, and the beginning of that write.
    Beginning,
}

/// Which sync makes changes of names durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// One journal for the file system: any sync makes all earlier changes of names durable.
    Journaled,
    /// Only a sync of the folder makes its changes of names durable.
    PerFolder,
}

/// A source of random numbers.
pub trait Luck {
    /// A random number below `bound`.
    fn below(&mut self, bound: u64) -> u64;
}

impl<F: FnMut(u64) -> u64> Luck for F {
    fn below(&mut self, bound: u64) -> u64 {
        self(bound)
    }
}

/// The index of a step.
type Number = usize;

/// What is durable after a step.
#[derive(Default)]
struct Durable {
    /// By file: the index of the step up to which its data is durable.
    data: HashMap<Node, Number>,
    /// By folder: the index of the step up to which its names are durable.
    names: HashMap<Node, Number>,
    /// The same for all names, where there is one journal.
    journal: Number,
}

impl Recording {
    /// The lines acknowledged before a cut at step `at`: they must hold after it.
    pub fn acknowledged(&self, at: usize) -> impl Iterator<Item = &str> {
        self.steps[..at].iter().filter_map(|step| match step {
            Step::Acknowledged(line) => Some(line.as_str()),
            _ => None,
        })
    }

    /// Rebuilds the folder in `into` (empty or missing) as a power cut before step `at` could leave it.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn cut(&self, at: usize, keep: Keep, names: Names, luck: &mut dyn Luck, into: &Path) -> io::Result<()> {
        let durable = self.durable(at);
        let tree = self.tree(at, keep, names, &durable, luck);
        let mut data: HashMap<Node, Vec<(Number, &Step)>> = HashMap::new();
        for (number, step) in self.steps[..at].iter().enumerate() {
            if let Step::Write { node, .. } | Step::Length { node, .. } = step {
                data.entry(*node).or_default().push((number, step));
            }
        }
        self.build(0, &tree, &data, &durable, keep, luck, into)
    }

    fn durable(&self, at: usize) -> Durable {
        let (mut durable, mut begun) = (Durable::default(), HashMap::new());
        for (number, step) in self.steps[..at].iter().enumerate() {
            match step {
                Step::SyncBegun { number: sync, .. } => drop(begun.insert(*sync, number)),
                Step::SyncDone { node, number: sync } => {
                    let Some(covered) = begun.remove(sync) else { continue };
                    let kind = if self.folders[*node] { &mut durable.names } else { &mut durable.data };
                    let before = kind.entry(*node).or_default();
                    *before = covered.max(*before);
                    durable.journal = covered.max(durable.journal);
                }
                _ => {}
            }
        }
        durable
    }

    /// The content of each folder, after the changes of names that are kept.
    fn tree(
        &self,
        at: usize,
        keep: Keep,
        names: Names,
        durable: &Durable,
        luck: &mut dyn Luck,
    ) -> HashMap<Node, BTreeMap<String, Node>> {
        // The step up to which changes are kept, for each folder or for all.
        let mut until: HashMap<Node, Number> = HashMap::new();
        let mut reach = |least: Number| match keep {
            Keep::Nothing => least,
            Keep::Everything => at,
            Keep::Some | Keep::Sectors | Keep::Beginning => {
                least + usize::try_from(luck.below((at - least) as u64 + 1)).unwrap_or(0)
            }
        };
        let all = reach(durable.journal);
        let mut tree: HashMap<Node, BTreeMap<String, Node>> = HashMap::new();
        for (number, step) in self.steps[..at].iter().enumerate() {
            let Step::Named { folder, name, node, before } = step else { continue };
            let reached = match names {
                Names::Journaled => all,
                Names::PerFolder => {
                    let least = durable.names.get(folder).copied().unwrap_or(0);
                    *until.entry(*folder).or_insert_with(|| reach(least))
                }
            };
            if number >= reached {
                continue;
            }
            if let Some((folder, name)) = before {
                tree.entry(*folder).or_default().remove(name);
            }
            match node {
                Some(node) => drop(tree.entry(*folder).or_default().insert(name.clone(), *node)),
                None => drop(tree.entry(*folder).or_default().remove(name)),
            }
        }
        tree
    }

    #[allow(clippy::too_many_arguments)] // a walk: what it carries along
    fn build(
        &self,
        node: Node,
        tree: &HashMap<Node, BTreeMap<String, Node>>,
        data: &HashMap<Node, Vec<(Number, &Step)>>,
        durable: &Durable,
        keep: Keep,
        luck: &mut dyn Luck,
        into: &Path,
    ) -> io::Result<()> {
        if self.folders[node] {
            fs::create_dir_all(into)?;
            for (name, child) in tree.get(&node).into_iter().flatten() {
                self.build(*child, tree, data, durable, keep, luck, &into.join(name))?;
            }
            return Ok(());
        }
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(into)?;
        let steps = data.get(&node).map(Vec::as_slice).unwrap_or_default();
        let synced = durable.data.get(&node).copied().unwrap_or(0);
        let (safe, open) = steps.split_at(steps.partition_point(|(number, _)| *number < synced));
        for (_, step) in safe {
            apply(&file, step)?;
        }
        lucky(&file, open, keep, luck)
    }
}

/// Applies a random part of the steps that were not synced, as `keep` allows.
fn lucky(file: &fs::File, open: &[(Number, &Step)], keep: Keep, luck: &mut dyn Luck) -> io::Result<()> {
    let last = usize::try_from(luck.below(open.len() as u64 + 1)).unwrap_or(0);
    for (at, (_, step)) in open.iter().enumerate() {
        match keep {
            Keep::Nothing => break,
            Keep::Everything => apply(file, step)?,
            Keep::Some | Keep::Sectors if luck.below(2) == 0 => apply(file, step)?,
            Keep::Some => {}
            Keep::Sectors => sectors(file, step, luck)?,
            Keep::Beginning if at < last => apply(file, step)?,
            Keep::Beginning => {
                if let Step::Write { node, at, data } = step {
                    let some = usize::try_from(luck.below(data.len() as u64 + 1)).unwrap_or(0);
                    apply(file, &Step::Write { node: *node, at: *at, data: data[..some].to_vec() })?;
                }
                break;
            }
        }
    }
    Ok(())
}

/// Applies some sectors of a write; the file may get the length that the whole write would give it.
fn sectors(file: &fs::File, step: &Step, luck: &mut dyn Luck) -> io::Result<()> {
    let Step::Write { at, data, .. } = step else { return Ok(()) };
    let mut begin = 0;
    while begin < data.len() {
        let room = SECTOR - (at + begin as u64) % SECTOR;
        let end = data.len().min(begin + usize::try_from(room).unwrap_or(1));
        if luck.below(2) == 0 {
            file.write_all_at(&data[begin..end], at + begin as u64)?;
        }
        begin = end;
    }
    let end = at + data.len() as u64;
    if luck.below(2) == 0 && file.metadata()?.len() < end {
        file.set_len(end)?;
    }
    Ok(())
}

fn apply(file: &fs::File, step: &Step) -> io::Result<()> {
    match step {
        Step::Write { at, data, .. } => file.write_all_at(data, *at),
        Step::Length { bytes, .. } => file.set_len(*bytes),
        _ => Ok(()),
    }
}
