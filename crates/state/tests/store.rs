//! What the store promises, on real files.

#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::collections::BTreeMap;

use proptest::prelude::*;
use state::{Batch, Durability, Family, Options, Read, StateError, Store, Write};

fn open(dir: &tempfile::TempDir) -> Store {
    Store::open(dir.path(), &Options::default()).unwrap()
}

fn all(store: &Store, family: Family, prefix: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut cursor = store.cursor(family);
    cursor.seek(prefix);
    let mut out = Vec::new();
    while let Some((k, v)) = cursor.next().unwrap() {
        out.push((k.to_vec(), v.to_vec()));
    }
    out
}

#[test]
fn a_synced_write_is_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let mut batch = Batch::new();
    batch.put(Family::Groups, b"a", b"1");
    batch.put(Family::Outbox, b"a", b"2");
    store.write(&mut batch, Durability::Synced).unwrap();
    assert!(batch.is_empty());
    drop(store);
    let store = open(&dir);
    assert_eq!(store.get(Family::Groups, b"a").unwrap().as_deref(), Some(&b"1"[..]));
    assert_eq!(store.get(Family::Outbox, b"a").unwrap().as_deref(), Some(&b"2"[..]));
    assert_eq!(store.get(Family::Sources, b"a").unwrap(), None);
}

#[test]
fn a_store_that_was_closed_has_no_log_to_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let log = |dir: &tempfile::TempDir| -> u64 {
        let files = std::fs::read_dir(dir.path()).unwrap().map(Result::unwrap);
        let logs = files.filter(|f| f.path().extension().is_some_and(|e| e == "log"));
        logs.map(|f| f.metadata().unwrap().len()).sum()
    };
    let store = open(&dir);
    let mut batch = Batch::new();
    for n in 0..10_000_u32 {
        batch.put(Family::Sources, &n.to_be_bytes(), &[n as u8; 1000]);
    }
    batch.put(Family::Meta, b"a", b"1");
    store.write(&mut batch, Durability::Synced).unwrap();
    assert!(log(&dir) > 10_000_000);
    drop(store);
    assert!(log(&dir) < 1000, "{} bytes", log(&dir));
    let store = open(&dir);
    assert_eq!(all(&store, Family::Sources, b"").len(), 10_000);
    assert_eq!(store.get(Family::Meta, b"a").unwrap().as_deref(), Some(&b"1"[..]));
}

#[test]
fn two_stores_cannot_have_one_directory() {
    let dir = tempfile::tempdir().unwrap();
    let _first = open(&dir);
    let second = Store::open(dir.path(), &Options::default());
    assert!(matches!(second, Err(StateError::Locked { .. })), "{second:?}");
    assert!(second.unwrap_err().to_string().contains("in use by another process"));
}

#[test]
fn a_directory_of_another_version_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let mut batch = Batch::new();
    batch.put(Family::Meta, b"\0format", b"99");
    store.write(&mut batch, Durability::Synced).unwrap();
    drop(store);
    let again = Store::open(dir.path(), &Options::default());
    assert!(matches!(&again, Err(StateError::Format { found, .. }) if found == "99"), "{again:?}");
}

#[test]
fn a_family_of_a_later_version_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(&dir));
    let mut options = rocksdb::Options::default();
    options.create_missing_column_families(true);
    let names = ["default", "sources", "arrangements", "groups", "multisets", "outbox", "backlog", "meta", "newer"];
    drop(rocksdb::DB::open_cf(&options, dir.path(), names).unwrap());
    let again = Store::open(dir.path(), &Options::default());
    assert!(matches!(&again, Err(StateError::Format { found, .. }) if found.contains("newer")), "{again:?}");
}

