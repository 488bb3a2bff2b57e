//! The simulated world.
mod checkers;
mod clock;
mod dice;
mod network;
mod scheduler;
mod trace;
pub use checkers::{Property, Violation};
pub use dice::Dice;
