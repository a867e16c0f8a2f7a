//! Bad places: full, read-only, limited, closed. A clear message, the right exit code, nothing half
//! published, and the same command finishes once the place is good.

use std::fs;
use std::io::Write;

use super::harness::{Bench, Outcome, files, positions, words};

/// Each command with the file or folder that it makes in `place`.
const COMMANDS: &[(&str, &str)] = &[
    (
        "partition x.txt -o place/p --kind director --stripes 18 --sub-stripes 10 --overlap 0.01 \
         --ra ra --dec dec --id id --fields id,ra,dec",
        "p",
    ),
    ("convert x.txt y.txt -o place/c/", "c"),
    ("convert x.txt y.txt -o place/c.txt", "c.txt"),
    ("sanitize x.txt y.txt -o place/s.txt", "s.txt"),
    ("stage made place/st --database d", "st"),
    ("run prep.toml", "r"),
];

const PIPELINE: &str = r#"
[database]
name = "d"

[product.x]
inputs = ["x.txt"]
fields = ["id", "ra", "dec"]

[table.X]
kind = "regular"
products = ["x"]

[stage]
dest = "place/r"
"#;

/// Rows of id, ra and dec.
fn text(rows: usize) -> String {
    positions(rows, 7919)
}

/// Inputs, and in `good` what each command makes in a good place.
fn bench() -> Bench {
    let bench = Bench::in_memory();
    bench.write("x.txt", text(3000));
    bench.write("y.txt", text(2000));
    bench.write("prep.toml", PIPELINE);
    let (partition, _) = COMMANDS[0];
    let made = partition.replace("place/p", "made --table T");
    bench.run(words(&made)).ok();
    fs::create_dir(bench.path("place")).unwrap();
    for (command, _) in COMMANDS {
        bench.run(words(command)).ok();
    }
    fs::rename(bench.path("place"), bench.path("good")).unwrap();
    fs::create_dir(bench.path("place")).unwrap();
    bench
}

/// Runs a script where it may mount what nobody else sees; says what is not tested where it can't.
fn with_mounts(bench: &Bench, what: &str, script: &str) -> Option<Outcome> {
    let script = format!("{FUNCTIONS}\n{script}");
    bench.write("script.sh", script);
    for unshare in ["unshare -m", "unshare -rm"] {
        let probe = format!("{unshare} mount -t tmpfs -o size=1m tmpfs place");
        if bench.shell(&probe).code == 0 {
            return Some(bench.shell(&format!("{unshare} bash script.sh")));
        }
    }
    skipped(what, "nothing can be mounted here");
    None
}

/// Straight to stderr: what tests print with macros is not shown unless they fail.
fn skipped(what: &str, why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {why}: {what}");
}

/// `whole OUTPUT`: all that stands in place/OUTPUT is as in good/OUTPUT; `same OUTPUT`: all is there.
/// Reports hold times and are left out; manifests name the same folders in both.
const FUNCTIONS: &str = r#"
die() { echo "FAILED: $*"; exit 1; }
listed() { (cd "$1" 2>/dev/null && find . -name .skyprep -prune -o -type f ! -name report.json -print | sort); }
whole() {
    if [ -f "place/$1" ]; then cmp "place/$1" "good/$1" || die "$2: $1 is partial"; return; fi
    for file in $(listed "place/$1"); do
        cmp "place/$1/$file" "good/$1/$file" || die "$2: $file is partial"
    done
}
same() {
    whole "$1" "$2"
    [ -f "good/$1" ] || [ "$(listed "place/$1")" = "$(listed "good/$1")" ] || die "$2: files differ"
    left=$(find place -name '.*.partial' -o -name staging -o -name 'lock*')
    [ -z "$left" ] || die "$2: left: $left"
}
"#;