#[test]
fn a_cursor_stays_within_its_prefix_both_ways() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let mut batch = Batch::new();
    for key in [&b"a"[..], b"b", b"b1", b"b2", b"c", b"\xff\xff"] {
        batch.put(Family::Multisets, key, b"");
    }
    store.write(&mut batch, Durability::Buffered).unwrap();
    let keys = |pairs: Vec<(Vec<u8>, Vec<u8>)>| pairs.into_iter().map(|p| p.0).collect::<Vec<_>>();
    assert_eq!(keys(all(&store, Family::Multisets, b"b")), [b"b".to_vec(), b"b1".to_vec(), b"b2".to_vec()]);
    assert_eq!(keys(all(&store, Family::Multisets, b"\xff")), [b"\xff\xff".to_vec()]);
    let mut cursor = store.cursor(Family::Multisets);
    cursor.seek_last(b"b");
    let mut back = Vec::new();
    while let Some((key, _)) = cursor.next().unwrap() {
        back.push(key.to_vec());
    }
    assert_eq!(back, [b"b2".to_vec(), b"b1".to_vec(), b"b".to_vec()]);
    cursor.seek_last(b"d");
    assert!(cursor.next().unwrap().is_none());
    cursor.seek_from(b"b", b"b1");
    assert_eq!(cursor.next().unwrap().unwrap().0, b"b1");
}

#[test]
fn a_range_deleted_in_a_batch_leaves_what_the_batch_puts() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let mut batch = Batch::new();
    batch.put(Family::Groups, b"p1", b"old");
    batch.put(Family::Groups, b"p2", b"old");
    store.write(&mut batch, Durability::Buffered).unwrap();
    batch.put(Family::Groups, b"p2", b"new");
    batch.delete_prefix(Family::Groups, b"p");
    store.write(&mut batch, Durability::Buffered).unwrap();
    assert_eq!(all(&store, Family::Groups, b""), [(b"p2".to_vec(), b"new".to_vec())]);
}

#[test]
fn a_checkpoint_is_a_store_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let mut batch = Batch::new();
    batch.put(Family::Groups, b"a", b"1");
    store.write(&mut batch, Durability::Synced).unwrap();
    let copy = dir.path().join("copy");
    store.checkpoint(&copy).unwrap();
    batch.put(Family::Groups, b"a", b"2");
    store.write(&mut batch, Durability::Synced).unwrap();
    let copy = Store::open(&copy, &Options::default()).unwrap();
    assert_eq!(copy.get(Family::Groups, b"a").unwrap().as_deref(), Some(&b"1"[..]));
}

#[test]
fn a_cleared_store_is_empty_and_opens_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let mut batch = Batch::new();
    for family in Family::ALL {
        batch.put(family, b"\x01key", b"1");
    }
    store.write(&mut batch, Durability::Synced).unwrap();
    store.clear().unwrap();
    drop(store);
    let store = open(&dir);
    for family in Family::ALL {
        assert!(store.get(family, b"\x01key").unwrap().is_none());
    }
}

/// The body runs in a process of its own whose mounts nobody else sees (and end with it).
#[test]
fn a_full_disk_gives_a_clear_error_and_loses_nothing() {
    const INSIDE: &str = "TRIBUTARY_TEST_FULL_DISK";
    if let Ok(mount) = std::env::var(INSIDE) {
        return full_disk(std::path::Path::new(&mount));
    }
    let dir = tempfile::tempdir().unwrap();
    let unshare = |args: &[&std::ffi::OsStr]| {
        let mut command = std::process::Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount"]).args(args);
        command
    };
    if !unshare(&["true".as_ref()]).status().is_ok_and(|s| s.success()) {
        eprintln!("NOT TESTED: a full disk, because this machine allows no user namespaces");
        return;
    }
    let this = std::env::current_exe().unwrap();
    let name = "a_full_disk_gives_a_clear_error_and_loses_nothing".as_ref();
    let output = unshare(&[this.as_os_str(), "--exact".as_ref(), name, "--nocapture".as_ref()])
        .env(INSIDE, dir.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("the full disk was survived"), "{said}");
}

fn full_disk(mount: &std::path::Path) {
    let mounting = |options: &str| {
        let mut command = std::process::Command::new("mount");
        let done = command.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(mount).status().unwrap();
        assert!(done.success());
    };
    mounting("size=8m");
    let path = mount.join("state");
    let store = Store::open(&path, &Options::default()).unwrap();
    let mut batch = Batch::new();
    let mut written = 0u32;
    let error = loop {
        batch.put(Family::Sources, &written.to_be_bytes(), &vec![7; 100_000]);
        match store.write(&mut batch, Durability::Synced) {
            Ok(()) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 1000, "the disk never became full");
    };
    assert!(matches!(error, StateError::Full { .. }), "{error}");
    assert!(error.to_string().contains("no space left"));
    drop(store);
    mounting("remount,size=64m");
    let store = Store::open(&path, &Options::default()).unwrap();
    for i in 0..written {
        assert!(store.get(Family::Sources, &i.to_be_bytes()).unwrap().is_some(), "write {i} of {written} is lost");
    }
    assert!(store.get(Family::Sources, &written.to_be_bytes()).unwrap().is_none(), "a failed write is there");
    store.write(&mut batch, Durability::Synced).unwrap();
    assert!(store.get(Family::Sources, &written.to_be_bytes()).unwrap().is_some());
    println!("the full disk was survived after {written} writes");
}

