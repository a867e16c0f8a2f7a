//! Staging and running to servers under kills and signals.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::fault_proxy::{Fault, FaultProxy};
use super::harness::{Bench, Outcome, files, times, words};
use super::stage_sites::{Server, clear, named, verify};
use super::stars::star_bench;

/// The bytes of large files that are cut off in the middle: six parts each.
fn large(number: usize) -> Vec<u8> {
    let row = format!("{number}\t{}\n", "x".repeat(1000));
    row.repeat((28 << 20) / row.len()).into_bytes()
}

#[test]
fn a_killed_upload_is_gone_on_with() {
    for (server, test) in [(Server::Moto, "killed"), (Server::Rclone, "killed")] {
        let bench = Bench::new();
        for number in 0..2 {
            bench.write(&format!("made/chunk_{number}.txt"), large(number));
        }
        // Slow enough to be met in the middle.
        let proxy = FaultProxy::start(server.port(), 1, 1000, &[Fault::Delay]);
        let options = server.options_at(&bench, proxy.port);
        let dest = server.dest(test);
        let line = format!(
            "stage made {dest} --database d --table T --kind director {options} --part-size 5MiB \
             --uploads 1 --parts 2"
        );
        let mut killed = 0;
        let mut parts_seen = 0;
        loop {
            let mut child = Command::new(env!("CARGO_BIN_EXE_skyprep"))
                .args(words(&line))
                .current_dir(bench.root())
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let start = Instant::now();
            let status = loop {
                if let Some(status) = child.try_wait().unwrap() {
                    break Some(status);
                }
                let parts = journal_parts(&bench);
                if killed < 4 && parts >= parts_seen + 2 {
                    child.kill().unwrap();
                    child.wait().unwrap();
                    killed += 1;
                    parts_seen = journal_parts(&bench);
                    break None;
                }
                assert!(start.elapsed() < Duration::from_secs(120), "{server:?}");
                std::thread::sleep(Duration::from_millis(5));
            };
            if let Some(status) = status {
                assert!(status.success(), "{server:?}");
                break;
            }
        }
        assert!(
            killed >= 2,
            "{server:?}: the uploads were too quick to be met"
        );
        let uploads: usize = proxy
            .requests()
            .iter()
            .filter(|(method, _)| *method == "PUT")
            .map(|(_, count)| *count)
            .sum();
        // Twelve parts and the manifest; a kill may cost what was under way, two parts of them.
        assert!(
            uploads <= 12 + 1 + 2 * killed,
            "{server:?}: {uploads} PUTs, {killed} kills"
        );
        drop(proxy);
        verify(&bench, server, test, "").ok();
        if server == Server::Rclone {
            for number in 0..2 {
                let path = server.folder(test).join(format!("d/T/chunk_{number}.txt"));
                assert!(fs::read(path).unwrap() == large(number));
            }
        }
        clear(&bench, server, test);
    }
}

/// Parts that journals tell of.
fn journal_parts(bench: &Bench) -> usize {
    let places = fs::read_dir(bench.path("state")).into_iter().flatten();
    let journals = places.map(|place| place.unwrap().path().join("uploads.jsonl"));
    journals
        .filter_map(|journal| fs::read(journal).ok())
        .map(|bytes| {
            String::from_utf8_lossy(&bytes)
                .matches("{\"part\":")
                .count()
        })
        .sum()
}

#[test]
fn a_pipeline_runs_straight_to_a_bucket() {
    let here = star_bench();
    here.run(words("run stars/prep.toml")).ok();
    let made = files(&here.path("stars/out/stars"));
    let (server, test) = (Server::Rclone, "run");
    for keep in [false, true] {
        let bench = star_bench();
        let options = server.options(&bench);
        let text = fs::read_to_string(bench.path("stars/prep.toml")).unwrap();
        let dest = server.dest(test);
        let keeping = if keep { "\nkeep_local = \"kept\"" } else { "" };
        let text = text.replace("dest = \"out\"", &format!("dest = \"{dest}\"{keeping}"));
        assert!(text.contains(&dest), "{text}");
        bench.write("stars/prep.toml", text);
        let line = format!("run stars/prep.toml {options}");
        let done = bench.run(words(&line)).ok();
        assert!(
            done.stderr
                .contains(&format!("{dest}/stars/manifest.jsonl")),
            "{}",
            done.stderr
        );
        let mut found = files(&server.folder(test).join("stars"));
        let manifest = found.remove("manifest.jsonl").unwrap();
        assert!(found.remove("report.json").is_some());
        let is_data = |name: &&String| !name.ends_with("_index.txt") && name.contains('/');
        let expected: BTreeSet<&String> = made.keys().filter(is_data).collect();
        assert_eq!(found.keys().collect::<BTreeSet<_>>(), expected);
        for name in expected {
            assert!(found[name] == made[name], "{name}");
        }
        assert_eq!(named(&manifest, &dest).len(), found.len());
        let work = bench.path(if keep {
            "stars/kept/stars"
        } else {
            "stars/.skyprep/stars/stars"
        });
        let left: Vec<String> = files(&work)
            .into_keys()
            .filter(|name| is_data(&name))
            .collect();
        assert_eq!(left.len(), if keep { found.len() } else { 0 }, "{left:?}");

        let before = times(&server.folder(test));
        let again = bench.run(words(&line)).ok();
        assert!(again.stderr.contains("nothing to do"), "{}", again.stderr);
        assert_eq!(times(&server.folder(test)), before);

        // Who has lost files at the place makes their tables again, and only those.
        let chunk = found
            .keys()
            .find(|name| name.starts_with("StarPair/"))
            .unwrap();
        let lost = format!("rm {dest}/stars/{chunk}");
        let _ = lost;
        let mut lines: Vec<&[u8]> = manifest.split(|b| *b == b'\n').collect();
        lines.pop();
        assert_eq!(lines.len(), found.len() + 1);
        let manifest_url = format!("{dest}/stars/manifest.jsonl");
        let release = format!(
            "release {manifest_url} --yes {}",
            options.replace("--state-dir state", "")
        );
        bench.run(words(&release)).ok();
        bench.run(words(&line)).ok();
        let mut remade = files(&server.folder(test).join("stars"));
        remade.remove("manifest.jsonl");
        remade.remove("report.json");
        assert!(remade == found);
        bench.run(words(&release)).ok();
        fs::remove_file(server.folder(test).join("stars/report.json")).unwrap();
    }
}