#[test]
fn a_full_disk_is_exit_6_and_room_lets_the_same_command_finish() {
    let bench = bench();
    let mut script = String::new();
    for (command, output) in COMMANDS {
        script.push_str(&format!(
            r#"
for room in 0 4 8 16 32 64 128 256 512 800; do
    mount -t tmpfs -o size=4m tmpfs place
    head -c $((4096 - room))K /dev/zero > place/filler
    skyprep {command} > out 2> err; code=$?
    if [ $code != 0 ]; then
        [ $code = 6 ] || die "{output}, $room KiB: exit $code: $(cat err)"
        grep -q 'error: .*place.*No space left' err || die "{output}, $room KiB: $(cat err)"
        grep -q 'hint: free some space' err || die "{output}, $room KiB: $(cat err)"
        whole {output} "full, $room KiB"
        rm place/filler
        skyprep {command} > out 2> err || die "{output}, $room KiB, again: $(cat err)"
        echo full {output}
    fi
    same {output} "$room KiB"
    umount place
done
"#
        ));
    }
    let Some(outcome) = with_mounts(&bench, "full disks", &script) else {
        return;
    };
    let said = String::from_utf8(outcome.stdout).unwrap();
    assert_eq!(outcome.code, 0, "{said}{}", outcome.stderr);
    for (_, output) in COMMANDS {
        assert!(
            said.contains(&format!("full {output}\n")),
            "never full: {output}"
        );
    }
}

#[test]
fn a_read_only_place_is_exit_5_and_what_stands_there_is_done() {
    let bench = bench();
    let mut script = String::from("mount -t tmpfs -o size=64m tmpfs place\n");
    for (command, output) in COMMANDS {
        script.push_str(&format!(
            r#"
mount -o remount,ro place
skyprep {command} > out 2> err; code=$?
[ $code = 5 ] || die "{output}: exit $code: $(cat err)"
grep -q 'error: .*place.*Read-only' err || die "{output}: $(cat err)"
mount -o remount,rw place
skyprep {command} > out 2> err || die "{output}, again: $(cat err)"
same {output} "writable"
mount -o remount,ro place
[ -f place/{output} ] || skyprep {command} > out 2> err || die "{output}, done: $(cat err)"
"#
        ));
    }
    if let Some(outcome) = with_mounts(&bench, "read-only places", &script) {
        let said = String::from_utf8(outcome.stdout).unwrap();
        assert_eq!(outcome.code, 0, "{said}{}", outcome.stderr);
    }
}

#[test]
fn a_folder_that_may_not_be_written_is_exit_5() {
    let bench = bench();
    // Root may write anywhere, so it becomes nobody where it can.
    let nobody = "setpriv --reuid=65534 --regid=65534 --clear-groups";
    bench.shell("chmod 755 . place && chmod -R a+rX .").ok();
    let is_refused = |user: &str| {
        bench.shell(&format!("{user} skyprep --version")).code == 0
            && bench.shell(&format!("{user} touch place/x")).code != 0
    };
    bench.shell("chmod 555 place").ok();
    let Some(user) = ["", nobody].into_iter().find(|user| is_refused(user)) else {
        skipped("folders without permission", "this user may write anywhere");
        return;
    };
    for (command, output) in COMMANDS {
        let refused = bench.shell(&format!("{user} skyprep {command}"));
        refused.failed(5, &["place", "ermission denied", "hint"]);
        bench.shell("chmod 777 place").ok();
        bench.shell(&format!("{user} skyprep {command}")).ok();
        compare(&bench, output, true, command);
        bench.shell("chmod 555 place").ok();
    }
}

#[test]
fn a_limit_of_file_sizes_is_exit_6() {
    let bench = bench();
    bench.write("x.txt", text(30_000));
    bench.run(words("convert x.txt -o good.txt")).ok();
    // Blocks of 1,024 bytes; a partition's longest file is its index.
    for (command, output) in [
        ("convert x.txt -o place/c.txt", "place/c.txt"),
        ("convert x.txt -o place/c/", "x.txt"),
        (COMMANDS[0].0, "chunk_object_index.txt"),
    ] {
        let limited = bench.shell(&format!("ulimit -f 200; skyprep {command}"));
        limited.failed(6, &["File too large", "hint: raise the limit"]);
        assert!(limited.stderr.contains(output), "{}", limited.stderr);
        assert!(files(&bench.path("place")).is_empty());
        bench.run(words(command)).ok();
        bench.shell("rm -r place/*").ok();
    }
    let stdout = bench.shell("ulimit -f 200; skyprep convert x.txt -o - > place/c.txt");
    stdout.failed(6, &["stdout", "File too large"]);
}

