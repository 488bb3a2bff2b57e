//! One validator: what survives a loss of power, and what doesn't.
//!
//! ```text
//!   Process ── disk (journal, store), keys, clock ─────────────────── stays
//!      └── Life ── replica · machine · journal handle · index ─────── ends with a crash
//! ```
//!
//! A life has a number; what was under way for an earlier one (a job, a sync, a wake-up) finds nobody.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::sync::Arc;

use bytes::Bytes;
use violeta_consensus::Tuning;
use violeta_db::DbMachine;
use violeta_journal::{Disk, DiskError, FaultyDisk, MemoryDisk, Operation};
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
    /// It loses its store, and not its journal, when it is down the next time.
    pub(crate) loses_store: bool,
    /// Whether it lost its store since its last life.
    store_lost: bool,
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
    /// Whether the store was lost, and the journal has blocks to rebuild it from.
    pub(crate) rebuilds_store: bool,
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
            loses_store: false,
            store_lost: false,
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
        let rebuilds_store = std::mem::take(&mut self.store_lost) && position.height < recorded;
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
            rebuilds_store,
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

    /// Removes what the store's directory holds, while nobody uses it.
    pub(crate) fn remove_store(&mut self) -> Result<(), StorageError> {
        assert!(self.life.is_none(), "nobody uses it");
        self.store_lost = true;
        remove_files(&self.memory, STORE).map_err(|error| error.to_string())
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

/// Removes all files in a directory and below it, durably. Directories stay: who opens what is in them makes them anyhow.
fn remove_files(disk: &dyn Disk, dir: &str) -> Result<(), DiskError> {
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        let names = match disk.list(&dir) {
            // The power went before it was made.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            names => names?,
        };
        for path in names.iter().map(|name| format!("{dir}/{name}")) {
            match disk.remove(&path) {
                Err(error) if error.kind() == ErrorKind::IsADirectory => dirs.push(path),
                removed => removed?,
            }
        }
        disk.sync_dir(&dir)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use violeta_journal::OpenMode;

    #[test]
    fn a_lost_store_is_gone_also_after_a_crash_and_what_lies_beside_it_stays() {
        let disk = MemoryDisk::new();
        for dir in ["store", "store/nodes", "journal"] {
            disk.create_dir(dir).unwrap();
        }
        for path in ["store/a", "store/nodes/b", "journal/c"] {
            let file = disk.open(path, OpenMode::New).unwrap();
            file.sync_data().unwrap();
        }
        for dir in ["", "store", "store/nodes", "journal"] {
            disk.sync_dir(dir).unwrap();
        }
        remove_files(&disk, "store").unwrap();
        remove_files(&disk, "nowhere").unwrap();
        disk.crash(&mut || 0);
        assert_eq!(disk.list("store").unwrap(), ["nodes"]);
        assert!(disk.list("store/nodes").unwrap().is_empty());
        assert_eq!(disk.list("journal").unwrap(), ["c"]);
    }
}
