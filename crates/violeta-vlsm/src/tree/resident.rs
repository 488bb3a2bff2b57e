//! How much of a tree is in memory, and making it less (vlsm.md §1.8).

use std::sync::Arc;

use super::Leaf;
use super::node::{Child, Link, Node, Tree};

impl<L: Leaf> Tree<L> {
    /// Nodes in memory below this root.
    pub(crate) fn loaded(&self) -> usize {
        self.root.as_ref().map_or(0, |(_, child)| loaded(child))
    }

    /// The same tree with about `budget` nodes in memory, spread evenly, the upper ones first. Nodes whose records lie
    /// at `written` or above stay, since they can't be read yet.
    pub(crate) fn thinned(&self, budget: usize, written: u64) -> Tree<L> {
        let root = self.root.as_ref();
        let root = root.map(|(digest, child)| (*digest, thinned(child, budget, written)));
        Tree { root }
    }
}

fn loaded<L: Leaf>(child: &Child<L>) -> usize {
    match child {
        Child::Leaf(leaf) => leaf.loaded(),
        Child::Node(Link::Stored(_)) => 0,
        Child::Node(Link::Loaded(node)) => {
            1 + node
                .slots()
                .map(|(_, _, child)| loaded(child))
                .sum::<usize>()
        }
    }
}

fn thinned<L: Leaf>(child: &Child<L>, budget: usize, written: u64) -> Child<L> {
    match child {
        Child::Leaf(leaf) => Child::Leaf(leaf.thinned(budget, written)),
        Child::Node(Link::Loaded(node)) if node.at.offset() < written && budget == 0 => {
            Child::Node(Link::Stored(node.at))
        }
        Child::Node(Link::Loaded(node)) if loaded(child) > budget => {
            let node = thinned_node(node, budget.saturating_sub(1), written);
            Child::Node(Link::Loaded(Arc::new(node)))
        }
        Child::Node(link) => Child::Node(link.clone()),
    }
}

/// Shares the budget among the children in proportion; what rounding leaves goes to the next.
fn thinned_node<L: Leaf>(node: &Node<L>, budget: usize, written: u64) -> Node<L> {
    let parts: Vec<_> = node.slots().map(|(_, _, child)| loaded(child)).collect();
    let total = parts.iter().sum::<usize>().max(1);
    let mut rest = 0;
    let children = node.slots().zip(parts).map(|((_, _, child), part)| {
        rest += budget * part;
        let share = rest / total;
        rest %= total;
        thinned(child, share, written)
    });
    node.with_children(children.collect())
}
