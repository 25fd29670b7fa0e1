//! How late the tool itself is: whether its own process, and not the server, makes latencies long.
//!
//! Two things are measured: the time from when a send was due until the device had handed it to its connection, and how
//! late a task that only sleeps is woken. The second one also shows a tool that is too slow to take what it receives,
//! because then every task waits.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::world::World;

/// How often the sleeper looks at the clock.
const EVERY: Duration = Duration::from_millis(10);

/// Sleeps and measures until `ended`.
pub(crate) async fn watch(world: Arc<World>, ended: CancellationToken) {
    let mut due = Instant::now() + EVERY;
    loop {
        tokio::select! {
            biased;
            () = ended.cancelled() => return,
            () = sleep_until(due) => {}
        }
        let now = Instant::now();
        world.late(now.saturating_duration_since(due));
        // After a long pause, the moments that were missed count as one.
        due = (due + EVERY).max(now);
    }
}
