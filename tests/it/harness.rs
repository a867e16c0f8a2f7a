//! Runs the binary and looks at what it left behind.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// A folder of its own for one test, with the binary at hand.
pub(crate) struct Bench {
    folder: TempDir,
}

/// What a run of the binary gave.
pub(crate) struct Outcome {
    pub(crate) code: i32,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// A folder in memory where there is such a place: for tests that make many files.
    pub(crate) fn in_memory() -> Self {
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        Self {
            folder: folder.unwrap(),
        }
    }

    pub(crate) fn root(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    /// Runs a shell script in the folder; `skyprep` is in its `PATH`.
    pub(crate) fn shell(&self, script: &str) -> Outcome {
        let folder = Path::new(env!("CARGO_BIN_EXE_skyprep")).parent().unwrap();
        let path = format!(
            "{}:{}",
            folder.display(),
            std::env::var("PATH").unwrap_or_default()
        );
        let command = Command::new("bash")
            .args(["-o", "pipefail", "-c", script])
            .current_dir(self.root())
            .env("PATH", path)
            .stdin(Stdio::null())
            .output();
        command.unwrap().into()
    }

    /// Runs `skyprep` in the folder.
    pub(crate) fn run<A: AsRef<std::ffi::OsStr>>(
        &self,
        args: impl IntoIterator<Item = A>,
    ) -> Outcome {
        self.run_with_input(args, b"")
    }

    /// Runs `skyprep` in the folder with `input` as stdin.
    pub(crate) fn run_with_input<A: AsRef<std::ffi::OsStr>>(
        &self,
        args: impl IntoIterator<Item = A>,
        input: &[u8],
    ) -> Outcome {
        let mut child = Command::new(env!("CARGO_BIN_EXE_skyprep"))
            .args(args)
            .current_dir(self.root())
            .env_remove("SLURM_CPUS_PER_TASK")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let bytes = input.to_vec();
        // A reader that stops early closes the pipe; that is for the test to see in the outcome.
        let feeder = std::thread::spawn(move || {
            let _ = stdin.write_all(&bytes);
        });
        let output = child.wait_with_output().unwrap();
        feeder.join().unwrap();
        output.into()
    }
}

impl From<Output> for Outcome {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: output.stdout,
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Outcome {
    /// Stops the test unless the run went well.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{}", self.stderr);
        self
    }

    /// Stops the test unless the run failed with this code and said all of this.
    #[track_caller]
    pub(crate) fn failed(&self, code: i32, said: &[&str]) {
        assert_eq!(self.code, code, "{}", self.stderr);
        for part in said {
            assert!(
                self.stderr.contains(part),
                "'{part}' is not in: {}",
                self.stderr
            );
        }
    }
}

/// Rows of id, ra and dec all over the sky, `step` hundredths of a degree of ra apart.
pub(crate) fn positions(rows: usize, step: usize) -> String {
    (0..rows)
        .map(|row| {
            let (ra, dec) = ((row * step) % 36_000, (row * 104_729) % 18_000);
            format!(
                "{row}\t{}\t{}\n",
                ra as f64 / 100.0,
                dec as f64 / 100.0 - 90.0
            )
        })
        .collect()
}

/// Splits a command line at blanks.
pub(crate) fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

/// The files below `folder` that are not the tool's own, with their bytes.
pub(crate) fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    walk(folder)
        .into_iter()
        .map(|(name, path)| (name, fs::read(path).unwrap()))
        .collect()
}

/// Times of last change of every file and folder below `folder`, the tool's own included.
pub(crate) fn times(folder: &Path) -> BTreeMap<PathBuf, (i64, i64, i64, i64)> {
    let mut all = BTreeMap::new();
    let mut left = vec![folder.to_owned()];
    while let Some(path) = left.pop() {
        let found = fs::symlink_metadata(&path).unwrap();
        if found.is_dir() {
            left.extend(
                fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        }
        let times = (
            found.mtime(),
            found.mtime_nsec(),
            found.ctime(),
            found.ctime_nsec(),
        );
        all.insert(path, times);
    }
    all
}

/// Final names only: what lies in `.skyprep` is left out, other hidden files are litter.
fn walk(folder: &Path) -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    let mut left = vec![folder.to_owned()];
    while let Some(next) = left.pop() {
        let Ok(entries) = fs::read_dir(&next) else {
            continue;
        };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.file_name().is_some_and(|name| name == ".skyprep") {
                continue;
            }
            if path.is_dir() {
                left.push(path);
            } else {
                let name = path
                    .strip_prefix(folder)
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned();
                found.push((name, path));
            }
        }
    }
    found
}

/// The shared material beside the repository; says what is not tested where it is absent.
pub(crate) fn shared(what: &str) -> Option<PathBuf> {
    let shared = repo("../shared");
    if shared.exists() {
        return Some(shared);
    }
    // Straight to stderr: what tests print with macros is not shown unless they fail.
    let _ = writeln!(std::io::stderr(), "SKIPPED: ../shared is absent: {what}");
    None
}

/// A path in the repository.
pub(crate) fn repo(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Returns columns of these names and types as a table's JSON lists them.
pub(crate) fn json_columns(columns: &[(&str, &str)]) -> String {
    let columns = columns.iter();
    let columns = columns.map(|(name, kind)| format!(r#"{{"name": "{name}", "type": "{kind}"}}"#));
    columns.collect::<Vec<_>>().join(", ")
}

/// Reads bytes that are written as hexadecimal digits.
pub(crate) fn of_hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}
