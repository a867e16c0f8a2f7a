use super::*;
use crate::exchange::FileDigest;

fn set(paths: &[&str]) -> BTreeMap<String, SetRecord> {
    let files = paths
        .iter()
        .map(|path| {
            let mut digest = FileDigest::default();
            digest.update(b"row\n");
            digest.finish(path, None, false)
        })
        .collect();
    let set = SetRecord {
        identity: None,
        options: serde_json::json!({"stripes": 18}),
        inputs: Vec::new(),
        files,
        report: serde_json::Value::Null,
        placed_at: None,
    };
    BTreeMap::from([("T".to_owned(), set)])
}

fn stage(folder: &OutputFolder, paths: &[&str]) {
    for path in paths {
        fs::write(folder.staged(path).unwrap(), b"row\n").unwrap();
    }
}

#[test]
fn a_published_set_stands_and_a_second_look_touches_nothing() {
    let place = tempfile::tempdir().unwrap();
    let mut folder = OutputFolder::open(place.path(), FolderOptions::default()).unwrap();
    stage(&folder, &["db/T/a.txt", "db/T/b.txt"]);
    folder
        .publish(Publication {
            sets: set(&["db/T/a.txt", "db/T/b.txt"]),
            ..Publication::default()
        })
        .unwrap();
    let record = OutputFolder::peek(place.path()).unwrap().unwrap();
    let options = serde_json::json!({"stripes": 18});
    let state = |options: &_| record.state_of(place.path(), "T", options, &[]);
    assert_eq!(state(&options), SetState::Complete);
    assert_eq!(
        state(&serde_json::json!({"stripes": 19})),
        SetState::Different
    );
    assert_eq!(
        record.state_of(place.path(), "U", &options, &[]),
        SetState::Absent
    );
    fs::remove_file(place.path().join("db/T/b.txt")).unwrap();
    assert_eq!(state(&options), SetState::Damaged);
}

#[test]
fn a_taken_name_is_refused_and_nothing_is_renamed() {
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("b.txt"), "mine").unwrap();
    let mut folder = OutputFolder::open(place.path(), FolderOptions::default()).unwrap();
    stage(&folder, &["a.txt", "b.txt"]);
    let refused = folder
        .publish(Publication {
            sets: set(&["a.txt", "b.txt"]),
            ..Publication::default()
        })
        .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::OutputRefused);
    assert!(!place.path().join("a.txt").exists());
    assert_eq!(fs::read(place.path().join("b.txt")).unwrap(), b"mine");
}

/// Opens the folder with files staged and their intent written, as a kill leaves it.
fn begun(root: &Path, staged: &[&str], sets: BTreeMap<String, SetRecord>, outdated: &[&str]) {
    let mut folder = OutputFolder::open(root, FolderOptions::default()).unwrap();
    stage(&folder, staged);
    let intent = Intent {
        outdated: outdated.iter().map(|path| (*path).to_owned()).collect(),
        ..Intent::default()
    };
    let pending = Pending { sets, intent };
    folder.log.begin(&pending).unwrap();
    folder.pending = Some(pending);
}

#[test]
fn an_intent_is_rolled_forward_from_any_point() {
    for renamed in 0..=2 {
        let place = tempfile::tempdir().unwrap();
        let root = place.path();
        begun(
            root,
            &["a.txt", "b.txt"],
            set(&["a.txt", "b.txt"]),
            &["gone.txt"],
        );
        fs::write(root.join("gone.txt"), "untrue").unwrap();
        for path in ["a.txt", "b.txt"].iter().take(renamed) {
            let staging = root.join(STATE_FOLDER).join("staging");
            fs::rename(staging.join(path), root.join(path)).unwrap();
        }
        assert!(OutputFolder::is_interrupted(root));
        assert!(OutputFolder::peek(root).unwrap().is_none());
        let folder = OutputFolder::open(root, FolderOptions::default()).unwrap();
        assert!(root.join("a.txt").exists() && root.join("b.txt").exists());
        assert!(!root.join("gone.txt").exists() && !folder.staging().exists());
        assert!(folder.record().sets.contains_key("T"));
        assert!(!OutputFolder::is_interrupted(root));
        assert!(OutputFolder::peek(root).unwrap().is_some());
    }
}

