//! Staging to servers where something is lost, damaged, older or odd.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::harness::{Bench, files, words};
use super::stage_sites::{Server, clear, partitioned, stage, verify};

#[test]
fn what_is_lost_is_sent_again_and_what_is_named_never_goes() {
    for (server, test) in [(Server::Nginx, "lost"), (Server::Rclone, "lost")] {
        let bench = Bench::new();
        let plain = |folder: &str, table: &str, more: &str| {
            let (dest, options) = (server.dest(test), server.options(&bench));
            let line = format!(
                "stage {folder} {dest} --database d --table {table} --kind director {options} {more}"
            );
            bench.run(words(&line))
        };
        for (folder, letter) in [("g1", "1"), ("g2", "2"), ("h1", "3")] {
            for chunk in 1..4 {
                bench.write(
                    &format!("{folder}/chunk_{chunk}.txt"),
                    format!("{letter}\t{chunk}\n"),
                );
            }
        }
        plain("g1", "G", "").ok();
        // A file of the other version that goes away in the middle: the old ones are marked to go.
        bench.write("g3/chunk_1.txt", "9\t9\n");
        bench.write("g3/chunk_9.txt", "9\t9\n");
        fs::set_permissions(
            bench.path("g3/chunk_9.txt"),
            fs::Permissions::from_mode(0o000),
        )
        .unwrap();
        let broken = plain("g3", "G", "--force");
        if broken.code == 0 {
            // Who is root reads all.
            plain("g1", "G", "--force").ok();
        } else {
            plain("g1", "G", "").ok();
        }
        plain("h1", "H", "").ok();
        verify(&bench, server, test, "").ok();

        // Lost, and damaged: the size tells the first, --force mends both.
        let folder = server.folder(test).join("d/G");
        let delete = |name: &str| {
            if server == Server::Nginx {
                return fs::remove_file(folder.join(name)).unwrap();
            }
            // rclone must know of it: a manifest of one file is released.
            let text = fs::read_to_string(server.folder(test).join("d/manifest.jsonl")).unwrap();
            let line = text
                .lines()
                .find(|line| line.contains(name) && line.contains("\"G\""));
            let header = text.lines().next().unwrap();
            let count = text.lines().count() - 1;
            let header =
                header.replace(&format!("\"contributions\":{count}"), "\"contributions\":1");
            bench.write("one.jsonl", format!("{header}\n{}\n", line.unwrap()));
            let options = server.options(&bench).replace("--state-dir state", "");
            bench
                .run(words(&format!("release one.jsonl --yes {options}")))
                .ok();
        };
        delete("chunk_2.txt");
        verify(&bench, server, test, "").failed(9, &["1 of 6"]);
        let mended = plain("g1", "G", "").ok();
        assert!(
            mended.stderr.contains("2 of them were there"),
            "{}",
            mended.stderr
        );
        verify(&bench, server, test, "").ok();
        if server == Server::Nginx {
            fs::write(folder.join("chunk_1.txt"), "x\tx\n").unwrap();
            verify(&bench, server, test, "").failed(9, &["1 of 6"]);
            plain("g1", "G", "--force").ok();
            verify(&bench, server, test, "").ok();
        }

        // An older manifest does not release a newer version.
        let manifest = fs::read(server.folder(test).join("d/manifest.jsonl")).unwrap();
        bench.write("old.jsonl", manifest);
        plain("g2", "G", "--force").ok();
        let options = server.options(&bench).replace("--state-dir state", "");
        let old = bench.run(words(&format!("release old.jsonl --yes {options}")));
        old.failed(9, &["not what the manifest says"]);
        assert!(
            String::from_utf8(old.stdout)
                .unwrap()
                .contains("another version")
        );
        let left = files(&server.folder(test));
        assert_eq!(
            left.keys().filter(|name| name.starts_with("d/G/")).count(),
            3
        );
        assert!(left.contains_key("d/manifest.jsonl"));
        plain("h1", "H", "").ok();
        verify(&bench, server, test, "").ok();
        clear(&bench, server, test);
    }
}

#[test]
fn odd_requests_are_refused_before_anything_is_sent() {
    let (server, test) = (Server::Rclone, "odd");
    let bench = partitioned();
    stage(&bench, server, test, "--presign 8d").failed(2, &["seven days"]);
    for url in ["data.example.org/x", "s3://x/y", "http://h/x?token=1"] {
        let refused = stage(&bench, server, test, &format!("--public-url {url}"));
        refused.failed(2, &["hint"]);
        assert!(!refused.stderr.contains("token=1"), "{}", refused.stderr);
    }
    let refused = stage(&bench, server, test, "--public-url https://u:hush@h/x");
    refused.failed(2, &["password"]);
    assert!(!refused.stderr.contains("hush"), "{}", refused.stderr);
    assert!(!server.folder(test).exists());
    // Another division of the sky.
    stage(&bench, server, test, "").ok();
    let line = "partition x.txt -o other --kind director --stripes 85 --sub-stripes 12 --overlap 0.1 \
                --ra ra --dec dec --fields id,ra,dec --table Other";
    bench.run(words(line)).ok();
    let (dest, options) = (server.dest(test), server.options(&bench));
    let other = bench.run(words(&format!("stage other {dest} --database d {options}")));
    other.failed(5, &["T and Other divide the sky"]);
    bench.run(words("stage made here --database d")).ok();
    let other = bench.run(words("stage other here --database d"));
    other.failed(5, &["divide the sky"]);
    // Files that lie elsewhere are not ours to remove.
    let text = fs::read_to_string(bench.path("here/d/manifest.jsonl")).unwrap();
    let root = format!("file://{}/here/d/T/", bench.root().display());
    assert!(text.contains(&root), "{text}");
    bench.write(
        "moved.jsonl",
        text.replace(&root, &format!("file://{}/made/", bench.root().display())),
    );
    let refused = bench.run(words("release moved.jsonl --yes"));
    refused.failed(5, &["/d/T/", "nothing was removed"]);
    // Folders in folders are taken, too.
    bench.write("deep/chunk_1.txt", "1\n");
    bench.write("deep/001/chunk_1.txt", "2\n");
    bench
        .run(words("stage deep flat --database d --table D --kind child"))
        .ok();
    assert_eq!(files(&bench.path("flat/d/D")).len(), 2);
    bench.write("deep/chunk_2.csv", "2\n");
    let odd = bench.run(words(
        "stage deep flat2 --database d --table D --kind child",
    ));
    odd.failed(2, &["chunk_2.csv"]);
    clear(&bench, server, test);
}