#[derive(Debug, Clone)]
enum Step {
    Put(u8, Vec<u8>, u8),
    Delete(u8, Vec<u8>),
    DeletePrefix(u8, Vec<u8>),
    Commit,
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = || prop::collection::vec(0u8..4, 1..4);
    let step = prop_oneof![
        6 => (0u8..3, key(), any::<u8>()).prop_map(|(f, k, v)| Step::Put(f, k, v)),
        3 => (0u8..3, key()).prop_map(|(f, k)| Step::Delete(f, k)),
        1 => (0u8..3, key()).prop_map(|(f, k)| Step::DeletePrefix(f, k)),
        3 => Just(Step::Commit),
        1 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// Random batches against a map: committed ones are there whole and in order, an uncommitted one is not.
    #[test]
    fn the_store_holds_exactly_what_was_committed(steps in steps()) {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Some(open(&dir));
        let mut model: BTreeMap<(u8, Vec<u8>), Vec<u8>> = BTreeMap::new();
        let mut batch = Batch::new();
        let (mut ranges, mut writes) = (Vec::new(), Vec::new());
        for step in steps {
            match step {
                Step::Put(f, k, v) => {
                    batch.put(Family::ALL[f as usize], &k, &[v]);
                    writes.push((f, k, Some(vec![v])));
                }
                Step::Delete(f, k) => {
                    batch.delete(Family::ALL[f as usize], &k);
                    writes.push((f, k, None));
                }
                Step::DeletePrefix(f, k) => {
                    batch.delete_prefix(Family::ALL[f as usize], &k);
                    ranges.push((f, k));
                }
                Step::Commit => {
                    store.as_ref().unwrap().write(&mut batch, Durability::Buffered).unwrap();
                    for (f, prefix) in ranges.drain(..) {
                        model.retain(|(family, key), _| *family != f || !key.starts_with(&prefix));
                    }
                    for (f, k, v) in writes.drain(..) {
                        match v {
                            Some(v) => model.insert((f, k), v),
                            None => model.remove(&(f, k)),
                        };
                    }
                }
                Step::Reopen => {
                    drop(store.take());
                    store = Some(open(&dir));
                    batch.clear();
                    ranges.clear();
                    writes.clear();
                }
            }
            let store = store.as_ref().unwrap();
            for f in 0u8..3 {
                let expected: Vec<_> =
                    model.iter().filter(|((family, _), _)| *family == f).map(|((_, k), v)| (k.clone(), v.clone())).collect();
                prop_assert_eq!(all(store, Family::ALL[f as usize], b""), expected.clone());
                let keys: Vec<&[u8]> = expected.iter().map(|(k, _)| &k[..]).collect();
                let mut values = Vec::new();
                store.multi_get(Family::ALL[f as usize], &keys, &mut |_, v| values.push(v.map(<[u8]>::to_vec))).unwrap();
                prop_assert_eq!(values, expected.into_iter().map(|(_, v)| Some(v)).collect::<Vec<_>>());
            }
        }
    }
}

#[test]
fn what_is_written_behind_is_there_for_whoever_reads_and_in_its_order() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let (told, heard) = std::sync::mpsc::channel();
    for n in 0..50_u32 {
        let mut batch = store.spare();
        for key in 0..500_u32 {
            batch.put(Family::Groups, &key.to_be_bytes(), &n.to_be_bytes());
        }
        let told = told.clone();
        store.write_behind(batch, move |written| told.send((n, written.is_ok())).unwrap()).unwrap();
        if n % 7 == 3 {
            assert_eq!(store.get(Family::Groups, &9_u32.to_be_bytes()).unwrap().as_deref(), Some(&n.to_be_bytes()[..]));
            assert!(!store.is_behind());
        }
        if n % 7 == 5 {
            assert_eq!(all(&store, Family::Groups, b"")[499].1, n.to_be_bytes());
        }
        if n % 7 == 6 {
            let mut batch = Batch::new();
            batch.put(Family::Groups, &9_u32.to_be_bytes(), b"now");
            store.write(&mut batch, Durability::Synced).unwrap();
            store
                .multi_get(Family::Groups, &[&9_u32.to_be_bytes()], &mut |_, value| {
                    assert_eq!(value, Some(&b"now"[..]));
                })
                .unwrap();
        }
    }
    // Closing it waits, too.
    drop(store);
    assert_eq!(heard.try_iter().collect::<Vec<_>>(), (0..50).map(|n| (n, true)).collect::<Vec<_>>());
    assert_eq!(all(&open(&dir), Family::Groups, b"")[9].1, 49_u32.to_be_bytes());
}

