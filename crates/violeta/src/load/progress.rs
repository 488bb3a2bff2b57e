//! How far a load has got, in a small file: whoever runs the same command again goes on where it ended.
//!
//! ```text
//!   rows   ███████████████░░░░██████░░░░…………………
//!          executed       under way: signed, fate perhaps unknown
//! ```
//!
//! The file is replaced whole and synced before a transaction leaves. After a crash, those under way are asked for one
//! by one: an executed one counts; one whose nonce a certified state after its expiry shows unspent never will be
//! executed, and its rows are loaded again. So no row is loaded twice, and none is left out. A nonce is its key's: while
//! any are under way, a load goes on with the key that signed them, and no other. What is done is done, whoever goes on.
//!
//! One process at a time has the file ([`Lock`]).
//!
//! When all rows are loaded the file stays, as a record that says so: the same load isn't done twice by mistake. A record
//! of another load (the file has changed, say) gives way; the progress of one that hasn't ended doesn't. What takes a
//! record's place keeps it until one of its own rows is loaded, over any number of runs, and puts it back if it came to
//! nothing.

use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use violeta_client::Receipt;
use violeta_node::files::{PUBLIC_MODE, write_atomic};
use violeta_types::{ChainId, ClientPublicKey, Digest, Domain, Nonce, TimeMs, TxId};

use super::loader::{Entry, Ledger};
use super::lock::Lock;
use super::row_set::RowSet;
use crate::error::{CliError, CliResult};
use crate::terminal::count;

const VERSION: u32 = 5;
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What is loaded, and where to: a progress of something else doesn't count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Task {
    /// The chain.
    pub(crate) chain: ChainId,
    /// The namespace.
    pub(crate) namespace: String,
    /// Digest of the file.
    pub(crate) source: Digest,
    /// How the file is read: as which rows, and of which columns.
    pub(crate) reading: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct UnderWay {
    transaction: TxId,
    nonce: Nonce,
    expires: TimeMs,
    rows: RowSet,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    version: u32,
    task: Task,
    /// Whose nonces those under way have.
    key: ClientPublicKey,
    /// All rows are loaded that can be.
    #[serde(default)]
    finished: bool,
    done: RowSet,
    under_way: Vec<UnderWay>,
    /// The load that was complete before this one began, while nothing of this one is known to be loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    replaced: Option<Complete>,
}

/// A load of which all rows are loaded that can be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Complete {
    task: Task,
    key: ClientPublicKey,
    done: RowSet,
}

impl Complete {
    fn of(state: State) -> Complete {
        let State {
            task, key, done, ..
        } = state;
        Complete { task, key, done }
    }

    fn into_state(self) -> State {
        let Complete { task, key, done } = self;
        State {
            version: VERSION,
            task,
            key,
            finished: true,
            done,
            under_way: Vec::new(),
            replaced: None,
        }
    }
}

/// What every form of the file says.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

/// How far a load has got.
pub(crate) struct Progress {
    path: PathBuf,
    _lock: Lock,
    state: State,
    on_done: Box<dyn FnMut(u64) + Send>,
}

impl Progress {
    /// Goes on with what the file says, or begins anew; `key` signs what follows.
    ///
    /// # Errors
    /// If the file is of another task, or another key's transactions are under way, or another process has it; or if it
    /// can't be read.
    pub(crate) fn open(path: PathBuf, task: Task, key: ClientPublicKey) -> CliResult<Progress> {
        let lock = Lock::of(&path)?;
        let fresh = State {
            version: VERSION,
            task,
            key,
            finished: false,
            done: RowSet::default(),
            under_way: Vec::new(),
            replaced: None,
        };
        let found = match std::fs::File::open(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
            Err(e) => {
                return Err(CliError::failed(format!(
                    "can't open {}: {e}",
                    path.display()
                )));
            }
            Ok(file) => {
                let mut text = String::new();
                file.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
                Some(read_state(&text, &path, &fresh)?)
            }
        };
        let state = match found {
            Some(found) if found.task == fresh.task => State { key, ..found },
            // One that isn't complete is no record: it was refused above.
            Some(record) => State {
                replaced: Some(Complete::of(record)),
                ..fresh
            },
            None => fresh,
        };
        Ok(Progress {
            path,
            _lock: lock,
            state,
            on_done: Box::new(|_| {}),
        })
    }

    /// Calls `on_done` with the number of rows of each transaction that was executed.
    pub(crate) fn watch(&mut self, on_done: impl FnMut(u64) + Send + 'static) {
        self.on_done = Box::new(on_done);
    }

    /// Whether this load was done to its end before.
    pub(crate) fn is_finished(&self) -> bool {
        self.state.finished
    }

