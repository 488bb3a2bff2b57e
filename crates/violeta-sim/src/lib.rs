//! The simulated world: network, disk, clock, faults, adversaries, checkers
