//! Private HTTP servers, started once for all tests: nginx in several moods, rclone's WebDAV.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::s3_server::venv_program;

/// What watches a server: it ends when the tests' end of its stdin does, however they end, and
/// takes server and folder with it. nginx ends its workers when it is asked to end, not when it
/// is killed.
const KEEPER: &str = r#"folder=$1; shift; "$@" & server=$!
cat >/dev/null
kill -TERM $server; wait $server 2>/dev/null
umount "$folder/small" 2>/dev/null
rm -rf -- "$folder""#;

/// The name and the password that the servers know.
pub(crate) const USER: &str = "astro";
pub(crate) const PASSWORD: &str = "Qpw-7391-secret";

/// nginx, with a server for each mood; all but `locked` want no password.
pub(crate) struct Nginx {
    folder: PathBuf,
    /// PUT, DELETE, MKCOL, COPY, MOVE; folders are made as they are needed.
    pub(crate) dav: u16,
    /// The same, but folders must be made.
    pub(crate) strict: u16,
    /// PUT and DELETE only, and no ranges.
    pub(crate) plain: u16,
    /// As `dav`, but TLS with a certificate of its own making.
    pub(crate) tls: u16,
    /// Sends everybody to `dav`.
    pub(crate) redirect: u16,
    /// As `dav`, but wants the password.
    pub(crate) locked: u16,
    _keeper: Child,
}

/// The nginx of this test run.
pub(crate) fn nginx() -> &'static Nginx {
    static NGINX: OnceLock<Nginx> = OnceLock::new();
    NGINX.get_or_init(Nginx::start)
}

/// Returns ports of the loopback that nobody listens at.
pub(crate) fn free_ports<const N: usize>() -> [u16; N] {
    let listeners = [(); N].map(|()| TcpListener::bind(("127.0.0.1", 0)).unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

/// Waits until somebody listens.
pub(crate) fn wait_for(port: u16, name: &str) {
    let start = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "{name} does not answer"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A folder that everybody may use.
fn folder(prefix: &str) -> PathBuf {
    let folder = tempfile::Builder::new().prefix(prefix).tempdir().unwrap();
    let folder = folder.keep();
    open(&folder);
    folder
}

fn open(folder: &Path) {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o777)).unwrap();
}

fn keep(folder: &Path, command: &[&std::ffi::OsStr]) -> Child {
    let log = fs::File::create(folder.join("server.log")).unwrap();
    Command::new("sh")
        .args(["-c", KEEPER, "sh"])
        .arg(folder)
        .args(command)
        .stdin(Stdio::piped())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}

impl Nginx {
    fn start() -> Self {
        let folder = folder("skyprep-nginx");
        for name in ["data", "tmp", "small", "data/fixed"] {
            fs::create_dir(folder.join(name)).unwrap();
            open(&folder.join(name));
        }
        let fixed = folder.join("data/fixed");
        fs::set_permissions(fixed, fs::Permissions::from_mode(0o555)).unwrap();
        let [dav, strict, plain, tls, redirect, locked] = free_ports();
        make_certificate(&folder);
        fs::write(
            folder.join("users"),
            format!("{USER}:{{PLAIN}}{PASSWORD}\n"),
        )
        .unwrap();
        let root = folder.display();
        let all = "dav_methods PUT DELETE MKCOL COPY MOVE; dav_access user:rw group:rw all:r;";
        let full = format!("{all} create_full_put_path on;");
        let server = |listen: String, more: String| {
            format!(
                "server {{ listen 127.0.0.1:{listen}; root {root}/data; client_max_body_size 0; \
                 {more} }}\n"
            )
        };
        let servers = [
            server(dav.to_string(), format!("location / {{ {full} }}")),
            server(strict.to_string(), format!("location / {{ {all} }}")),
            server(
                plain.to_string(),
                "max_ranges 0; location / { dav_methods PUT DELETE; create_full_put_path on; \
                 dav_access user:rw group:rw all:r; }"
                    .to_owned(),
            ),
            server(
                format!("{tls} ssl"),
                format!(
                    "ssl_certificate {root}/cert.pem; ssl_certificate_key {root}/key.pem; \
                     location / {{ {full} }}"
                ),
            ),
            server(
                redirect.to_string(),
                format!("return 307 http://127.0.0.1:{dav}$request_uri;"),
            ),
            server(
                locked.to_string(),
                format!(
                    "auth_basic skyprep; auth_basic_user_file {root}/users; \
                     location / {{ {full} }}"
                ),
            ),
        ]
        .concat();
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .iter()
            .map(|what| format!("{what}_temp_path {root}/data/.tmp-{what};\n"))
            .collect();
        // Workers are not root, so that folders can be closed to them.
        let user = match rustix::process::geteuid().is_root() {
            true => "user nobody nogroup;\n",
            false => "",
        };
        fs::write(
            folder.join("nginx.conf"),
            format!(
                "{user}daemon off; pid {root}/pid; error_log {root}/error.log warn;\n\
                 worker_processes 2; events {{ worker_connections 512; }}\n\
                 http {{ access_log off; default_type text/plain;\n{temporary}{servers} }}\n"
            ),
        )
        .unwrap();
        let program = program("nginx", &["/usr/sbin", "/usr/bin", "/usr/local/sbin"]);
        let conf = folder.join("nginx.conf");
        let error_log = folder.join("error.log");
        let keeper = keep(
            &folder,
            &[
                program.as_os_str(),
                "-c".as_ref(),
                conf.as_os_str(),
                "-e".as_ref(),
                error_log.as_os_str(),
            ],
        );
        wait_for(locked, "nginx");
        Self {
            folder,
            dav,
            strict,
            plain,
            tls,
            redirect,
            locked,
            _keeper: keeper,
        }
    }

    /// The folder that all of them serve; `fixed` in it can't be written to.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// The certificate of `tls`.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.folder.join("cert.pem")
    }

    /// Puts a file system of 1 MiB below the data, where root may do so; says whether it did.
    pub(crate) fn mount_small(&self) -> bool {
        let place = self.data().join("small");
        fs::create_dir_all(&place).unwrap();
        open(&place);
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m,mode=777", "tmpfs"])
            .arg(&place)
            .stderr(Stdio::null())
            .status();
        mounted.is_ok_and(|status| status.success())
    }

    /// Takes that file system away.
    pub(crate) fn unmount_small(&self) {
        let _ = Command::new("umount")
            .arg(self.data().join("small"))
            .status();
    }
}