    /// Begins a finished load anew. One that isn't finished goes on where it ended.
    pub(crate) fn begin_again(&mut self) {
        if self.state.finished {
            let complete = Complete::of(self.state.clone());
            self.state.finished = false;
            self.state.done = RowSet::default();
            self.state.replaced = Some(complete);
        }
    }

    /// Rows that are known to be loaded.
    pub(crate) fn done(&self) -> &RowSet {
        &self.state.done
    }

    /// Transactions whose fate isn't known, their nonces, and when they expire.
    pub(crate) fn unknown(&self) -> Vec<(TxId, Nonce, TimeMs)> {
        self.state
            .under_way
            .iter()
            .map(|u| (u.transaction, u.nonce, u.expires))
            .collect()
    }

    /// A transaction that was under way has been executed.
    pub(crate) fn learn_executed(&mut self, transaction: TxId) {
        let (done, under_way) = (&mut self.state.done, &mut self.state.under_way);
        under_way.retain(|u| {
            let executed = u.transaction == transaction;
            if executed {
                done.add_all(&u.rows);
            }
            !executed
        });
        if self.state.done.len() > 0 {
            self.state.replaced = None;
        }
    }

    /// A transaction that was under way did nothing, and never will.
    pub(crate) fn learn_void(&mut self, transaction: TxId) {
        self.state
            .under_way
            .retain(|u| u.transaction != transaction);
    }

    /// How many transactions there are whose fate isn't known, and of how many rows.
    pub(crate) fn under_way(&self) -> (usize, u64) {
        let rows = self.state.under_way.iter().map(|u| u.rows.len()).sum();
        (self.state.under_way.len(), rows)
    }

    /// The load is complete: the file stays as a record of that.
    ///
    /// # Errors
    /// If it can't be written.
    pub(crate) fn finish(&mut self) -> CliResult {
        self.state.finished = true;
        self.close()
    }

    /// The load ends here: what it has come to is kept. If that is nothing, all is as it was before.
    ///
    /// # Errors
    /// If the file can't be written, or removed.
    pub(crate) fn close(&self) -> CliResult {
        if self.state.done.len() > 0 || !self.state.under_way.is_empty() {
            return self.save(&self.state);
        }
        if let Some(record) = &self.state.replaced {
            return self.save(&record.clone().into_state());
        }
        match std::fs::remove_file(&self.path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e.into()),
            _ => Ok(()),
        }
    }

    fn save(&self, state: &State) -> CliResult {
        let text = serde_json::to_string_pretty(state)?;
        Ok(write_atomic(&self.path, text.as_bytes(), PUBLIC_MODE)?)
    }
}

/// What a file says, if whoever begins with `fresh` can go on with it, or it is the record of a load that is over.
fn read_state(text: &str, path: &Path, fresh: &State) -> CliResult<State> {
    let name = path.display();
    let remedy = format!("if what it says doesn't matter, remove it: rm {name}");
    let no_progress = |e: serde_json::Error| {
        CliError::failed(format!("{name} isn't a progress file: {e}")).help(&remedy)
    };
    let Versioned { version } = serde_json::from_str(text).map_err(no_progress)?;
    if version != VERSION {
        return Err(CliError::failed(format!(
            "{name} was written by another version of this program: its form is {version}, and this one's {VERSION}"
        ))
        .help(format!("go on with that version; {remedy}")));
    }
    let state: State = serde_json::from_str(text).map_err(no_progress)?;
    if state.task != fresh.task && !state.finished {
        return Err(CliError::failed(format!(
            "{name} is the progress of another load (file, namespace, format, columns or chain)"
        ))
        .help(remedy));
    }
    if state.key != fresh.key && !state.under_way.is_empty() {
        return Err(CliError::failed(format!(
            "{name} is of a load that another key signed, {}: what became of {} that it left under way can't be found \
             out with this one",
            state.key,
            count(state.under_way.len(), "transaction")
        ))
        .help(format!(
            "go on with the --key that began it (`violeta key show` says whose a file is); {remedy}"
        )));
    }
    Ok(state)
}

impl Ledger for Progress {
    fn begun(&mut self, entry: &Entry) -> CliResult {
        self.state.under_way.push(UnderWay {
            transaction: entry.transaction,
            nonce: entry.nonce,
            expires: entry.expires,
            rows: entry.rows.clone(),
        });
        self.save(&self.state)
    }

    fn done(&mut self, entry: &Entry, _: &Receipt) -> CliResult {
        // Written with the next one that begins: until then it would only be asked for once more.
        self.learn_executed(entry.transaction);
        (self.on_done)(entry.rows.len());
        Ok(())
    }

    fn void(&mut self, entry: &Entry) {
        self.learn_void(entry.transaction);
    }
}

