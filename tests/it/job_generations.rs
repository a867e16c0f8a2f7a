//! Generations of a database: more files, others, fewer. Only what they touch is made, and what earlier
//! manifests say stays true.

use std::fs;
use std::path::PathBuf;

use super::harness::{Bench, files, words};
use super::jobs::{PIPELINE, bench, named, objects, place_of, plan, run_beside, sources, submit};

/// Compares the manifest of a generation with that of `run` over the same rows.
#[track_caller]
fn generation_is_that_of_run(bench: &Bench, generation: u32) {
    let manifest = match generation {
        1 => bench.path("out/d/manifest.jsonl"),
        later => bench.path(&format!("out/d/gen-{later}/manifest.jsonl")),
    };
    let reference = run_beside(bench, PIPELINE);
    let (found, expected) = (named(&manifest), named(&reference.join("d/manifest.jsonl")));
    assert!(found == expected, "generation {generation}");
    bench
        .run(words(&format!("verify {}", manifest.display())))
        .ok();
}

fn first_generation(bench: &Bench) -> PathBuf {
    let job = plan(bench, "--map-tasks 2 --reduce-tasks 2 --job-id one");
    submit(bench, &job);
    job
}

fn commit_of(job: &std::path::Path) -> serde_json::Value {
    serde_json::from_slice(&fs::read(job.join("commit.json")).unwrap()).unwrap()
}

#[test]
fn new_files_make_the_next_generation() {
    let bench = bench();
    first_generation(&bench);
    let before = files(&bench.path("out/d"));
    let nothing = bench.run(words("job plan prep.toml --extend")).ok();
    assert!(nothing.stderr.contains("no new inputs"));
    objects(&bench, "o/5.txt", 2000, 7);
    sources(&bench, "s/5.txt", 5000, 30);
    let later = bench
        .run(words("job plan prep.toml --extend --min-size 1MiB"))
        .ok();
    assert!(later.stderr.contains("2 new inputs"), "{}", later.stderr);
    assert!(later.stdout.is_empty());
    let job = plan(&bench, "--extend --min-size 1MiB --max-age 0s --job-id two");
    submit(&bench, &job);
    generation_is_that_of_run(&bench, 2);
    // No file of the first generation was touched, and only what has changed is there anew.
    for (name, bytes) in &before {
        assert!(
            fs::read(bench.path("out/d").join(name)).unwrap() == *bytes,
            "{name}"
        );
    }
    let chunks = &commit_of(&job)["chunks"]["Obj"];
    let touched =
        chunks["changed"].as_array().unwrap().len() + chunks["added"].as_array().unwrap().len();
    assert!((1..60).contains(&touched), "{chunks}");
    let new = files(&bench.path("out/d/gen-2/Obj"));
    let new = new.keys().filter(|name| name.starts_with("chunk_")).count();
    assert!(new <= touched * 2 + 2, "{new} files for {touched} chunks");
    let diff = bench.run(words(
        "manifest diff out/d/manifest.jsonl out/d/gen-2/manifest.jsonl",
    ));
    assert_eq!(diff.code, 1, "{}", diff.stderr);
    // A file that is known and has changed is no new one.
    objects(&bench, "o/0.txt", 0, 90);
    bench
        .run(words("job plan prep.toml --extend"))
        .failed(9, &["o/0.txt", "--replace"]);
}

#[test]
fn files_are_replaced_and_dropped() {
    let bench = bench();
    first_generation(&bench);
    // The rows of the new file lie elsewhere, and the place of the old one is theirs.
    let mut text = "id\tra\tdec\tnote\n".to_owned();
    for id in 100..200 {
        let (ra, dec) = place_of(id * 13);
        text += &format!("{id}\t{ra}\t{dec}\tmoved\n");
    }
    bench.write("new.dat", &text);
    let job = plan(
        &bench,
        "--replace o/1.txt=new.dat --drop s/2.txt --job-id two",
    );
    submit(&bench, &job);
    bench.write("o/1.txt.old", fs::read(bench.path("o/1.txt")).unwrap());
    let dropped = fs::read(bench.path("s/2.txt")).unwrap();
    bench.write("o/1.txt", &text);
    fs::remove_file(bench.path("s/2.txt")).unwrap();
    generation_is_that_of_run(&bench, 2);
    // What was replaced or dropped does not come back by itself.
    bench.write("s/2.txt", dropped);
    fs::rename(bench.path("o/1.txt.old"), bench.path("o/1.txt")).unwrap();
    bench
        .run(words("job plan prep.toml --drop o/9.txt"))
        .failed(3, &["o/9.txt"]);
    bench
        .run(words("job plan prep.toml --replace o/2.txt=o/3.txt"))
        .failed(2, &["o/3.txt", "already"]);
    // All rows of a table may go.
    let all = "--drop s/0.txt --drop s/1.txt --drop s/3.txt --job-id three";
    let job = plan(&bench, all);
    submit(&bench, &job);
    let found = named(&bench.path("out/d/gen-3/manifest.jsonl"));
    assert!(found.keys().all(|(table, ..)| table != "Src"));
    assert!(
        !commit_of(&job)["chunks"]["Src"]["emptied"]
            .as_array()
            .unwrap()
            .is_empty()
    );
}

