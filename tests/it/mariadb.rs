//! A private MariaDB server, one for all tests, and loads as Qserv does them.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use skyprep::dialect::Dialect;

use super::row_splitter;

/// What watches the server: it ends when the tests' end of its stdin does, however they end, and
/// takes server and folder with it.
const KEEPER: &str = r#"folder=$1; shift; "$@" & server=$!
cat >/dev/null
kill -9 $server; wait $server 2>/dev/null; rm -rf -- "$folder""#;

/// A server on a socket in a folder of its own.
pub(crate) struct Server {
    folder: PathBuf,
    /// Never spoken to: the server lives as long as its stdin is open.
    _keeper: Child,
    texts: AtomicUsize,
}

/// The server of this test run, started when the first test asks for it.
pub(crate) fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(Server::start)
}

fn program(name: &str) -> PathBuf {
    ["/usr/sbin", "/usr/bin", "/usr/local/bin"]
        .iter()
        .map(|folder| Path::new(folder).join(name))
        .find(|path| path.exists())
        .unwrap_or_else(|| panic!("{name} is not installed; `make test` installs it (as root)"))
}

fn shell(program: &str, args: &[&str], folder: &Path) {
    let done = Command::new(program).args(args).arg(folder).status();
    assert!(done.unwrap().success(), "{program}");
}

