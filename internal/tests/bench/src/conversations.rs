//! How the cost of a message grows with the number of conversations, none of which is in memory: on `klatsch`, after a
//! start, one message in each.

use anyhow::Result;
use testkit::numbered;

use crate::contest::Contest;
use crate::folder::Folder;
use crate::report::Figures;
use crate::wishes::Wishes;

/// Runs the rounds: so many conversations take turns.
pub(crate) async fn run(wishes: &Wishes) -> Result<()> {
    let contest =
        Contest { row: "conversations", contestants: &["100", "1000", "10000", "100000"], floor: Some("100") };
    contest.run(wishes, async |count| round(wishes, count.parse()?).await).await
}

async fn round(wishes: &Wishes, count: usize) -> Result<Figures> {
    let mut folder = Folder::new(wishes).await?;
    let open = async |messages: &mut crate::messages::Messages| {
        for number in 0..count {
            messages.open(&[numbered::user(number * 2), numbered::user(number * 2 + 1)]).await?;
        }
        Ok(())
    };
    folder.fill(open).await?;
    folder.single.program.start().await?;
    folder.judged(count as u64).await?;
    folder.single.program.stop().await?;
    // What a start costs without anything to do.
    folder.single.program.start().await?;
    let start = folder.cpu()?;
    folder.single.program.stop().await?;
    folder
        .fill(async |messages| {
            for number in 0..count {
                messages.known(numbered::user(number * 2), numbered::user(number * 2 + 1));
            }
            messages.say(count).await
        })
        .await?;
    folder.single.program.start().await?;
    folder.judged(count as u64).await?;
    let cpu = folder.cpu()?.saturating_sub(start);
    folder.single.program.stop().await?;
    folder.all_stored().await?;
    Ok(vec![("CPU us of a message, all cold, by conversations", cpu.as_secs_f64() * 1e6 / count as f64)])
}
