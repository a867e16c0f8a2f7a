//! The options of every command: books, layers, limits, signals, messages.

use std::fs;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::harness::{Bench, files, times, words};

const PARTITION: &str = "partition x.txt -o out --kind director --stripes 18 --sub-stripes 10 \
                         --overlap 0.01 --ra ra --dec dec --fields id,ra,dec";

const DATABASE: &str = "[database]\nname = \"d\"\nstripes = 18\nsub_stripes = 10\noverlap = 0.01\n\
    [product.p]\ninputs = [\"x.txt\"]\nfields = [\"id\", \"ra\", \"dec\"]\n\
    [table.T]\nkind = \"director\"\nproducts = [\"p\"]\nid = \"id\"\nra = \"ra\"\ndec = \"dec\"\n\
    [stage]\ndest = \"out\"\n";

fn text(rows: i64) -> String {
    (0..rows)
        .map(|row| format!("{row}\t{}\t{}\n", row % 360, row % 170 - 80))
        .collect()
}

/// A bench with `x.txt` of so many rows and a pipeline file.
fn bench(rows: i64) -> Bench {
    let bench = Bench::new();
    bench.write("x.txt", text(rows));
    bench.write("prep.toml", DATABASE);
    bench
}

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

fn json_at(bench: &Bench, name: &str) -> Value {
    json(&fs::read(bench.path(name)).unwrap())
}

/// Starts `skyprep`; what it reads and writes stays open until the test lets go.
fn start(bench: &Bench, args: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_skyprep"))
        .args(words(args))
        .current_dir(bench.root())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn signal(child: &Child, signal: rustix::process::Signal) {
    let id = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(id, signal).unwrap();
}

/// Waits until something shows that the work is going on.
fn wait_until(mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(20), "waited in vain");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn progress_lines_parse_and_the_last_is_marked() {
    let bench = bench(50_000);
    let outcome = bench
        .run(words(&format!(
            "{PARTITION} --progress json --progress-interval 10ms"
        )))
        .ok();
    let lines: Vec<Value> = outcome.stderr.lines().map(|l| json(l.as_bytes())).collect();
    let (last, others) = lines.split_last().unwrap();
    assert!(others.iter().all(|line| line["is_last"] == false));
    assert_eq!(last["is_last"], true);
    assert_eq!(last["rows"], 50_000);
    assert_eq!(last["bytes"], last["bytes_total"]);
    assert_eq!(
        (&last["what"], &last["version"]),
        (&"table".into(), &1.into())
    );
    assert!(last["rows_per_second"].as_f64().unwrap() > 0.0);
    let run = bench.run(words("run prep.toml --progress json")).ok();
    let last = run
        .stderr
        .lines()
        .find(|line| line.starts_with('{'))
        .unwrap();
    assert_eq!(json(last.as_bytes())["what"], "T");
    let piped = bench
        .run_with_input(words("sanitize --progress json"), b"1\n2\n")
        .ok();
    assert_eq!(piped.stdout, b"1\n2\n");
    let last = json(piped.stderr.trim().as_bytes());
    assert_eq!(
        (&last["rows"], &last["bytes_total"]),
        (&2.into(), &Value::Null)
    );
    let quiet = bench.run_with_input(words("sanitize"), b"1\n2\n").ok();
    assert_eq!(quiet.stderr, "");
    for wrong in ["0ms", "soon", "10y"] {
        let args = format!("sanitize --progress-interval {wrong}");
        bench.run(words(&args)).failed(2, &[wrong]);
    }
}

#[test]
fn plain_progress_comes_at_intervals() {
    let bench = bench(1);
    let mut child = start(
        &bench,
        "sanitize - -o y.txt --progress plain --progress-interval 50ms",
    );
    std::thread::sleep(Duration::from_millis(400));
    drop(child.stdin.take());
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.lines().filter(|line| line.contains("rows/s")).count() > 1,
        "{said}"
    );
}

