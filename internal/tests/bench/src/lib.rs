//! What the measuring program and what it measures share: the CPU time, the memory and the cores of processes, and how far
//! consumers have come.

pub mod processes;
pub mod progress;
