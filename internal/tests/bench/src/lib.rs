//! What the measuring program and the floors share: the CPU time, the memory and the cores of processes.

pub mod processes;