#[test]
fn a_report_tells_options_inputs_and_counts() {
    let bench = bench(100);
    let args = format!("{PARTITION} --report r.json --threads 2 --memory-limit 64MiB");
    bench.run(words(&args)).ok();
    let report = json_at(&bench, "r.json");
    assert_eq!(report["format"], "skyprep-report");
    assert_eq!(report["version"], 1);
    assert_eq!(report["command"], "partition");
    assert_eq!(
        (&report["threads"], &report["memory_limit"]),
        (&2.into(), &(64 << 20).into())
    );
    assert_eq!(report["options"]["stripes"], "18");
    assert_eq!(report["options"]["wrap-ra"], false);
    let size = fs::metadata(bench.path("x.txt")).unwrap().len();
    assert_eq!(report["inputs"][0]["path"], "x.txt");
    assert_eq!(report["inputs"][0]["bytes"], size);
    assert!(report["inputs"][0]["modified_ns"].as_u64().unwrap() > 0);
    assert_eq!(report["inputs"][0].get("sha256"), None);
    let table = &report["tables"][0];
    assert_eq!(
        (&table["rows_in"], &table["rows_routed"]),
        (&100.into(), &100.into())
    );
    assert_eq!(table["is_new"], true);
    assert!(table["memory_peak"].as_u64().unwrap() > 0);
    assert!(
        report["process_peak"]
            .as_u64()
            .is_none_or(|bytes| bytes > 1 << 20)
    );
    let kept = json_at(&bench, "out/.skyprep/report.json");
    assert_eq!(kept["tables"], report["tables"]);
    let before = times(&bench.path("out"));
    let again = bench.run(words(&format!("{args} --json"))).ok();
    assert_eq!(times(&bench.path("out")), before);
    let again = json(&again.stdout);
    assert_eq!(
        (&again["unchanged"], &again["tables"][0]["is_new"]),
        (&true.into(), &false.into())
    );
}

#[test]
fn every_command_reports() {
    let bench = bench(10);
    bench.write("y.txt", "1\ttrue\tx\n");
    let values = bench
        .run(words("convert y.txt -o z.txt --infer --json"))
        .ok();
    let values = json(&values.stdout);
    assert_eq!(values["tables"][0]["changes"]["field2"]["bool"], 1);
    assert_eq!(values["tables"][0]["table"], "z.txt");
    bench
        .run(words("convert x.txt y.txt -o texts/ --report r.json"))
        .ok();
    assert_eq!(json_at(&bench, "r.json")["files"], 2);
    assert_eq!(
        json_at(&bench, "texts/.skyprep/report.json")["command"],
        "convert"
    );
    bench
        .run(words("sanitize y.txt --json"))
        .failed(2, &["--json", "stdout"]);
    bench.run(words("sanitize y.txt --report r.json")).ok();
    assert_eq!(json_at(&bench, "r.json")["tables"][0]["rows_out"], 1);
    let run = bench.run(words("run prep.toml --json")).ok();
    let run = json(&run.stdout);
    assert_eq!(
        (&run["database"], &run["inputs"][0]["path"]),
        (&"d".into(), &"x.txt".into())
    );
    assert_eq!(json_at(&bench, "out/d/report.json"), run);
    let staged = bench.run(words("stage out there --json")).ok();
    let staged = json(&staged.stdout);
    assert_eq!(staged["files"], run["files"]);
    bench
        .run(words("convert x.txt -o w.txt --report x.txt"))
        .failed(2, &["x.txt", "over this input"]);
    bench
        .run(words("convert x.txt -o w.txt --report none/r.json"))
        .failed(5, &["none/r.json"]);
    assert!(!bench.path("w.txt").exists());
}