/// The digest of a file.
///
/// # Errors
/// If it can't be read.
pub(crate) fn digest(path: &Path) -> CliResult<Digest> {
    let failed =
        |e: std::io::Error| CliError::failed(format!("can't read {}: {e}", path.display()));
    let mut file = std::fs::File::open(path).map_err(failed)?;
    let mut hasher = Domain::File.hasher();
    let mut buffer = vec![0; 64 << 10];
    loop {
        match file.read(&mut buffer).map_err(failed)? {
            0 => return Ok(Digest(*hasher.finalize().as_bytes())),
            n => {
                hasher.update(&buffer[..n]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task() -> Task {
        Task {
            chain: ChainId::default(),
            namespace: "n".into(),
            source: Digest::ZERO,
            reading: "k".into(),
        }
    }

    fn entry(n: u8, begin: u64, end: u64) -> Entry {
        let mut rows = RowSet::default();
        rows.add(begin, end);
        Entry {
            transaction: TxId(Digest([n; 32])),
            nonce: Nonce(u64::from(n)),
            expires: TimeMs(u64::from(n)),
            rows,
        }
    }

    const KEY: ClientPublicKey = ClientPublicKey([1; 32]);
    const OTHER_KEY: ClientPublicKey = ClientPublicKey([2; 32]);

    fn open(path: &Path, task: Task) -> CliResult<Progress> {
        Progress::open(path.to_owned(), task, KEY)
    }

    /// The same load of another file.
    fn other_file() -> Task {
        Task {
            source: Digest([1; 32]),
            ..task()
        }
    }

    /// Loads all ten rows.
    fn load_all(path: &Path) {
        let mut progress = open(path, task()).unwrap();
        let only = entry(1, 0, 10);
        progress.begun(&only).unwrap();
        progress.learn_executed(only.transaction);
        progress.finish().unwrap();
    }

    #[test]
    fn killed_in_the_middle_it_knows_what_was_under_way() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p");
        let mut progress = open(&path, task()).unwrap();
        let entries = [
            entry(1, 0, 10),
            entry(2, 10, 30),
            entry(3, 30, 60),
            entry(4, 60, 100),
        ];
        for entry in &entries[..3] {
            progress.begun(entry).unwrap();
        }
        progress.learn_executed(entries[0].transaction);
        progress.learn_executed(entries[2].transaction);
        progress.begun(&entries[3]).unwrap();
        drop(progress);

        let mut again = open(&path, task()).unwrap();
        assert_eq!(again.done().len(), 40);
        assert!(
            again.done().contains(9) && !again.done().contains(10) && again.done().contains(30)
        );
        let unknown: Vec<TxId> = again.unknown().iter().map(|u| u.0).collect();
        assert_eq!(unknown, [entries[1].transaction, entries[3].transaction]);

        // The one was executed after all, the other came to nothing: its rows are loaded anew.
        again.learn_executed(entries[3].transaction);
        again.learn_void(entries[1].transaction);
        again.begun(&entry(5, 10, 30)).unwrap();
        drop(again);
        let third = open(&path, task()).unwrap();
        assert_eq!(third.done().len(), 80);
        assert_eq!(third.unknown().len(), 1);
    }

    #[test]
    fn the_progress_of_something_else_isnt_taken_up() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p");
        let mut progress = open(&path, task()).unwrap();
        progress.begun(&entry(1, 0, 10)).unwrap();
        drop(progress);
        let other = Task {
            namespace: "m".into(),
            ..task()
        };
        let error = open(&path, other).err().unwrap();
        assert!(error.message.contains("another load"), "{error}");
        std::fs::write(&path, "{").unwrap();
        assert!(open(&path, task()).is_err());
    }

    #[test]
    fn what_another_key_left_under_way_isnt_judged_by_this_ones_nonces() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p");
        let with = |key| Progress::open(path.clone(), task(), key);
        let mut progress = with(KEY).unwrap();
        let entries = [entry(1, 0, 10), entry(2, 10, 20)];
        for entry in &entries {
            progress.begun(entry).unwrap();
        }
        drop(progress);
        let error = with(OTHER_KEY).err().unwrap();
        assert!(error.message.contains("another key"), "{error}");
        assert!(error.message.contains(&KEY.to_string()), "{error}");

        // Nothing is under way any more: whoever goes on, what is done is done, and what it signs is its own.
        let mut progress = with(KEY).unwrap();
        progress.learn_executed(entries[0].transaction);
        progress.learn_void(entries[1].transaction);
        progress.close().unwrap();
        drop(progress);
        let mut progress = with(OTHER_KEY).unwrap();
        assert_eq!(progress.done().len(), 10);
        progress.begun(&entries[1]).unwrap();
        drop(progress);
        assert!(with(KEY).is_err());
        assert_eq!(with(OTHER_KEY).unwrap().unknown().len(), 1);
    }

    #[test]
    fn a_finished_load_is_finished_whichever_key_asks() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p");
        load_all(&path);
        assert!(
            Progress::open(path, task(), OTHER_KEY)
                .unwrap()
                .is_finished()
        );
    }

    #[test]
    fn two_loads_dont_keep_one_progress() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p");
        let first = open(&path, task()).unwrap();
        let error = Progress::open(path.clone(), task(), OTHER_KEY)
            .err()
            .unwrap();
        assert!(error.message.contains("another load"), "{error}");
        drop(first);
        open(&path, task()).unwrap();
    }

    #[test]
    fn a_file_of_another_version_is_told_from_no_progress_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p");
        let former = r#"{"version": 4, "task": {}, "finished": true, "done": [], "under_way": []}"#;
        std::fs::write(&path, former).unwrap();
        let error = open(&path, task()).err().unwrap();
        assert!(error.message.contains("another version"), "{error}");
        let help = error.help.unwrap();
        assert!(help.contains("go on with that version"), "{help}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), former);
    }

    #[test]
    fn a_finished_load_is_remembered_until_another_takes_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p");
        load_all(&path);
        let mut again = open(&path, task()).unwrap();
        assert!(again.is_finished());
        again.begin_again();
        assert!(!again.is_finished() && again.done().len() == 0);
        drop(again);
        let other = open(&path, other_file()).unwrap();
        assert!(!other.is_finished() && other.done().len() == 0);
    }

    #[test]
    fn the_record_of_a_finished_load_outlives_one_that_came_to_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p");
        load_all(&path);
        let record = std::fs::read(&path).unwrap();
        for task in [task(), other_file()] {
            // It ends before anything left,
            let mut again = open(&path, task.clone()).unwrap();
            again.begin_again();
            again.close().unwrap();
            drop(again);
            assert_eq!(std::fs::read(&path).unwrap(), record);
            // or what left was refused.
            let mut again = open(&path, task).unwrap();
            again.begin_again();
            again.begun(&entry(2, 0, 10)).unwrap();
            assert_ne!(std::fs::read(&path).unwrap(), record);
            again.void(&entry(2, 0, 10));
            again.close().unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), record);
        }
    }

    #[test]
    fn the_record_of_a_finished_load_outlives_one_that_was_killed_and_came_to_nothing() {
        for task in [task(), other_file()] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("p");
            load_all(&path);
            let record = std::fs::read(&path).unwrap();
            let mut killed = open(&path, task.clone()).unwrap();
            killed.begin_again();
            killed.begun(&entry(2, 0, 10)).unwrap();
            drop(killed);
            // The next run finds out that it expired, and ends before anything else leaves.
            let mut next = open(&path, task.clone()).unwrap();
            assert!(!next.is_finished());
            next.learn_void(entry(2, 0, 10).transaction);
            next.close().unwrap();
            drop(next);
            assert_eq!(std::fs::read(&path).unwrap(), record);

            // Once a row of it is loaded there is nothing to go back to.
            let mut again = open(&path, task.clone()).unwrap();
            again.begin_again();
            again.begun(&entry(3, 0, 5)).unwrap();
            again.learn_executed(entry(3, 0, 5).transaction);
            again.begun(&entry(4, 5, 10)).unwrap();
            drop(again);
            let mut last = open(&path, task).unwrap();
            last.learn_void(entry(4, 5, 10).transaction);
            last.close().unwrap();
            drop(last);
            assert!(!std::fs::read_to_string(&path).unwrap().contains("replaced"));
            assert_ne!(std::fs::read(&path).unwrap(), record);
        }
    }

    #[test]
    fn to_begin_again_is_for_a_finished_load_and_another_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p");
        let mut progress = open(&path, task()).unwrap();
        progress.begun(&entry(1, 0, 10)).unwrap();
        progress.learn_executed(entry(1, 0, 10).transaction);
        progress.close().unwrap();
        drop(progress);
        let mut again = open(&path, task()).unwrap();
        again.begin_again();
        assert_eq!(again.done().len(), 10);
    }

    #[test]
    fn a_load_that_came_to_nothing_leaves_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p");
        let mut progress = open(&path, task()).unwrap();
        let (first, second) = (entry(1, 0, 10), entry(2, 10, 20));
        progress.begun(&first).unwrap();
        progress.begun(&second).unwrap();
        progress.void(&first);
        progress.close().unwrap();
        assert!(path.exists(), "the second may have been executed");
        assert_eq!(progress.under_way(), (1, 10));
        progress.void(&second);
        progress.close().unwrap();
        assert!(!path.exists());
        progress.finish().unwrap();
        assert!(!path.exists(), "a file without rows is no load");
    }

    #[test]
    fn a_changed_file_is_another_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, "a").unwrap();
        let before = digest(&path).unwrap();
        std::fs::write(&path, "b").unwrap();
        assert_ne!(digest(&path).unwrap(), before);
    }
}
