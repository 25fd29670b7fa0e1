//! What the process uses of its machine, and which program it is: read whenever the metrics are.
//!
//! The names of the first ones are those that every program with Prometheus metrics has, so that boards and rules made for
//! others fit. On a system without `/proc` they are absent.

use std::fmt;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::info::Info;
use rustix::param::{clock_ticks_per_second, page_size};
use tokio::runtime::Handle;

use crate::{Metrics, descriptors};

/// The commit that the program was built from, where the build names it.
const COMMIT: Option<&str> = option_env!("KLATSCH_COMMIT");

/// A metric whose value is read when it is asked for.
#[derive(Clone)]
pub(crate) struct Reading {
    kind: MetricType,
    read: Arc<dyn Fn() -> Option<f64> + Send + Sync>,
}

/// Registers what a process tells about itself. Called once, within the runtime.
pub fn register(metrics: &Metrics, program: &'static str, version: &'static str) {
    let info = Info::new(vec![("program", program), ("version", version), ("commit", COMMIT.unwrap_or("unknown"))]);
    metrics.register("build", "The program, its version and the commit that it was built from", Build(Arc::new(info)));
    let common = |name: &str, help: &str, kind: MetricType, read: fn() -> Option<f64>| {
        metrics.register_common(name, help, Reading::new(kind, read));
    };
    common("process_cpu_seconds", "CPU time of the process", MetricType::Counter, cpu_seconds);
    common("process_resident_memory_bytes", "Memory in use", MetricType::Gauge, resident_bytes);
    common("process_open_fds", "Open file descriptors", MetricType::Gauge, open_descriptors);
    let descriptors_max = || Some(number(descriptors::limit()));
    common("process_max_fds", "The limit of open file descriptors", MetricType::Gauge, descriptors_max);
    common("process_start_time_seconds", "When the process began, Unix time", MetricType::Gauge, start_seconds);
    let tokio = Handle::current().metrics();
    let of_tokio = |name: &str, help: &str, kind: MetricType, read: fn(&tokio::runtime::RuntimeMetrics) -> f64| {
        let tokio = tokio.clone();
        metrics.register(name, help, Reading::new(kind, move || Some(read(&tokio))));
    };
    of_tokio("tokio_workers", "Worker threads of the runtime", MetricType::Gauge, |tokio| count(tokio.num_workers()));
    of_tokio("tokio_busy_seconds", "Time in which workers ran tasks", MetricType::Counter, busy_seconds);
    of_tokio("tokio_tasks", "Tasks that have not ended", MetricType::Gauge, |tokio| count(tokio.num_alive_tasks()));
    let queued = |tokio: &tokio::runtime::RuntimeMetrics| count(tokio.global_queue_depth());
    of_tokio("tokio_queued_tasks", "Tasks that wait for a worker", MetricType::Gauge, queued);
}

fn busy_seconds(tokio: &tokio::runtime::RuntimeMetrics) -> f64 {
    (0..tokio.num_workers()).map(|worker| tokio.worker_total_busy_duration(worker)).sum::<Duration>().as_secs_f64()
}

fn cpu_seconds() -> Option<f64> {
    let stat = Stat::read()?;
    // User and system time.
    Some((stat.field(14)? + stat.field(15)?) / number(clock_ticks_per_second()))
}

fn start_seconds() -> Option<f64> {
    let since_boot = Stat::read()?.field(22)? / number(clock_ticks_per_second());
    let system = fs::read_to_string("/proc/stat").ok()?;
    let boot: f64 = system.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    Some(boot + since_boot)
}

fn resident_bytes() -> Option<f64> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    Some(statm.split_whitespace().nth(1)?.parse::<f64>().ok()? * count(page_size()))
}

fn open_descriptors() -> Option<f64> {
    // One of them is that of the folder itself.
    Some(count(fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1)))
}

/// The fields of `/proc/self/stat`, from the third one on.
struct Stat(String);

impl Stat {
    fn read() -> Option<Self> {
        let text = fs::read_to_string("/proc/self/stat").ok()?;
        // The second field, the program's name in parentheses, may contain spaces and parentheses.
        Some(Self(text.rsplit_once(") ")?.1.to_owned()))
    }

    /// The field of that number, as `man 5 proc` counts them.
    fn field(&self, number: usize) -> Option<f64> {
        self.0.split(' ').nth(number.checked_sub(3)?)?.parse().ok()
    }
}

fn count(number_of: usize) -> f64 {
    number(number_of as u64)
}

#[allow(clippy::cast_precision_loss)] // seconds, pages and descriptors, far below 2^52
fn number(value: u64) -> f64 {
    value as f64
}

impl Reading {
    pub(crate) fn new(kind: MetricType, read: impl Fn() -> Option<f64> + Send + Sync + 'static) -> Self {
        Self { kind, read: Arc::new(read) }
    }
}

impl EncodeMetric for Reading {
    fn encode(&self, mut encoder: MetricEncoder) -> Result<(), fmt::Error> {
        let Some(value) = (self.read)() else { return Ok(()) };
        match self.kind {
            MetricType::Counter => encoder.encode_counter::<NoLabelSet, _, f64>(&value, None),
            _ => encoder.encode_gauge(&value),
        }
    }

    fn metric_type(&self) -> MetricType {
        self.kind
    }

    fn is_empty(&self) -> bool {
        (self.read)().is_none()
    }
}

impl fmt::Debug for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reading").field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// Which program this is, as labels of a metric that is always 1.
#[derive(Debug, Clone)]
struct Build(Arc<Info<Vec<(&'static str, &'static str)>>>);

impl EncodeMetric for Build {
    fn encode(&self, encoder: MetricEncoder) -> Result<(), fmt::Error> {
        self.0.encode(encoder)
    }

    fn metric_type(&self) -> MetricType {
        self.0.metric_type()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_process_tells_what_it_uses() {
        let metrics = Metrics::new();
        register(&metrics, "a-program", "1.2.3");
        let text = metrics.text();
        assert!(text.contains("klatsch_build_info{program=\"a-program\",version=\"1.2.3\",commit=\""), "{text}");
        let value = |name: &str| -> f64 {
            let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
            line.unwrap_or_else(|| panic!("{name} is not in {text}")).parse().unwrap()
        };
        assert!(value("process_cpu_seconds_total") >= 0.0);
        assert!(value("process_resident_memory_bytes") > 1e6);
        assert!(value("process_open_fds") >= 3.0 && value("process_open_fds") < value("process_max_fds"));
        let now = number(u64::try_from(metrics.clock().now_ms()).unwrap()) / 1_000.0;
        let age = now - value("process_start_time_seconds");
        assert!((-2.0..86_400.0).contains(&age), "the process began {age} s ago");
        assert!(value("klatsch_tokio_workers") >= 1.0 && value("klatsch_tokio_busy_seconds_total") >= 0.0);
    }
}