#[test]
fn what_was_lost_meanwhile_counts_as_damaged_and_is_made_again() {
    let place = tempfile::tempdir().unwrap();
    let sets = set(&["a.txt", "b.txt"]);
    let options = sets["T"].options.clone();
    begun(place.path(), &["a.txt"], sets, &[]);
    let mut folder = OutputFolder::open(place.path(), FolderOptions::default()).unwrap();
    let state = folder.record().state_of(place.path(), "T", &options, &[]);
    assert_eq!(state, SetState::Damaged);
    stage(&folder, &["a.txt", "b.txt"]);
    let sets = set(&["a.txt", "b.txt"]);
    folder
        .publish(Publication {
            sets,
            ..Publication::default()
        })
        .unwrap();
    assert!(place.path().join("b.txt").exists());
}

#[test]
fn an_intent_never_reaches_outside() {
    for (file, outdated) in [
        ("../victim.txt", "x"),
        ("a.txt", "../victim.txt"),
        ("/x", "x"),
    ] {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().join("out");
        fs::write(place.path().join("victim.txt"), "mine").unwrap();
        begun(&root, &["a.txt"], set(&[file]), &[outdated]);
        let refused = OutputFolder::open(&root, FolderOptions::default()).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Integrity);
        let victim = fs::read(place.path().join("victim.txt")).unwrap();
        assert_eq!(victim, b"mine");
    }
}

#[test]
fn nothing_is_removed_outside_whatever_the_record_says() {
    let place = tempfile::tempdir().unwrap();
    let root = place.path().join("out");
    fs::write(place.path().join("victim.txt"), "mine").unwrap();
    begun(&root, &[], set(&["../victim.txt"]), &[]);
    OutputFolder::open(&root, FolderOptions::default()).unwrap_err();
    let (mut log, _) =
        Log::open(root.join(STATE_FOLDER).join(RECORD_FILE), SyncMode::None).unwrap();
    log.finish().unwrap();
    let mut folder = OutputFolder::open(&root, FolderOptions::default()).unwrap();
    stage(&folder, &["b.txt"]);
    let publication = Publication {
        sets: set(&["b.txt"]),
        ..Publication::default()
    };
    assert_eq!(
        folder.publish(publication).unwrap_err().kind(),
        ErrorKind::Integrity
    );
    assert!(place.path().join("victim.txt").exists() && !root.join("b.txt").exists());
}

#[test]
fn a_staged_file_of_another_size_is_not_published() {
    let place = tempfile::tempdir().unwrap();
    let mut folder = OutputFolder::open(place.path(), FolderOptions::default()).unwrap();
    stage(&folder, &["a.txt", "b.txt"]);
    fs::write(folder.staged("b.txt").unwrap(), "longer than a row\n").unwrap();
    let publication = Publication {
        sets: set(&["a.txt", "b.txt"]),
        ..Publication::default()
    };
    let refused = folder.publish(publication).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Integrity);
    assert!(!place.path().join("a.txt").exists());
    drop(folder);
    OutputFolder::open(place.path(), FolderOptions::default()).unwrap();
    assert!(!place.path().join("a.txt").exists());
}

#[test]
fn staged_files_are_cleared_or_kept() {
    let place = tempfile::tempdir().unwrap();
    let keep = FolderOptions {
        staging: Staging::Keep,
        ..FolderOptions::default()
    };
    let folder = OutputFolder::open(place.path(), keep).unwrap();
    stage(&folder, &["a.txt"]);
    let staged = folder.staged("a.txt").unwrap();
    drop(folder);
    drop(OutputFolder::open(place.path(), keep).unwrap());
    assert!(staged.exists());
    OutputFolder::tidy(place.path(), FolderOptions::default());
    assert!(!staged.exists());
    let state = fs::read_dir(place.path().join(STATE_FOLDER)).unwrap();
    assert_eq!(state.count(), 0);
}

