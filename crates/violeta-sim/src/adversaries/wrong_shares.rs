//! Wrong shares: of coins, so that nobody learns a leader; of seals, so that there is none.

use violeta_crypto::threshold::{ShareSigner, ThresholdMessage};
use violeta_types::ThresholdShare;

use crate::dice::Dice;

/// Signs some messages rightly and gives rubbish for others, always the same for the same message.
pub(crate) struct LyingSigner<S> {
    honest: S,
    wrong_permille: u64,
    salt: u64,
}

impl<S> LyingSigner<S> {
    pub(crate) fn draw(honest: S, dice: &mut Dice) -> Self {
        LyingSigner {
            honest,
            wrong_permille: if dice.coin() {
                1_000
            } else {
                dice.within(100..=900)
            },
            salt: dice.number(),
        }
    }
}

impl<S: ShareSigner> ShareSigner for LyingSigner<S> {
    fn share(&self, message: &ThresholdMessage) -> ThresholdShare {
        let mut dice = Dice::fork(self.salt, &message.digest().to_string());
        let mut share = self.honest.share(message);
        if dice.chance(self.wrong_permille) {
            share.0[..32].copy_from_slice(&dice.bytes());
        }
        share
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use violeta_crypto::{MockThreshold, Threshold};
    use violeta_types::{HeadId, ValidatorIndex};

    #[test]
    fn wrong_shares_are_found_out() {
        let group = MockThreshold::insecure(4, 3, [7; 32]).unwrap();
        let liar = LyingSigner {
            honest: group.signer(ValidatorIndex(3)),
            wrong_permille: 1_000,
            salt: 1,
        };
        let message = ThresholdMessage::seal(&HeadId::default());
        let share = liar.share(&message);
        assert_eq!(share, liar.share(&message), "the same lie each time");
        assert!(!group.verify_share(&message, ValidatorIndex(3), &share));
    }
}