#[test]
fn digests_stand_in_for_times() {
    let bench = bench(10);
    let digested = format!("{PARTITION} --checksum-inputs --json");
    let first = json(&bench.run(words(&digested)).ok().stdout);
    let sum = bench.shell("sha256sum x.txt").ok();
    let sum = String::from_utf8(sum.stdout).unwrap();
    assert_eq!(
        Some(first["inputs"][0]["sha256"].as_str().unwrap()),
        sum.split(' ').next()
    );
    bench.shell("touch -d 2001-01-01 x.txt").ok();
    let again = json(&bench.run(words(&digested)).ok().stdout);
    assert_eq!(again["unchanged"], true);
    bench.run(words(PARTITION)).failed(5, &["other options"]);
    bench.write("x.txt", text(10).replace("9\t9\t-71", "9\t9\t-70"));
    bench.run(words(&digested)).failed(5, &["other options"]);
    let run = "run prep.toml --checksum-inputs";
    bench.run(words(&format!("{run} --force"))).ok();
    bench.shell("touch -d 2002-01-01 x.txt").ok();
    let again = bench.run(words(run)).ok();
    assert!(again.stderr.contains("nothing to do"), "{}", again.stderr);
}

#[test]
fn make_understands_the_dependency_file() {
    let odd = "a b/$x#1=%~[c];d|e:f*.txt";
    let bench = bench(10);
    let path = bench.write(odd, text(10));
    bench.write(
        "T.json",
        "{\"schema\": [{\"name\": \"a\", \"type\": \"INT\"}, \
        {\"name\": \"b\", \"type\": \"INT\"}, {\"name\": \"c\", \"type\": \"INT\"}]}",
    );
    bench.write("tab\tback\\ slash.txt", "1\t2\t3\n");
    let inputs = [odd, "tab\tback\\ slash.txt", "x.txt"];
    let mut args = words("convert -o out#1.txt --depfile deps.mk --schema T.json --force");
    args.extend(inputs.map(str::to_owned));
    bench.run(&args).ok();
    bench.write(
        "Makefile",
        "all: out\\#1.txt\ninclude deps.mk\nout\\#1.txt:\n\t@echo remade; touch 'out#1.txt'\n",
    );
    let make = || String::from_utf8(bench.shell("make -s").ok().stdout).unwrap();
    assert!(!make().contains("remade"));
    for input in inputs.iter().chain(&["T.json"]) {
        let later = bench.path("out#1.txt");
        let later = fs::metadata(later).unwrap().modified().unwrap() + Duration::from_secs(5);
        let file = fs::File::options()
            .append(true)
            .open(bench.path(input))
            .unwrap();
        file.set_modified(later).unwrap();
        assert!(make().contains("remade"), "{input}");
        let now = fs::File::options()
            .append(true)
            .open(bench.path("out#1.txt"))
            .unwrap();
        now.set_modified(later + Duration::from_secs(5)).unwrap();
        assert!(!make().contains("remade"), "{input}");
    }
    assert!(path.exists());
    bench
        .run(words(&format!("{PARTITION} --depfile p.mk")))
        .ok();
    let folder = fs::read_to_string(bench.path("p.mk")).unwrap();
    assert_eq!(folder, "out/.skyprep/record.jsonl: \\\n  x.txt\n");
    assert!(bench.path("out/.skyprep/record.jsonl").exists());
    bench
        .run(words("convert x.txt -o - --depfile d.mk"))
        .failed(2, &["--depfile"]);
}

