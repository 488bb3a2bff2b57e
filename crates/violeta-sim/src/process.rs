//! One validator: what survives a loss of power, and what doesn't.
//!
//! ```text
//!   Process ── disk (journal, store), keys, clock ─────────────────── stays
//!      └── Life ── replica · machine · journal handle · index ─────── ends with a crash
//! ```
//!
//! A life has a number; what was under way for an earlier one (a job, a sync, a wake-up) finds nobody.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use violeta_consensus::Tuning;
use violeta_db::DbMachine;
use violeta_journal::{Disk, FaultyDisk, MemoryDisk, Operation};
use violeta_replica::machine::Event as MachineEvent;
use violeta_replica::{
    Identity, Machine, Position, Provision, Record, RecordKind, RejoinNonce, Replica, Setup,
    Workshop,
};
use violeta_types::ValidatorIndex;

use crate::adversaries::{Adversary, Puppet};
use crate::clock::{Clock, Micros};
use crate::dice::Dice;
use crate::storage::{Recovered, Storage, StorageError};

/// Where the store lies on a validator's disk.
const STORE: &str = "store";
/// Bytes of a segment of the store's log: small, so that there are several, and checkpoints too.
const STORE_SEGMENT_BYTES: u64 = 256 << 10;

/// One validator.
pub(crate) struct Process {
    pub(crate) index: ValidatorIndex,
    pub(crate) clock: Clock,
    /// The number of its life.
    pub(crate) life_number: u64,
    pub(crate) life: Option<Life>,
    pub(crate) workshop: Workshop,
    /// Over its replica's messages, if it lies.
    pub(crate) adversaries: Vec<Box<dyn Adversary>>,
    /// In place of a replica, if it lies that way.
    pub(crate) puppet: Option<Puppet>,
    pub(crate) dice: Dice,
    /// How long a sync takes; none: as the world's plan says.
    pub(crate) slow_disk: Option<Micros>,
    /// It loses power in the midst of the next sync, and stays down this long.
    pub(crate) doomed: Option<Micros>,
    /// It loses its disk with the power.
    pub(crate) forgets: bool,
    /// Whether it then asks the others, and goes on.
    pub(crate) rejoins: bool,
    /// It lost its disk, and hasn't the one that it was set up with.
    pub(crate) forgot: bool,
    /// Where the journal's durable records ended, and all of them, when the power went.
    lost_at: Option<(violeta_journal::Position, violeta_journal::Position)>,
    memory: MemoryDisk,
    faulty: FaultyDisk,
}

/// What a process holds in memory.
pub(crate) struct Life {
    pub(crate) replica: Replica,
    pub(crate) machine: DbMachine,
    pub(crate) storage: Storage,
    /// What the machine has yet to take, in order.
    pub(crate) queue: VecDeque<MachineEvent>,
    /// Whether the machine is at work on the first of them.
    pub(crate) machine_busy: bool,
    /// The mark of the sync that is under way.
    pub(crate) syncing: Option<u64>,
    /// The newest mark that was asked for meanwhile.
    pub(crate) sync_wanted: Option<u64>,
    /// The next wake-up that is on its way.
    pub(crate) wake: Option<Micros>,
}

/// What a start found.
pub(crate) struct Started {
    pub(crate) recovered: Recovered,
    pub(crate) position: Position,
    /// Whether the store was ahead of the journal, and went back.
    pub(crate) went_back: bool,
    /// Whether a sync was cut short by the crash before: some of its bytes are there, not all.
    pub(crate) cut_short: bool,
}

/// What every life of a process is made from.
pub(crate) struct Makings<'a> {
    pub(crate) cast: &'a crate::cast::Cast,
    pub(crate) tuning: Tuning,
    pub(crate) part_bytes_max: usize,
}

impl Process {
    pub(crate) fn new(index: ValidatorIndex, workshop: Workshop, dice: Dice) -> Self {
        let memory = MemoryDisk::new();
        let faulty = FaultyDisk::new(Arc::new(memory.clone()));
        Process {
            index,
            clock: Clock::default(),
            life_number: 0,
            life: None,
            workshop,
            adversaries: Vec::new(),
            puppet: None,
            dice,
            slow_disk: None,
            doomed: None,
            forgets: false,
            rejoins: false,
            forgot: false,
            lost_at: None,
            memory,
            faulty,
        }
    }

    /// Whether it runs.
    pub(crate) fn is_up(&self) -> bool {
        self.life.is_some() || self.puppet.is_some()
    }