fn make_certificate(folder: &Path) {
    let made = Command::new("openssl")
        .args([
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "3",
        ])
        .args(["-subj", "/CN=skyprep-tests"])
        .args(["-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-keyout")
        .arg(folder.join("key.pem"))
        .arg("-out")
        .arg(folder.join("cert.pem"))
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(made.success(), "openssl");
}

fn program(name: &str, folders: &[&str]) -> PathBuf {
    folders
        .iter()
        .map(|folder| Path::new(folder).join(name))
        .find(|path| path.exists())
        .unwrap_or_else(|| panic!("{name} is not installed; `make test` installs it (as root)"))
}

/// rclone's WebDAV server; it wants the password.
pub(crate) struct WebDav {
    folder: PathBuf,
    pub(crate) port: u16,
    _keeper: Child,
}

/// The WebDAV server of this test run.
pub(crate) fn webdav() -> &'static WebDav {
    static WEBDAV: OnceLock<WebDav> = OnceLock::new();
    WEBDAV.get_or_init(|| {
        let folder = folder("skyprep-webdav");
        let data = folder.join("data");
        fs::create_dir(&data).unwrap();
        let [port] = free_ports();
        let program = venv_program("rclone");
        let address = format!("127.0.0.1:{port}");
        let config = folder.join("none.conf");
        let command: Vec<&std::ffi::OsStr> = vec![
            program.as_os_str(),
            "serve".as_ref(),
            "webdav".as_ref(),
            data.as_os_str(),
            "--config".as_ref(),
            config.as_os_str(),
            "--addr".as_ref(),
            address.as_ref(),
            "--user".as_ref(),
            USER.as_ref(),
            "--pass".as_ref(),
            PASSWORD.as_ref(),
        ];
        let keeper = keep(&folder, &command);
        wait_for(port, "rclone");
        WebDav {
            folder,
            port,
            _keeper: keeper,
        }
    })
}

impl WebDav {
    /// The folder that is served.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.join("data")
    }
}