#[test]
fn a_dry_run_tells_and_touches_nothing() {
    let bench = bench(10);
    let dry = |args: &str| bench.run(words(&format!("{args} -n")));
    let said = |args: &str| String::from_utf8(dry(args).ok().stdout).unwrap();
    let untouched = |work: &dyn Fn()| {
        let before = times(bench.root());
        work();
        assert_eq!(times(bench.root()), before);
    };
    untouched(&|| {
        let said = said(PARTITION);
        for part in [
            "x.txt: ",
            "absent",
            "id, ra, dec, chunkId, subChunkId",
            "bytes of memory",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
        dry("run prep.toml").ok();
        dry("convert x.txt -o new.txt").ok();
        dry("convert x.txt -o texts/").ok();
        dry("convert none.txt -o new.txt").failed(3, &["none.txt"]);
        dry("convert x.txt -o new.txt --columns nope").failed(2, &["nope"]);
        dry("convert x.txt -o prep.toml").failed(5, &["exists"]);
        let piped = bench.run_with_input(words("sanitize -n"), b"1\n").ok();
        assert!(String::from_utf8(piped.stdout).unwrap().contains("pipe"));
    });
    bench.run(words(PARTITION)).ok();
    bench.write("texts/x.txt", "mine");
    untouched(&|| {
        assert!(said(PARTITION).contains("complete, nothing to do"));
        let other = format!("{PARTITION} --wrap-ra");
        dry(&other).failed(5, &["other options"]);
        dry(&format!("{other} --force")).ok();
        dry("convert x.txt -o texts/").failed(5, &["exists"]);
        dry("stage out there --database d").ok();
    });
    fs::remove_file(
        files(&bench.path("out"))
            .keys()
            .next()
            .map(|name| bench.path("out").join(name))
            .unwrap(),
    )
    .unwrap();
    untouched(&|| assert!(said(PARTITION).contains("partial, would be made again")));
    bench.run(words("run prep.toml --force")).ok();
    untouched(&|| assert!(said("run prep.toml").contains("complete")));
}

#[test]
fn flags_beat_the_environment_and_that_the_file() {
    let bench = bench(1);
    bench.write("y.txt", "1\tnone\tnil\n");
    bench.write(
        "c.toml",
        "threads = 3\nmemory_limit = \"64MiB\"\nnull-text = [\"none\", \"nil\"]\nstripes = 85\n\
         [convert]\noutput = \"-\"\ninfer = true\nforce = false\n[partition]\nwrap_ra = true\n",
    );
    let run = |environment: &str, args: &str| {
        bench.shell(&format!(
            "{environment} skyprep convert y.txt -v -c c.toml {args}"
        ))
    };
    let file = run("", "").ok();
    assert_eq!(String::from_utf8(file.stdout).unwrap(), "1\t\\N\t\\N\n");
    for part in [
        "threads: 3 (from configuration file c.toml)",
        "memory: 67,108,864 bytes (from configuration file c.toml)",
        "open files: ",
    ] {
        assert!(file.stderr.contains(part), "{part}: {}", file.stderr);
    }
    let variable = run("SKYPREP_THREADS=2 SKYPREP_NULL_TEXT=1", "").ok();
    assert_eq!(
        String::from_utf8(variable.stdout).unwrap(),
        "\\N\tnone\tnil\n"
    );
    let from = "threads: 2 (from environment variable SKYPREP_THREADS)";
    assert!(variable.stderr.contains(from), "{}", variable.stderr);
    let flag = run("SKYPREP_THREADS=2", "--threads 1 --null-text nil").ok();
    assert_eq!(String::from_utf8(flag.stdout).unwrap(), "1\tnone\t\\N\n");
    assert!(
        flag.stderr.contains("threads: 1 (from --threads)"),
        "{}",
        flag.stderr
    );
    // A flag of the command line drops what it excludes in the layers below.
    run("SKYPREP_QUIET=1", "").ok();
    let sanitized = bench
        .shell("SKYPREP_CONFIG=c.toml skyprep sanitize y.txt -v")
        .ok();
    assert!(
        sanitized.stderr.contains("threads: 3"),
        "{}",
        sanitized.stderr
    );
    let slurm = bench.shell("SLURM_CPUS_PER_TASK=3 SLURM_MEM_PER_CPU=10 skyprep sanitize x.txt -v");
    for part in [
        "threads: 3 (from SLURM_CPUS",
        "25,165,824 bytes (from 80 % of SLURM_MEM_PER_CPU)",
    ] {
        assert!(slurm.stderr.contains(part), "{part}: {}", slurm.stderr);
    }
}

#[test]
fn wrong_layers_are_named() {
    let bench = bench(1);
    for (text, said) in [
        ("thread = 1", "'thread'"),
        ("[convert]\nstripes = 1", "'stripes'"),
        ("[konvert]\nthreads = 1", "'[konvert]'"),
        ("threads = true", "'threads'"),
        ("force = 1", "'force'"),
        ("config = \"d.toml\"", "'config'"),
        (
            "threads = \"many\"",
            "--threads comes from configuration file c.toml",
        ),
        ("threads = ", "c.toml"),
    ] {
        bench.write("c.toml", text);
        bench
            .run(words("convert x.txt -o - -c c.toml"))
            .failed(2, &[said]);
    }
    bench
        .run(words("convert x.txt -o - -c none.toml"))
        .failed(3, &["none.toml"]);
    bench
        .shell("SKYPREP_FORCE=maybe skyprep convert x.txt -o -")
        .failed(2, &["SKYPREP_FORCE"]);
    bench
        .shell("SKYPREP_FORCE=0 skyprep convert x.txt -o -")
        .ok();
}

#[test]
fn limits_are_looked_at_before_work() {
    let bench = bench(1);
    for (args, said) in [
        ("--max-open-files 7", "--max-open-files 7"),
        ("--max-open-files 1000000000", "ulimit"),
        ("--tmpdir none", "--tmpdir none"),
        ("--tmpdir x.txt", "not a folder"),
        ("--memory-limit lots", "--memory-limit"),
    ] {
        bench
            .run(words(&format!("{PARTITION} {args}")))
            .failed(2, &[said]);
    }
    bench
        .shell(&format!("ulimit -n 100; skyprep {PARTITION} -v"))
        .failed(0, &["open files: 68 (from ulimit -n)"]);
    bench
        .shell("ulimit -n 20; skyprep sanitize x.txt")
        .failed(2, &["20 open files"]);
    fs::create_dir(bench.path("tmp")).unwrap();
    let run = format!("skyprep {PARTITION} --force -v");
    let said = bench.shell(&format!("TMPDIR=tmp {run}"));
    assert!(
        said.stderr.contains("temporary folder: tmp (from TMPDIR)"),
        "{}",
        said.stderr
    );
    let said = bench.shell(&format!(
        "SLURM_TMPDIR=none TMPDIR=/none {run} --tmpdir tmp"
    ));
    assert!(
        said.stderr.contains("tmp (from --tmpdir)"),
        "{}",
        said.stderr
    );
    if skyprep::resources::is_in_memory(std::path::Path::new("/dev/shm")) {
        let said = bench.shell(&format!("TMPDIR=/dev/shm {run}"));
        for part in ["warning: /dev/shm", "beside the output"] {
            assert!(said.stderr.contains(part), "{part}: {}", said.stderr);
        }
    }
}

/// Says whether whoever started the tests has SIGHUP ignored: what they start inherits that.
fn hangups_are_ignored() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    u64::from_str_radix(ignored.unwrap().trim(), 16).unwrap() & 1 != 0
}

