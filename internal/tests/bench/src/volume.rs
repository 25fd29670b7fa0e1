//! What many messages leave behind, on `klatsch`: memory, the time of a restart, and bytes on disk.

use std::path::Path;

use anyhow::Result;
use bench::processes::memory_of;
use testkit::numbered;
use tokio::time::Instant;

use crate::contest::Contest;
use crate::folder::Folder;
use crate::report::Figures;
use crate::wishes::Wishes;

const KLATSCH: &str = "klatsch";
/// Messages, unless another number is asked for.
const MESSAGES: usize = 1_000_000;
const CONVERSATIONS: usize = 1_000;

/// Runs the rounds.
pub(crate) async fn run(wishes: &Wishes) -> Result<()> {
    let contest = Contest { row: "volume", contestants: &[KLATSCH], floor: None };
    contest.run(wishes, async |_| round(wishes).await).await
}

async fn round(wishes: &Wishes) -> Result<Figures> {
    let (mut folder, count) = (Folder::new(wishes).await?, wishes.messages.unwrap_or(MESSAGES));
    let empty = bytes_of(&folder.single.data())?;
    folder
        .fill(async |messages| {
            for number in 0..CONVERSATIONS {
                messages.open(&[numbered::user(number * 2), numbered::user(number * 2 + 1)]).await?;
            }
            messages.say(count).await
        })
        .await?;
    let logged = bytes_of(&folder.single.data())?;
    folder.single.program.start().await?;
    let (begun, cpu) = (Instant::now(), folder.cpu()?);
    folder.judged((count + CONVERSATIONS) as u64).await?;
    let (took, cpu) = (begun.elapsed(), folder.cpu()? - cpu);
    let memory = memory_of(folder.pid()?)?;
    folder.single.program.stop().await?;
    let all = bytes_of(&folder.single.data())?;
    folder.all_stored().await?;
    let restart = folder.single.program.start().await?;
    let after = memory_of(folder.pid()?)?;
    folder.single.program.kill().await?;
    let (each, mb) = (|bytes: u64| bytes as f64 / count as f64, |bytes: u64| bytes as f64 / 1e6);
    Ok(vec![
        ("messages caught up per second", count as f64 / took.as_secs_f64()),
        ("CPU us of each", cpu.as_secs_f64() * 1e6 / count as f64),
        ("MB of memory, caught up", mb(memory)),
        ("MB of memory, after a restart", mb(after)),
        ("seconds of a restart", restart.as_secs_f64()),
        ("bytes on disk a message, in the log", each(logged.saturating_sub(empty))),
        ("bytes on disk a message, with rows and deliveries", each(all.saturating_sub(empty))),
    ])
}

/// The bytes that the folder's files take on disk.
fn bytes_of(folder: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt as _;
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() { bytes_of(&entry.path())? } else { metadata.blocks() * 512 };
    }
    Ok(bytes)
}