    /// Starts it: journal first, then the store, then the replica.
    pub(crate) fn start(
        &mut self,
        now: Micros,
        makings: &Makings<'_>,
    ) -> Result<Started, StorageError> {
        assert!(self.life.is_none(), "a process has one life at a time");
        if self.life_number == 0 {
            self.provision(makings)?;
        }
        self.life_number += 1;
        let base = self.dice.below(1 << 40);
        self.clock.restart(now, base);
        let nonce = self.nonce();
        let mut replica = self.replica(makings, nonce);
        let disk: Arc<dyn Disk> = Arc::new(self.faulty.clone());
        let mut restore = |kind: RecordKind, bytes: Bytes| {
            replica
                .restore(kind, bytes)
                .map_err(|error| error.to_string())
        };
        let chain = makings.cast.genesis.chain_id();
        let (storage, recovered) = Storage::open(disk.clone(), chain, self.index, &mut restore)?;
        let end = recovered.end;
        let cut_short = self
            .lost_at
            .take()
            .is_some_and(|(synced, all)| synced < end && end < all);
        let genesis = &makings.cast.genesis;
        let options = violeta_vlsm::Options {
            log_segment_bytes: STORE_SEGMENT_BYTES,
            checkpoint_bytes: STORE_SEGMENT_BYTES,
            ..violeta_vlsm::Options::default()
        };
        let mut machine =
            DbMachine::open(genesis, disk, STORE, options).map_err(|error| error.to_string())?;
        // The power went between two syncs: the journal lacks blocks that the store has (replica.md §3).
        let recorded = replica.recorded_height();
        let went_back = machine.position().height > recorded;
        if went_back {
            machine
                .roll_back(genesis, recorded)
                .map_err(|error| error.to_string())?;
        }
        let position = machine.position();
        replica
            .start(self.clock.read(now), position)
            .map_err(|error| error.to_string())?;
        self.life = Some(Life {
            replica,
            machine,
            storage,
            queue: VecDeque::new(),
            machine_busy: false,
            syncing: None,
            sync_wanted: None,
            wake: None,
        });
        Ok(Started {
            recovered,
            position,
            went_back,
            cut_short,
        })
    }

    /// Names this life, if it would ask the others what an earlier one did.
    fn nonce(&mut self) -> Option<RejoinNonce> {
        let mut nonce = [0; 32];
        if self.rejoins {
            for part in nonce.chunks_exact_mut(8) {
                part.copy_from_slice(&self.dice.number().to_le_bytes());
            }
        }
        self.rejoins.then_some(RejoinNonce(nonce))
    }

    fn replica(&self, makings: &Makings<'_>, rejoin: Option<RejoinNonce>) -> Replica {
        Replica::new(Setup {
            epoch: makings.cast.epoch.clone(),
            identity: Some(Identity {
                index: self.index,
                key: makings.cast.validator_key(self.index),
            }),
            workshop: self.workshop.clone(),
            tuning: makings.tuning,
            part_bytes_max: makings.part_bytes_max,
            rejoin,
        })
    }

    /// The power goes. A sync or flush that was under way may have got any part of its bytes to the disk.
    pub(crate) fn crash(&mut self) {
        let Some(mut life) = self.life.take() else {
            return;
        };
        if life.syncing.is_some() && self.dice.coin() {
            self.faulty
                .fail_next(Operation::Sync, std::io::ErrorKind::Other);
            // It fails, and nobody is left to be told.
            drop(life.storage.tear(self.dice.coin()));
        }
        self.lost_at = Some(life.storage.ends());
        if life.machine_busy && self.dice.coin() {
            self.faulty
                .fail_next(Operation::Sync, std::io::ErrorKind::Other);
            if let Some(event) = life.queue.pop_front() {
                life.machine.handle(event);
            }
        }
        drop(life);
        self.faulty.repair();
        let dice = &mut self.dice;
        self.memory.crash(&mut || dice.number());
        // One that comes back must also stand a crash that leaves it its disk.
        let spared = self.forgot && self.rejoins && self.dice.coin();
        if self.forgets && !spared {
            self.memory = MemoryDisk::new();
            self.faulty = FaultyDisk::new(Arc::new(self.memory.clone()));
            self.forgot = true;
        }
    }

    /// Whoever runs this validator sets it up: once, before its first life.
    fn provision(&self, makings: &Makings<'_>) -> Result<(), StorageError> {
        let record = Record::Provision(Provision {
            chain: makings.cast.genesis.chain_id(),
            validator: makings.cast.validator_key(self.index).public_key(),
        });
        let disk: Arc<dyn Disk> = Arc::new(self.faulty.clone());
        let nothing = &mut |_, _| Ok(());
        let (mut storage, _) =
            Storage::open(disk, makings.cast.genesis.chain_id(), self.index, nothing)?;
        storage.append(&record)?;
        storage.sync()
    }
}