/// Kills of a run straight to a bucket; `make crash` asks for many more.
const KILLS: usize = 12;

#[test]
fn kills_of_a_run_to_a_bucket_do_no_harm() {
    let asked = std::env::var("SKYPREP_CRASH_KILLS").ok();
    let kills = asked.map_or(KILLS, |kills| kills.parse::<usize>().unwrap() / 10);
    let here = star_bench();
    here.run(words("run stars/prep.toml")).ok();
    let made = files(&here.path("stars/out/stars"));
    let (server, test) = (Server::Rclone, "kills");
    let bench = star_bench();
    let options = server.options(&bench);
    let dest = server.dest(test);
    let text = fs::read_to_string(bench.path("stars/prep.toml")).unwrap();
    let text = text.replace("dest = \"out\"", &format!("dest = \"{dest}\""));
    bench.write("stars/prep.toml", text);
    let run = format!("run stars/prep.toml {options} -q");
    let release = format!(
        "release {dest}/stars/manifest.jsonl --yes {}",
        options.replace("--state-dir state", "")
    );
    let mut random = fastrand::Rng::with_seed(11);
    let mut killed = 0;
    while killed < kills {
        let mut child = Command::new(env!("CARGO_BIN_EXE_skyprep"))
            .args(words(&run))
            .current_dir(bench.root())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(random.u64(0..2500)));
        match child.try_wait().unwrap() {
            // All is there; it begins again.
            Some(status) => {
                assert!(status.success(), "after {killed} kills");
                bench.run(words(&release)).ok();
            }
            None => {
                child.kill().unwrap();
                child.wait().unwrap();
                killed += 1;
            }
        }
    }
    bench.run(words(&run)).ok();
    let mut found = files(&server.folder(test).join("stars"));
    let manifest = found.remove("manifest.jsonl").unwrap();
    found.remove("report.json").unwrap();
    assert!(named(&manifest, &dest).len() == found.len());
    for (name, bytes) in &found {
        assert!(*bytes == made[name], "{name}");
    }
    let data = |name: &&String| name.contains('/') && !name.ends_with("_index.txt");
    assert_eq!(found.len(), made.keys().filter(data).count());
    let left = files(&bench.path("stars/.skyprep/stars/stars"));
    assert!(
        left.keys().all(|name| name.ends_with("_index.txt")),
        "{:?}",
        left.keys()
    );
    verify(&bench, server, &format!("{test}/stars/../stars"), "").failed(2, &["dots"]);
    bench.run(words(&release)).ok();
    fs::remove_file(server.folder(test).join("stars/report.json")).unwrap();
}

#[test]
fn a_run_to_a_server_that_is_interrupted_says_so() {
    let bench = Bench::new();
    for number in 0..3 {
        bench.write(&format!("made/chunk_{number}.txt"), large(number));
    }
    let server = Server::Rclone;
    let proxy = FaultProxy::start(server.port(), 2, 1000, &[Fault::Delay]);
    let options = server.options_at(&bench, proxy.port);
    let dest = server.dest("term");
    let line = format!(
        "stage made {dest} --database d --table T --kind director {options} --part-size 5MiB \
         --uploads 1 --parts 1"
    );
    let child = Command::new(env!("CARGO_BIN_EXE_skyprep"))
        .args(words(&line))
        .current_dir(bench.root())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    while journal_parts(&bench) < 3 {
        std::thread::sleep(Duration::from_millis(5));
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let ended: Outcome = child.wait_with_output().unwrap().into();
    // Ended by the program itself, as a shell would tell a signal.
    ended.failed(
        143,
        &["interrupted by signal 15", "run the same command again"],
    );
    bench.run(words(&line)).ok();
    verify(&bench, server, "term", "").ok();
    clear(&bench, server, "term");
}