#[test]
fn a_quota_is_exit_6() {
    let bench = bench();
    let script = r#"
mount -t tmpfs -o size=64m,usrquota,usrquota_block_hardlimit=300k tmpfs place 2>/dev/null || exit 77
# Who may pass over quotas would not notice them.
run="setpriv --bounding-set=-sys_resource --inh-caps=-sys_resource"
$run true 2>/dev/null || exit 77
chmod 777 place
$run head -c 1M /dev/zero > place/probe 2>/dev/null && exit 77
rm place/probe
$run skyprep COMMAND > out 2> err; code=$?
[ $code = 6 ] || die "exit $code: $(cat err)"
grep -qi 'error: .*place.*quota' err || die "$(cat err)"
whole p quota
umount place
"#;
    let script = script.replace("COMMAND", COMMANDS[0].0);
    let Some(outcome) = with_mounts(&bench, "quotas", &script) else {
        return;
    };
    if outcome.code == 77 {
        skipped("quotas", "tmpfs has no quotas here");
        return;
    }
    let said = String::from_utf8(outcome.stdout).unwrap();
    assert_eq!(outcome.code, 0, "{said}{}", outcome.stderr);
}

#[test]
fn a_full_device_is_exit_6() {
    let bench = bench();
    for command in [
        "skyprep convert x.txt -o /dev/full",
        "skyprep convert x.txt -o - > /dev/full",
        "skyprep sanitize < x.txt > /dev/full",
        &format!("skyprep {} > /dev/full", COMMANDS[0].0),
    ] {
        let outcome = bench.shell(command);
        outcome.failed(6, &["No space left", "hint"]);
        let said = ["/dev/full", "stdout"];
        assert!(
            said.iter().any(|name| outcome.stderr.contains(name)),
            "{}",
            outcome.stderr
        );
    }
}

#[test]
fn a_closed_stdout_harms_no_file() {
    let bench = bench();
    let head = bench.shell("set +o pipefail; skyprep convert x.txt -o - | head -c 10");
    assert_eq!(head.ok().stdout, &text(2).as_bytes()[..10]);
    let piped = bench.shell("cp x.txt y.txt && skyprep convert x.txt y.txt -o - | head -c 10");
    assert_eq!((piped.code, &*piped.stderr), (141, ""));
    // The first file that is opened must not become stdout.
    bench.shell("skyprep convert x.txt -o place/c.txt >&-").ok();
    bench
        .shell(&format!("skyprep {} >&- 2>&-", COMMANDS[0].0))
        .ok();
    let read = |name: &str| fs::read(bench.path(name)).unwrap();
    assert!(read("place/c.txt") == read("x.txt"));
    assert!(files(&bench.path("place/p")) == files(&bench.path("good/p")));
    let closed = bench.shell("skyprep convert x.txt -o - >&-");
    assert!([0, 5, 141].contains(&closed.code), "{}", closed.stderr);
}

/// What stands in the place is as in the good one; report.json holds times.
fn compare(bench: &Bench, output: &str, is_all_there: bool, at: &str) {
    let of = |place: &str| {
        let mut found = files(&bench.path(place));
        found.retain(|name, _| {
            name.split('/').next() == Some(output) && !name.ends_with("report.json")
        });
        found
    };
    let (good, found) = (of("good"), of("place"));
    for (name, bytes) in &found {
        assert!(good.get(name) == Some(bytes), "{at}: {name} is partial");
    }
    assert!(
        !is_all_there || found.len() == good.len(),
        "{at}: files lack"
    );
}

#[test]
fn too_few_handles_are_said_and_nothing_is_half_published() {
    let bench = bench();
    for (command, output) in COMMANDS {
        let mut refusals = 0;
        for limit in (4..=16).chain([39, 40, 41]) {
            let at = format!("{command}, {limit} handles");
            let outcome = bench.shell(&format!("ulimit -n {limit}; skyprep {command} --threads 2"));
            compare(&bench, output, outcome.code == 0, &at);
            // Below, not even the program's libraries can be opened.
            if outcome.code != 0 && outcome.code != 127 {
                refusals += 1;
                outcome.failed(2, &["open files", "hint: raise"]);
                let named = [
                    "place",
                    "x.txt",
                    "y.txt",
                    "made",
                    "prep.toml",
                    "signals",
                    "are needed",
                ];
                let is_named = named.iter().any(|name| outcome.stderr.contains(name));
                assert!(is_named, "{at}: {}", outcome.stderr);
            }
            if outcome.code != 0 {
                bench.run(words(command)).ok();
                compare(&bench, output, true, &at);
            }
            bench.shell("rm -r place/*").ok();
        }
        assert!(refusals > 0, "{command} was never refused");
    }
}
