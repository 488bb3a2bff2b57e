//! What a run of seeds is asked to be.

use std::ops::RangeInclusive;

/// Options of a run. Together with a seed they name one world, for ever the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Sizes of committees, from 2 to [`Options::VALIDATORS_MAX`]; there are liars from 4 on.
    pub validators: RangeInclusive<usize>,
    /// Whether networks, disks, clocks and power fail.
    pub faults: bool,
    /// Whether up to f validators lie.
    pub adversaries: bool,
    /// Virtual seconds until all heals. What comes after ends by itself.
    pub virtual_seconds: u64,
}

impl Options {
    /// Validators of a world, at most.
    pub const VALIDATORS_MAX: usize = 64;
    /// Virtual seconds until all heals, at most: transactions must not expire before a world ends.
    pub const VIRTUAL_SECONDS_MAX: u64 = 300;

    /// Whether there are such worlds.
    ///
    /// # Errors
    /// Which option must change, and to what.
    pub fn check(&self) -> Result<(), BadOptions> {
        let (low, high) = (*self.validators.start(), *self.validators.end());
        if low < 2 || low > high || high > Self::VALIDATORS_MAX {
            return Err(BadOptions::Validators(low, high));
        }
        if !(1..=Self::VIRTUAL_SECONDS_MAX).contains(&self.virtual_seconds) {
            return Err(BadOptions::VirtualSeconds(self.virtual_seconds));
        }
        Ok(())
    }

    /// The command that runs one seed of these worlds again, with a trace.
    pub fn replay_command(&self, seed: u64) -> String {
        let (low, high) = (self.validators.start(), self.validators.end());
        let mut command = format!(
            "violeta sim --seed {seed} --validators {low}..{high} --virtual-seconds {}",
            self.virtual_seconds
        );
        if !self.faults {
            command.push_str(" --no-faults");
        }
        if !self.adversaries {
            command.push_str(" --no-adversaries");
        }
        command.push_str(" --trace");
        command
    }
}

impl Default for Options {
    fn default() -> Self {
        Options {
            validators: 4..=7,
            faults: true,
            adversaries: true,
            virtual_seconds: 6,
        }
    }
}

/// Options that name no world.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadOptions {
    /// See the message.
    #[error("no committee has {0} to {1} validators: choose from 2 to {max}", max = Options::VALIDATORS_MAX)]
    Validators(usize, usize),
    /// See the message.
    #[error("{0} virtual seconds: choose from 1 to {max}", max = Options::VIRTUAL_SECONDS_MAX)]
    VirtualSeconds(u64),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_out_of_bounds_are_refused_by_name() {
        let check = |validators: RangeInclusive<usize>, virtual_seconds| {
            let options = Options {
                validators,
                virtual_seconds,
                ..Options::default()
            };
            options.check()
        };
        assert_eq!(Options::default().check(), Ok(()));
        assert_eq!(check(0..=4, 5), Err(BadOptions::Validators(0, 4)));
        #[expect(clippy::reversed_empty_ranges, reason = "that is the mistake")]
        let reversed = check(7..=4, 5);
        assert_eq!(reversed, Err(BadOptions::Validators(7, 4)));
        assert_eq!(check(4..=65, 5), Err(BadOptions::Validators(4, 65)));
        assert_eq!(check(4..=7, 0), Err(BadOptions::VirtualSeconds(0)));
        assert_eq!(check(4..=7, 301), Err(BadOptions::VirtualSeconds(301)));
    }

    #[test]
    fn a_replay_names_every_option_that_isnt_the_usual() {
        let options = Options {
            faults: false,
            ..Options::default()
        };
        let command =
            "violeta sim --seed 7 --validators 4..7 --virtual-seconds 6 --no-faults --trace";
        assert_eq!(options.replay_command(7), command);
    }
}