#[test]
fn every_way_of_syncing_publishes() {
    for sync in SyncMode::NAMES {
        let place = tempfile::tempdir().unwrap();
        let options = FolderOptions {
            sync: sync.parse().unwrap(),
            ..FolderOptions::default()
        };
        assert_eq!(options.sync.to_string(), sync);
        let mut folder = OutputFolder::open(place.path(), options).unwrap();
        stage(&folder, &["d/a.txt", "d/e/b.txt"]);
        folder
            .publish(Publication {
                sets: set(&["d/a.txt", "d/e/b.txt"]),
                ..Publication::default()
            })
            .unwrap();
        assert!(place.path().join("d/e/b.txt").exists());
    }
    assert!("all".parse::<SyncMode>().is_err());
}

#[test]
fn a_replaced_set_leaves_nothing_behind() {
    let place = tempfile::tempdir().unwrap();
    let mut folder = OutputFolder::open(place.path(), FolderOptions::default()).unwrap();
    stage(&folder, &["a.txt", "b.txt"]);
    folder
        .publish(Publication {
            sets: set(&["a.txt", "b.txt"]),
            ..Publication::default()
        })
        .unwrap();
    stage(&folder, &["b.txt", "c.txt"]);
    folder
        .publish(Publication {
            sets: set(&["b.txt", "c.txt"]),
            ..Publication::default()
        })
        .unwrap();
    let there = |name: &str| place.path().join(name).exists();
    assert!(!there("a.txt") && there("b.txt") && there("c.txt"));
}

/// Alone in its process, for it looks at the process's memory:
/// `cargo test --release --lib -- --ignored --exact publish::folder::tests::many_files_need_little_memory --nocapture`
#[test]
#[ignore = "makes 300,000 files, and must be alone in its process"]
fn many_files_need_little_memory() {
    use std::io::Write;
    use std::sync::Arc;
    use std::time::Instant;

    use crate::resources::process_peak_bytes;

    let place = tempfile::tempdir_in("/dev/shm").unwrap();
    let mut folder = OutputFolder::open(place.path(), FolderOptions::default()).unwrap();
    let staging = folder.staged("db/T/x").unwrap();
    let prefix: Arc<str> = Arc::from("db/T/");
    let summary = |number: i32| {
        let mut digest = FileDigest::default();
        digest.update(b"row\n");
        digest.finish_chunk(&prefix, number / 2, number % 2 == 1)
    };
    let count = 300_000;
    let mut files = Vec::with_capacity(count as usize);
    for number in 0..count {
        let file = summary(number);
        let name = staging.with_file_name(&file.path()["db/T/".len()..]);
        fs::write(name, b"row\n").unwrap();
        files.push(file);
    }
    let say = |what: &str, before: Option<u64>, start: Instant| {
        let grown = process_peak_bytes()
            .zip(before)
            .map(|(now, then)| now - then);
        let mib = grown.unwrap_or(0) as f64 / f64::from(1 << 20);
        let seconds = start.elapsed().as_secs_f64();
        let _ = writeln!(
            std::io::stderr(),
            "{what}: {mib:.1} MiB more, {seconds:.2} s"
        );
        grown.unwrap_or(0)
    };
    let set = |files| {
        let mut sets = set(&[]);
        sets.get_mut("T").unwrap().files = files;
        sets
    };
    let (before, start) = (process_peak_bytes(), Instant::now());
    let publication = Publication {
        sets: set(files),
        ..Publication::default()
    };
    folder.publish(publication).unwrap();
    assert!(say("published", before, start) < 40 << 20);
    let start = Instant::now();
    drop(folder);
    let record = OutputFolder::peek(place.path()).unwrap().unwrap();
    say("read back", before, start);
    let start = Instant::now();
    let options = &record.sets["T"].options;
    let state = record.state_of(place.path(), "T", options, &[]);
    assert_eq!(state, SetState::Complete);
    say("compared", before, start);
    drop(record);
    let start = Instant::now();
    let folder = OutputFolder::open(place.path(), FolderOptions::default()).unwrap();
    for number in 0..count {
        let file = summary(number);
        fs::write(folder.staging().join(&*file.path()), b"row\n")
            .or_else(|_| fs::write(folder.staged(&file.path()).unwrap(), b"row\n"))
            .unwrap();
    }
    say("staged again", before, start);
    let start = Instant::now();
    folder.clear_staging().unwrap();
    say("cleared", before, start);
}
