//! The project's own programs as separate processes: built, started, watched until ready, stopped in every way that
//! a test needs, and never left behind.

mod balancer;
mod build;
mod clock;
mod cluster;
mod program;
mod single;

pub use balancer::{Balancer, Balancing};
pub use build::{all, build_nothing, executable};
pub use cluster::{Cluster, Service};
pub use program::{Program, Ran, Setup};
pub use single::Single;