#[test]
fn a_signal_ends_a_stream_and_leaves_nothing() {
    for (number, which) in [
        (2, rustix::process::Signal::INT),
        (15, rustix::process::Signal::TERM),
        (1, rustix::process::Signal::HUP),
    ] {
        if number == 1 && hangups_are_ignored() {
            // As they should be for what nohup has started.
            continue;
        }
        let bench = bench(1);
        let mut child = start(&bench, "sanitize - -o y.txt");
        let stdin = child.stdin.take();
        wait_until(|| bench.path(".y.txt.partial").exists());
        signal(&child, which);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(128 + number));
        let said = String::from_utf8(output.stderr).unwrap();
        let expected = format!("error: interrupted by signal {number}\n");
        assert!(said.contains(&expected), "{said}");
        drop(stdin);
        assert_eq!(
            files(bench.root()).keys().collect::<Vec<_>>(),
            ["prep.toml", "x.txt"]
        );
    }
}

#[test]
fn a_signal_ends_a_flowing_pipe_in_good_order() {
    let bench = bench(1);
    let mut child = start(
        &bench,
        &format!("{PARTITION} --threads 2").replace("x.txt", "-"),
    );
    let mut stdin = child.stdin.take().unwrap();
    let feeder = std::thread::spawn(move || {
        let rows = text(10_000);
        while stdin.write_all(rows.as_bytes()).is_ok() {
            std::thread::sleep(Duration::from_millis(2));
        }
    });
    wait_until(|| bench.path("out/.skyprep/lock").exists());
    std::thread::sleep(Duration::from_millis(300));
    signal(&child, rustix::process::Signal::TERM);
    let output = child.wait_with_output().unwrap();
    feeder.join().unwrap();
    assert_eq!(output.status.code(), Some(143));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("interrupted by signal 15"), "{said}");
    assert!(files(&bench.path("out")).is_empty());
    assert!(!bench.path("out/.skyprep/staging").exists());
    bench.run(words(PARTITION)).ok();
}