#[test]
fn another_way_of_making_rows_is_no_next_generation() {
    let bench = bench();
    first_generation(&bench);
    objects(&bench, "o/5.txt", 2000, 7);
    bench.write(
        "prep.toml",
        PIPELINE.replace("overlap = 0.5", "overlap = 0.4"),
    );
    bench
        .run(words("job plan prep.toml --extend"))
        .failed(2, &["Obj", "generation 1"]);
}

#[test]
fn of_two_jobs_on_one_generation_the_first_is_committed() {
    let bench = bench();
    first_generation(&bench);
    objects(&bench, "o/5.txt", 2000, 7);
    let a = plan(&bench, "--extend --job-id a");
    let b = plan(&bench, "--extend --map-tasks 1 --job-id b");
    submit(&bench, &a);
    let submit = format!("job submit -q --job {}", b.display());
    bench.run(words(&submit)).failed(5, &["generation 2"]);
    let wait = format!("job wait --job {}", b.display());
    bench.run(words(&wait)).failed(5, &["another job"]);
    generation_is_that_of_run(&bench, 2);
}

#[test]
fn what_nobody_needs_goes_and_what_others_name_stays() {
    let bench = bench();
    first_generation(&bench);
    objects(&bench, "o/5.txt", 2000, 7);
    submit(&bench, &plan(&bench, "--extend --job-id two"));
    let gc = |options: &str| {
        bench.run(words(&format!(
            "job gc prep.toml --older-than 0s {options}"
        )))
    };
    // By default all generations stay as their manifests say, and so does what later jobs need.
    gc("--delete").ok();
    for manifest in ["out/d/manifest.jsonl", "out/d/gen-2/manifest.jsonl"] {
        bench.run(words(&format!("verify {manifest}"))).ok();
    }
    objects(&bench, "o/6.txt", 3000, 7);
    submit(&bench, &plan(&bench, "--extend --job-id three"));
    generation_is_that_of_run(&bench, 3);
    // Releasing the first generation spares what the third still names.
    let release = bench.run(words("release out/d/manifest.jsonl --yes")).ok();
    let told = String::from_utf8_lossy(&release.stdout).into_owned();
    assert!(told.contains("another generation names them"), "{told}");
    bench.run(words("verify out/d/gen-3/manifest.jsonl")).ok();
    gc("--delete --generations 1 --exchange").ok();
    assert!(!bench.path("out/d/gen-2/manifest.jsonl").exists());
    bench.run(words("verify out/d/gen-3/manifest.jsonl")).ok();
    let named = named(&bench.path("out/d/gen-3/manifest.jsonl")).len();
    let left = files(&bench.path("out/d"));
    let left = left
        .keys()
        .filter(|name| name.contains("/chunk_") || name.contains("/Reg.txt"));
    let left = left.filter(|name| !name.ends_with("_index.txt") && !name.ends_with(".bin"));
    assert_eq!(left.count(), named);
    // What is lost is made again from the inputs, and changes nothing.
    objects(&bench, "o/7.txt", 4000, 7);
    let job = plan(&bench, "--extend --job-id four");
    submit(&bench, &job);
    generation_is_that_of_run(&bench, 4);
}

#[test]
fn a_file_is_known_by_whatever_path_the_pipeline_was_named() {
    let bench = bench();
    first_generation(&bench);
    fs::create_dir(bench.path("scripts")).unwrap();
    std::os::unix::fs::symlink(bench.root(), bench.path("link")).unwrap();
    for line in [
        "cd scripts && skyprep job plan ../prep.toml --extend",
        "skyprep job plan link/prep.toml --extend",
        "cd link/scripts && skyprep job plan ../link/prep.toml --extend",
    ] {
        let planned = bench.shell(line).ok();
        assert!(
            planned.stderr.contains("no new inputs"),
            "{line}: {}",
            planned.stderr
        );
        assert!(planned.stdout.is_empty(), "{line}");
    }
}

#[test]
fn edits_that_would_double_or_lose_rows_are_refused() {
    let bench = bench();
    first_generation(&bench);
    objects(&bench, "new.dat", 2000, 5);
    objects(&bench, "newer.dat", 3000, 5);
    for (edits, expected) in [
        (
            "--replace o/0.txt=new.dat --replace o/1.txt=./new.dat",
            "two files",
        ),
        (
            "--replace o/0.txt=new.dat --replace o/../o/0.txt=newer.dat",
            "replaced twice",
        ),
        ("--replace o/0.txt=new.dat --drop o/0.txt", "to go"),
    ] {
        bench
            .run(words(&format!("job plan prep.toml {edits}")))
            .failed(2, &[expected]);
    }
}