#[test]
fn a_write_behind_that_failed_is_told_once_and_then_nothing_can_be_read_or_written() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let mut batch = Batch::new();
    batch.put(Family::Groups, b"a", b"1");
    store.write(&mut batch, Durability::Synced).unwrap();
    // Nothing can be written to a frozen store.
    let frozen = state::Frozen::of(&store, 1).unwrap();
    let written = || {
        let mut batch = Batch::new();
        batch.put(Family::Groups, b"b", b"2");
        batch
    };
    let (told, heard) = std::sync::mpsc::channel();
    let also_told = told.clone();
    frozen.write_behind(written(), move |written| told.send(written.is_ok()).unwrap()).unwrap();
    assert!(!heard.recv().unwrap());
    let error = frozen.settle().unwrap_err();
    assert!(matches!(error, StateError::Rocks { .. }), "{error}");
    let mut cursor = frozen.cursor(Family::Groups);
    cursor.seek(b"");
    assert!(matches!(cursor.next(), Err(StateError::Behind(_))));
    assert!(matches!(cursor.next(), Err(StateError::Behind(_))));
    let again = frozen.write_behind(written(), move |written| also_told.send(written.is_ok()).unwrap());
    let all = [
        frozen.get(Family::Groups, b"a").map(drop),
        frozen.multi_get(Family::Groups, &[b"a"], &mut |_, _| ()),
        frozen.write(&mut written(), Durability::Synced),
        frozen.settle(),
        again,
    ];
    assert!(all.iter().all(|r| matches!(r, Err(StateError::Behind(text)) if *text == error.to_string())), "{all:?}");
    assert!(heard.try_recv().is_err());
}

#[test]
fn who_writes_faster_than_is_written_waits() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let (open_gate, gate) = std::sync::mpsc::channel();
    let gate = std::sync::Mutex::new(gate);
    let gate = std::sync::Arc::new(gate);
    let accepted = std::sync::atomic::AtomicUsize::new(0);
    let mut seen = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..6_u32 {
                let mut batch = Batch::new();
                batch.put(Family::Groups, b"n", &n.to_be_bytes());
                let gate = gate.clone();
                store.write_behind(batch, move |_| gate.lock().unwrap().recv().unwrap()).unwrap();
                accepted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            }
        });
        for most in 3..=6 {
            let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
            while accepted.load(std::sync::atomic::Ordering::SeqCst) < most && std::time::Instant::now() < until {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            std::thread::sleep(std::time::Duration::from_millis(30));
            seen.push(accepted.load(std::sync::atomic::Ordering::SeqCst));
            open_gate.send(()).unwrap();
        }
        (0..2).for_each(|_| open_gate.send(()).unwrap());
    });
    assert_eq!(seen, [3, 4, 5, 6]);
    assert_eq!(store.get(Family::Groups, b"n").unwrap().as_deref(), Some(&5_u32.to_be_bytes()[..]));
}

#[test]
fn a_panic_behind_is_an_error_of_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let mut batch = Batch::new();
    batch.put(Family::Groups, b"a", b"1");
    store.write_behind(batch, |_| panic!("what is called then must not")).unwrap();
    assert!(matches!(store.get(Family::Groups, b"a"), Err(StateError::Behind(_))));
    drop(store);
    // It was written all the same.
    assert_eq!(open(&dir).get(Family::Groups, b"a").unwrap().as_deref(), Some(&b"1"[..]));
}