#[test]
fn a_reader_that_takes_nothing_does_not_keep_a_signal_away() {
    let bench = bench(200_000);
    let mut child = start(
        &bench,
        "convert x.txt -o - --progress json --progress-interval 10ms",
    );
    // The pipes to this test fill up.
    std::thread::sleep(Duration::from_millis(300));
    assert!(child.try_wait().unwrap().is_none());
    signal(&child, rustix::process::Signal::TERM);
    let start = Instant::now();
    assert_eq!(child.wait().unwrap().code(), Some(143));
    assert!(start.elapsed() < Duration::from_secs(4));
}

#[test]
fn a_signal_ends_a_run_of_many_tables() {
    let bench = bench(1);
    bench.shell("mkfifo pipe").ok();
    bench.write("prep.toml", DATABASE.replace("x.txt", "pipe"));
    let child = start(&bench, "run prep.toml");
    wait_until(|| bench.path("out/.skyprep/lock").exists());
    let mut pipe = fs::OpenOptions::new()
        .write(true)
        .open(bench.path("pipe"))
        .unwrap();
    let feeder = std::thread::spawn(move || {
        let rows = text(10_000);
        while pipe.write_all(rows.as_bytes()).is_ok() {}
    });
    std::thread::sleep(Duration::from_millis(200));
    signal(&child, rustix::process::Signal::INT);
    let output = child.wait_with_output().unwrap();
    feeder.join().unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert!(files(&bench.path("out")).is_empty());
    assert!(!bench.path("out/.skyprep/staging").exists());
    bench.write("prep.toml", DATABASE);
    bench.run(words("run prep.toml")).ok();
}

#[test]
fn a_second_signal_ends_at_once_and_ignored_ones_stay_ignored() {
    let bench = bench(1);
    let mut child = start(&bench, "sanitize - -o y.txt");
    let stdin = child.stdin.take();
    wait_until(|| bench.path(".y.txt.partial").exists());
    signal(&child, rustix::process::Signal::INT);
    std::thread::sleep(Duration::from_millis(50));
    signal(&child, rustix::process::Signal::TERM);
    let start_of_end = Instant::now();
    let status = child.wait().unwrap();
    assert!(
        matches!(status.code(), Some(130 | 143)),
        "{status:?} {:?}",
        status.signal()
    );
    assert!(start_of_end.elapsed() < Duration::from_millis(400));
    drop(stdin);
    assert!(!bench.path(".y.txt.partial").exists());
    // nohup: the shell ignores SIGHUP for its children.
    let script = "trap '' HUP; (sleep 1; echo 1) | skyprep sanitize -o y.txt & id=$!; \
                  sleep 0.4; kill -HUP $id; wait $id";
    bench.shell(script).ok();
    assert_eq!(fs::read(bench.path("y.txt")).unwrap(), b"1\n");
}

