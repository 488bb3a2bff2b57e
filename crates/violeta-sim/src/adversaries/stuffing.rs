//! Stuffing: vertices full of what was ordered before (valid, and to be skipped), and now and then of rubbish (invalid,
//! and to be paid for).

use bytes::Bytes;
use violeta_types::{Item, ValidatorIndex};

use super::puppet::Puppeteer;
use crate::dice::Dice;

/// Items of a stuffed vertex, at most.
const ITEMS_MAX: u64 = 40;

pub(super) struct Stuffing;

impl Puppeteer for Stuffing {
    fn variants(&mut self, _dice: &mut Dice) -> usize {
        1
    }

    fn shows(&mut self, _: &mut Dice, _: usize, _: usize, _: ValidatorIndex) -> bool {
        true
    }

    fn items(&mut self, dice: &mut Dice, seen: &[Item]) -> Vec<Item> {
        let count = dice.below(ITEMS_MAX);
        let mut items: Vec<Item> = match seen.is_empty() {
            true => Vec::new(),
            false => (0..count).map(|_| dice.pick(seen).clone()).collect(),
        };
        match dice.below(40) {
            0 => items.push(Item::Client(Bytes::copy_from_slice(&dice.bytes()))),
            1 => items.push(Item::System(Bytes::from_static(b"not mine to order"))),
            2 => items.extend(seen.first().map(forged)),
            _ => {}
        }
        items
    }
}

/// A transaction with one bit of its signature changed.
fn forged(item: &Item) -> Item {
    let mut bytes = item.bytes().to_vec();
    if let Some(last) = bytes.last_mut() {
        *last ^= 1;
    }
    Item::Client(bytes.into())
}