#[test]
fn a_run_leaves_later_generations_alone() {
    let bench = bench();
    first_generation(&bench);
    let first = fs::read(bench.path("out/d/manifest.jsonl")).unwrap();
    objects(&bench, "o/5.txt", 2000, 7);
    let job = plan(&bench, "--extend --job-id two");
    submit(&bench, &job);
    let again = bench.run(words("run prep.toml")).ok();
    assert!(again.stderr.contains("nothing to do"), "{}", again.stderr);
    assert!(
        again.stderr.contains("gen-2/manifest.jsonl"),
        "{}",
        again.stderr
    );
    assert!(fs::read(bench.path("out/d/manifest.jsonl")).unwrap() == first);
    objects(&bench, "o/6.txt", 3000, 7);
    for line in [
        "run prep.toml",
        "run prep.toml --force",
        "run prep.toml --dry-run",
    ] {
        bench
            .run(words(line))
            .failed(5, &["generation 2 of d", "--extend"]);
    }
    for manifest in ["out/d/manifest.jsonl", "out/d/gen-2/manifest.jsonl"] {
        bench.run(words(&format!("verify {manifest}"))).ok();
    }
}

#[test]
fn nothing_goes_on_from_a_generation_that_was_released() {
    let bench = bench();
    first_generation(&bench);
    bench.run(words("release out/d/manifest.jsonl --yes")).ok();
    objects(&bench, "o/5.txt", 2000, 7);
    for _ in 0..2 {
        bench
            .run(words("job plan prep.toml --extend"))
            .failed(5, &["generation 1 is gone", "another folder"]);
    }
}

#[test]
fn a_request_that_comes_again_after_its_commit_is_the_same_job() {
    let bench = bench();
    first_generation(&bench);
    objects(&bench, "late/5.txt", 2000, 7);
    let request = r#"{"id": "late", "table": "Obj", "files": ["late/5.txt"]}"#;
    bench.write("request.json", request);
    let job = plan(&bench, "--extend --request request.json");
    assert_eq!(plan(&bench, "--extend --request request.json"), job);
    submit(&bench, &job);
    assert_eq!(plan(&bench, "--extend --request request.json"), job);
    bench.write("request.json", request.replace("late/5.txt", "o/1.txt"));
    bench
        .run(words("job plan prep.toml --extend --request request.json"))
        .failed(5, &["something else"]);
    bench.write(
        "request.json",
        request.replace("\"late/5.txt\"", "\"o/1.txt\", \"./o/1.txt\""),
    );
    bench
        .run(words("job plan prep.toml --extend --request request.json"))
        .failed(2, &["o/1.txt", "named twice"]);
}

#[test]
fn two_databases_do_not_take_each_others_tables() {
    let bench = bench();
    first_generation(&bench);
    let before = files(&bench.path("out/d"));
    bench.write(
        "other.toml",
        PIPELINE.replace("name = \"d\"", "name = \"e\""),
    );
    for line in [
        "job plan other.toml",
        "run other.toml",
        "run other.toml --force",
    ] {
        bench
            .run(words(line))
            .failed(5, &["of database d", "a dest of its own"]);
    }
    assert!(files(&bench.path("out/d")) == before);
    assert!(!bench.path("out/e").exists());
    // What was released makes room.
    bench.run(words("release out/d/manifest.jsonl --yes")).ok();
    bench.run(words("run other.toml --force")).ok();
    bench.run(words("verify out/e/manifest.jsonl")).ok();
}

#[test]
fn a_commit_waits_for_who_writes_the_folder() {
    use skyprep::publish::{FolderOptions, OutputFolder};
    let bench = bench();
    let job = plan(&bench, "--map-tasks 1 --reduce-tasks 1");
    let job = job.display();
    bench
        .run(words(&format!("job submit -q --no-commit --job {job}")))
        .ok();
    let writes = OutputFolder::open(&bench.path("out"), FolderOptions::default()).unwrap();
    let commit = format!("job commit --job {job}");
    bench
        .run(words(&commit))
        .failed(75, &["in use", "commit again"]);
    drop(writes);
    bench.run(words(&commit)).ok();
}

#[test]
fn a_link_to_a_folder_that_has_turned_is_told() {
    let bench = bench();
    bench.shell("mv o first && ln -s first o").ok();
    first_generation(&bench);
    bench.shell("cp -r first second && ln -sfn second o").ok();
    bench
        .run(words("job plan prep.toml --extend"))
        .failed(9, &["o/0.txt", "another file"]);
    bench.shell("ln -sfn first o").ok();
    let nothing = bench.run(words("job plan prep.toml --extend")).ok();
    assert!(nothing.stderr.contains("no new inputs"));
}