#[test]
fn messages_have_levels_colours_and_a_file() {
    let bench = bench(10);
    let log = |args: &str| bench.run(words(&format!("convert x.txt -o y.txt --force {args}")));
    assert_eq!(log("-q").ok().stderr, "");
    assert_eq!(log("--log-level warn").ok().stderr, "");
    assert!(log("").ok().stderr.contains("10 rows"));
    assert!(log("--log-level debug").ok().stderr.contains("threads: "));
    log("-q -v").failed(2, &["--verbose"]);
    log("-q --log-file l.log").ok();
    log("-v --log-file l.log").ok();
    bench
        .run(words("convert none.txt -o y.txt --log-file l.log"))
        .failed(3, &["error: none.txt"]);
    let lines = fs::read_to_string(bench.path("l.log")).unwrap();
    for part in [
        " INFO  y.txt: 10 rows",
        " DEBUG threads: ",
        " ERROR none.txt",
    ] {
        assert!(lines.contains(part), "{part}: {lines}");
    }
    let mut stamps = lines.lines().filter(|line| !line.starts_with(' '));
    assert!(
        stamps.all(|line| line.starts_with("20") && line.as_bytes()[10] == b'T'),
        "{lines}"
    );
    let colour = |environment: &str, args: &str| {
        let script = format!("{environment} skyprep convert none.txt -o - {args}");
        bench.shell(&script).stderr.contains("\x1b[")
    };
    assert!(!colour("", ""));
    assert!(colour("", "--color always"));
    assert!(colour("CLICOLOR_FORCE=1", ""));
    assert!(colour("SKYPREP_COLOR=always", ""));
    assert!(!colour("CLICOLOR_FORCE=1", "--color never"));
    assert!(!colour("CLICOLOR_FORCE=1 NO_COLOR=1", ""));
    let help = |args: &str| {
        bench
            .shell(&format!("skyprep convert --help {args}"))
            .stdout
    };
    assert!(help("--color always").contains(&0x1b) && !help("").contains(&0x1b));
}

#[test]
fn completions_and_manual_pages_are_made() {
    let bench = Bench::new();
    let script = bench.run(words("completions bash")).ok();
    bench.write("skyprep.bash", script.stdout);
    bench
        .shell("bash -n skyprep.bash && grep -q -- --memory-limit skyprep.bash")
        .ok();
    for shell in ["zsh", "fish", "elvish", "powershell"] {
        assert!(
            !bench
                .run(words(&format!("completions {shell}")))
                .ok()
                .stdout
                .is_empty()
        );
    }
    bench.run(words("completions csh")).failed(2, &["csh"]);
    let page = String::from_utf8(bench.run(words("man")).ok().stdout).unwrap();
    assert!(
        page.contains(".TH skyprep 1") && page.contains(".SH NAME\nskyprep \\-"),
        "{page}"
    );
    bench.run(words("man pages")).ok();
    let pages = files(&bench.path("pages"));
    for name in [
        "skyprep.1",
        "skyprep-convert.1",
        "skyprep-run.1",
        "skyprep-stage.1",
    ] {
        let page = String::from_utf8_lossy(&pages[name]);
        let stem = name.trim_end_matches(".1");
        assert!(page.contains(&format!(".TH {stem} 1")), "{page}");
        assert!(
            page.contains("memory\\-limit") || name == "skyprep.1",
            "{page}"
        );
    }
}

#[test]
fn inputs_come_from_lists_urls_and_folders() {
    let bench = Bench::new();
    bench.write("in/a b.txt", "1\n");
    bench.write("in/c[d].txt", "2\n");
    bench.write(
        "list",
        format!(
            "in/a b.txt\nfile://{}/in/c%5Bd%5D.txt\n",
            bench.root().display()
        ),
    );
    bench.write("list0", "in/a b.txt\0in/c[d].txt\0");
    for args in [
        "--files-from list",
        "--files-from list0 -0",
        "in",
        "in/*.txt",
    ] {
        let args = format!("convert -o - {args}");
        assert_eq!(bench.run(words(&args)).ok().stdout, b"1\n2\n", "{args}");
    }
    let args = words("convert -o - --files-from - -0");
    let stdin = bench.run_with_input(args, b"in/a b.txt\0").ok();
    assert_eq!(stdin.stdout, b"1\n");
    for url in ["ftp://x/y.csv", "gs://b/y.csv"] {
        bench
            .run(["convert", url, "-o", "-"])
            .failed(2, &[url, "are not read"]);
        bench.write("urls", url);
        bench
            .run(words("convert -o - --files-from urls"))
            .failed(2, &[url]);
    }
    bench.write("p.parquet", "1\n");
    bench
        .run(words("convert p.parquet -o -"))
        .failed(4, &["p.parquet"]);
    let text = bench
        .run(words("convert p.parquet -o - --input-format text"))
        .ok();
    assert_eq!(text.stdout, b"1\n");
    bench
        .run(words("convert list -o - --input-format parquet"))
        .failed(4, &["list"]);
}