impl Server {
    fn start() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("skyprep-db")
            .tempdir()
            .unwrap()
            .keep();
        // The server does not run as root, and reads files as its own user.
        let user = if rustix::process::geteuid().is_root() {
            shell("chown", &["mysql"], &folder);
            shell("chmod", &["755"], &folder);
            Some("--user=mysql")
        } else {
            None
        };
        let data = format!("--datadir={}/db", folder.display());
        let made = Command::new(program("mariadb-install-db"))
            .arg("--no-defaults")
            .args(user)
            .arg(&data)
            .arg("--auth-root-authentication-method=normal")
            .args(["--skip-test-db"])
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(made.success());
        let keeper = Command::new("sh")
            .args(["-c", KEEPER, "sh"])
            .arg(&folder)
            .arg(program("mariadbd"))
            .arg("--no-defaults")
            .args(user)
            .arg(&data)
            .arg(format!("--socket={}/s", folder.display()))
            .args(["--skip-networking", "--sql-mode=STRICT_TRANS_TABLES"])
            .args(["--max-allowed-packet=64M", "--default-time-zone=+00:00"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self {
            folder,
            _keeper: keeper,
            texts: AtomicUsize::new(0),
        };
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
            .arg(self.folder.join("s"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let bytes = statements.as_bytes().to_vec();
        // A client that meets an error stops reading; what it says of it counts.
        let feeder = std::thread::spawn(move || {
            let _ = stdin.write_all(&bytes);
        });
        let output = child.wait_with_output().unwrap();
        feeder.join().unwrap();
        if output.status.success() {
            Ok(String::from_utf8(output.stdout).unwrap())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    /// Writes bytes where the server can read them.
    fn put(&self, bytes: &[u8]) -> PathBuf {
        let number = self.texts.fetch_add(1, Ordering::Relaxed);
        let path = self.folder.join(format!("{number}.txt"));
        fs::write(&path, bytes).unwrap();
        shell("chmod", &["644"], &path);
        path
    }
}

/// A table as Qserv's JSON and MariaDB's DDL define it.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    name: String,
    columns: Vec<(String, String)>,
    charset: String,
}

impl Table {
    /// A table in the character set latin1 with a name that no other has.
    pub(crate) fn new<N: Into<String>, T: Into<String>>(
        columns: impl IntoIterator<Item = (N, T)>,
    ) -> Self {
        static TABLES: AtomicUsize = AtomicUsize::new(0);
        let columns = columns.into_iter().map(|(n, t)| (n.into(), t.into()));
        Self {
            name: format!("t{}", TABLES.fetch_add(1, Ordering::Relaxed)),
            columns: columns.collect(),
            charset: "latin1".to_owned(),
        }
    }

    pub(crate) fn with_charset(mut self, charset: &str) -> Self {
        self.charset = charset.to_owned();
        self
    }

    /// Qserv's table JSON.
    pub(crate) fn json(&self) -> String {
        let column =
            |(name, kind): &(String, String)| serde_json::json!({"name": name, "type": kind});
        let schema: Vec<_> = self.columns.iter().map(column).collect();
        serde_json::json!({"table": self.name, "is_partitioned": 0, "schema": schema}).to_string()
    }

    /// As Qserv's ingest service makes it: its own column comes first.
    fn ddl(&self) -> String {
        let columns: String = self
            .columns
            .iter()
            .map(|(name, kind)| format!(", `{name}` {kind}"))
            .collect();
        format!(
            "create or replace table {} (qserv_trans_id int not null{columns}) \
             engine=MyISAM default charset {};\n",
            self.name, self.charset
        )
    }
}

/// How a text is loaded.
#[derive(Debug, Clone)]
pub(crate) struct Load<'t> {
    pub(crate) table: &'t Table,
    pub(crate) dialect: Dialect,
    pub(crate) charset: &'t str,
    /// What follows the clauses: a list of columns and `set`.
    pub(crate) columns: String,
    /// What is read back: expressions over the columns.
    pub(crate) select: String,
}

/// What a load gave.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) warnings: usize,
    /// Why, if there were warnings: the first ones.
    pub(crate) reasons: String,
    /// Each row read back; the client writes NULL as `NULL`.
    pub(crate) rows: Vec<Vec<String>>,
}

impl Loaded {
    /// Stops the test if the server complained of anything.
    #[track_caller]
    pub(crate) fn in_silence(self) -> Vec<Vec<String>> {
        assert_eq!(self.warnings, 0, "{}", self.reasons);
        self.rows
    }
}

impl<'t> Load<'t> {
    /// A load that reads back all columns as they are.
    pub(crate) fn new(table: &'t Table, dialect: Dialect, charset: &'t str) -> Self {
        let names = table.columns.iter().map(|(name, _)| format!("`{name}`"));
        Self {
            table,
            dialect,
            charset,
            columns: String::new(),
            select: names.collect::<Vec<_>>().join(", "),
        }
    }

    /// Reads back `form` of each column, in which `?` stands for its name.
    pub(crate) fn reading(mut self, form: &str) -> Self {
        let names = self.table.columns.iter();
        let forms = names.map(|(name, _)| form.replace('?', &format!("`{name}`")));
        self.select = forms.collect::<Vec<_>>().join(", ");
        self
    }

    /// Reads back these expressions.
    pub(crate) fn selecting(mut self, select: &str) -> Self {
        select.clone_into(&mut self.select);
        self
    }

    /// Cuts `text` as Qserv's ingest server does, puts the transaction in front of each row, and
    /// loads it into a new table; says what the server says if it refuses.
    pub(crate) fn run(&self, text: &[u8]) -> Result<Loaded, String> {
        let server = server();
        let contribution = row_splitter::contribution(text, &self.dialect, 7);
        let path = server.put(&contribution);
        let fields = self.clauses();
        let (name, charset) = (&self.table.name, self.charset);
        let script = format!(
            "create database if not exists d; use d; set names utf8mb4;\n{}\
             load data infile '{}' into table {name} character set {charset} {fields} {};\n\
             select '\x01', row_count(), @@warning_count;\nshow warnings limit 3;\n\
             select '\x01'; select {} from {name};\ndrop table {name};",
            self.table.ddl(),
            path.display(),
            self.columns,
            self.select,
        );
        let answer = server.client(&script);
        fs::remove_file(&path).unwrap();
        let answer = answer?;
        let mut lines = answer.split('\n');
        let counts: Vec<&str> = lines.next().unwrap().split('\t').collect();
        let reasons: Vec<&str> = lines.by_ref().take_while(|line| *line != "\x01").collect();
        let mut rows: Vec<Vec<String>> = lines
            .map(|line| line.split('\t').map(str::to_owned).collect())
            .collect();
        rows.pop(); // what follows the last line end
        assert_eq!(counts[1].parse(), Ok(rows.len()), "rows loaded: {counts:?}");
        Ok(Loaded {
            warnings: counts[2].parse().unwrap(),
            reasons: reasons.join("\n"),
            rows,
        })
    }

    fn clauses(&self) -> String {
        let text = |byte: u8| match byte {
            b'\t' => "'\\t'".to_owned(),
            b'\'' => "'\\''".to_owned(),
            b'\\' => "'\\\\'".to_owned(),
            byte => format!("'{}'", char::from(byte)),
        };
        let enclosed = self.dialect.quote();
        format!(
            "fields terminated by {} {} escaped by {} lines terminated by '\\n'",
            text(self.dialect.delimiter()),
            enclosed.map_or_else(String::new, |quote| format!("enclosed by {}", text(quote))),
            text(self.dialect.escape().expect("Qserv wants an escape")),
        )
    }
}
