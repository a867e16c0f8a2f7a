//! What was staged loads into a real MariaDB in strict mode, without a warning.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::harness::words;
use super::stars::star_bench;

/// A private MariaDB server on a socket, gone with the test.
pub(crate) struct Server {
    child: Child,
    folder: tempfile::TempDir,
}

fn program(name: &str) -> PathBuf {
    ["/usr/sbin", "/usr/bin", "/usr/local/bin"]
        .iter()
        .map(|folder| Path::new(folder).join(name))
        .find(|path| path.exists())
        .unwrap_or_else(|| panic!("{name} is not installed; `make test` installs it (as root)"))
}

impl Server {
    pub(crate) fn start() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("skyprep-db")
            .tempdir()
            .unwrap();
        let owner = if rustix::process::geteuid().is_root() {
            "mysql"
        } else {
            ""
        };
        if owner == "mysql" {
            let opened = Command::new("chown")
                .arg("mysql")
                .arg(folder.path())
                .status()
                .unwrap();
            assert!(opened.success());
            let opened = Command::new("chmod")
                .arg("755")
                .arg(folder.path())
                .status()
                .unwrap();
            assert!(opened.success());
        }
        let data = format!("--datadir={}/db", folder.path().display());
        let user = (!owner.is_empty()).then(|| format!("--user={owner}"));
        // A server that starts removes what others have left in its folder for temporary files.
        let made = Command::new(program("mariadb-install-db"))
            .env("TMPDIR", folder.path())
            .arg("--no-defaults")
            .args(&user)
            .arg(&data)
            .arg("--auth-root-authentication-method=normal")
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(made.success());
        let child = Command::new(program("mariadbd"))
            .env("TMPDIR", folder.path())
            .arg("--no-defaults")
            .args(&user)
            .arg(&data)
            .arg(format!("--socket={}/s", folder.path().display()))
            .args(["--skip-networking", "--sql-mode=STRICT_TRANS_TABLES"])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self { child, folder };
        let start = Instant::now();
        while server.client("select 1").is_err() {
            assert!(
                start.elapsed() < Duration::from_secs(60),
                "MariaDB does not answer"
            );
            std::thread::sleep(Duration::from_millis(100));
        }
        server
    }

    /// Runs statements and returns what they print, a line per row.
    pub(crate) fn client(&self, statements: &str) -> Result<String, String> {
        let mut child = Command::new(program("mariadb"))
            .args(["--no-defaults", "-uroot", "-N", "-B", "-S"])
            .arg(self.folder.path().join("s"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A client that finds no server does not read; its exit code tells.
        let _ = child.stdin.take().unwrap().write_all(statements.as_bytes());
        let output = child.wait_with_output().unwrap();
        if output.status.success() {
            Ok(String::from_utf8(output.stdout).unwrap())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_star_pipeline_loads_without_a_warning() {
    let bench = star_bench();
    bench.run(words("run stars/prep.toml")).ok();
    // The server reads the files as its own user.
    let opened = Command::new("chmod")
        .args(["-R", "a+rX"])
        .arg(bench.root())
        .status()
        .unwrap();
    assert!(opened.success());
    let server = Server::start();
    let mut script = String::from("create database d; use d;\n");
    for table in ["Star", "StarAstrometry", "Designation", "Constellation"] {
        let path = bench.path(&format!("stars/tables/{table}.json"));
        let json: serde_json::Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        let columns: Vec<String> = json["schema"]
            .as_array()
            .unwrap()
            .iter()
            .map(|c| {
                format!(
                    "`{}` {}",
                    c["name"].as_str().unwrap(),
                    c["type"].as_str().unwrap()
                )
            })
            .collect();
        let charset = json["charset_name"].as_str().unwrap();
        script += &format!(
            "create table {table} ({}) engine=MyISAM default charset {charset};\n",
            columns.join(", ")
        );
    }
    let manifest = fs::read_to_string(bench.path("stars/out/stars/manifest.jsonl")).unwrap();
    let mut overlap_rows = 0;
    for line in manifest.lines().skip(1) {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        if line["overlap"] == true {
            overlap_rows += line["rows"].as_u64().unwrap();
        }
        script += &format!(
            "load data infile '{}' into table {} character set {} \
             fields terminated by '\\t' escaped by '\\\\' lines terminated by '\\n';\n\
             select 'loaded', row_count(), {}, @@warning_count;\n",
            line["url"]
                .as_str()
                .unwrap()
                .strip_prefix("file://")
                .unwrap(),
            line["table"].as_str().unwrap(),
            line["charset"].as_str().unwrap(),
            line["rows"],
        );
    }
    script += "select count(*) from Star; select count(*) from StarAstrometry;\n\
               select count(*) from Constellation where name = 'Boötes';\n\
               select count(*), sum(hip is null), sum(ccdm is null) from Star where star_id < 20000 \
               and subChunkId is not null;\n";
    let script = format!("set names utf8mb4; {script}");
    let answers = server.client(&script).unwrap();
    let mut loads = 0;
    for answer in answers.lines().filter(|line| line.starts_with("loaded")) {
        let cells: Vec<&str> = answer.split('\t').collect();
        assert_eq!(
            cells[1], cells[2],
            "{answer}: rows loaded and rows in the manifest"
        );
        assert_eq!(cells[3], "0", "{answer}: warnings");
        loads += 1;
    }
    assert_eq!(loads, manifest.lines().count() - 1);
    let last: Vec<&str> = answers.lines().rev().take(4).collect();
    assert_eq!(overlap_rows, 1_346);
    assert_eq!(last[3], "21346");
    assert_eq!(last[2], "20000");
    assert_eq!(last[1], "1");
    assert!(last[0].starts_with("21346\t"), "{}", last[0]);
}
