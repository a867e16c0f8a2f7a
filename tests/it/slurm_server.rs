//! A private Slurm of three nodes on this machine, one for all tests.
//!
//! It needs no root, no host name that resolves and nothing of the system's own Slurm or munge: all
//! that it keeps lies in a folder of its own. Its clocks are set fast; [`configuration`] says what
//! was found to matter.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// What starts Slurm and watches it: it ends when the tests' end of its stdin does, however they
/// end, and takes daemons, jobs and folder with it. Jobs leave every process group and family, but
/// all that belongs to this Slurm has its configuration in the environment.
const KEEPER: &str = r#"folder=$1; conf=$folder/slurm.conf
trap : HUP INT TERM
run() { SLURM_CONF=$conf "$@" </dev/null & }
run munged --foreground --key-file="$folder/munge.key" --socket="$folder/munge.socket" \
    --pid-file="$folder/munged.pid" --log-file="$folder/log/munged.log" \
    --seed-file="$folder/munged.seed"
until munge -S "$folder/munge.socket" -n; do kill -0 $! || exit; sleep 0.05; done
run slurmctld -D
for node in n1 n2 n3; do run slurmd -D -N $node; done
cat >/dev/null
for round in 1 2 3 4 5 6 7 8 9; do
    for found in $(grep -lzxF "SLURM_CONF=$conf" /proc/[0-9]*/environ); do
        process=${found#/proc/}; kill -9 "${process%/environ}"
    done
    sleep 0.1
done
rm -rf -- "$folder""#;

const PROGRAMS: [&str; 8] = [
    "munge",
    "munged",
    "sbatch",
    "scontrol",
    "sinfo",
    "slurmctld",
    "slurmd",
    "squeue",
];

/// Where programs are looked for; plain users often lack the first in their `PATH`.
const PLACES: [&str; 4] = ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"];

const NODES: [&str; 3] = ["n1", "n2", "n3"];

/// How long daemons may need on a machine that is busy with other tests.
const START: Duration = Duration::from_secs(60);

/// A running Slurm: nodes `n1` to `n3`, each of 2 CPUs and 4000 MB, in one partition `main`.
pub(crate) struct Slurm {
    folder: PathBuf,
    /// Never spoken to: Slurm lives as long as its stdin is open.
    _keeper: Child,
}

/// The Slurm of this test run, started when the first test asks for it.
pub(crate) fn slurm() -> &'static Slurm {
    static SLURM: OnceLock<Slurm> = OnceLock::new();
    SLURM.get_or_init(Slurm::start)
}

impl Slurm {
    fn start() -> Self {
        for program in PROGRAMS {
            let is_there = PLACES.iter().any(|at| Path::new(at).join(program).exists());
            assert!(
                is_there,
                "{program} is not installed; `make test` installs it (as root)"
            );
        }
        // munged wants its socket where everybody can reach it.
        let folder = tempfile::Builder::new()
            .prefix("skyprep-slurm")
            .permissions(fs::Permissions::from_mode(0o755))
            .tempdir();
        let folder = folder.unwrap().keep();
        for name in ["log", "state", "spool", "spool/n1", "spool/n2", "spool/n3"] {
            fs::create_dir(folder.join(name)).unwrap();
        }
        write_key(&folder.join("munge.key"));
        fs::write(folder.join("slurm.conf"), configuration(&folder)).unwrap();
        let mut keeper = cleared("sh");
        keeper
            .args(["-c", KEEPER, "sh"])
            .arg(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let slurm = Self {
            _keeper: keeper.spawn().unwrap(),
            folder,
        };
        slurm.wait_for_nodes(&NODES, takes_jobs);
        slurm
    }

    /// A command of Slurm's (`sbatch`, `squeue`, ...) that talks to this Slurm.
    ///
    /// What runs in jobs gets the caller's environment, so it may call Slurm, too.
    pub(crate) fn command(&self, name: &str) -> Command {
        let mut command = cleared(name);
        command.env("SLURM_CONF", self.folder.join("slurm.conf"));
        command
    }

    /// Runs a command of Slurm's and returns what it says on stdout.
    #[track_caller]
    pub(crate) fn ask(&self, name: &str, args: &[&str]) -> String {
        let output = self.command(name).args(args).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name} {args:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Takes a node away as a power cut does: daemon, jobs and all are killed at once.
    ///
    /// Slurm takes about half a minute to notice; then it starts the node's jobs elsewhere.
    pub(crate) fn kill_node(&self, node: &str) {
        // Daemon before steps before jobs: nobody may live to tell that a job ended.
        let mut victims = self.processes(node);
        victims.sort_by_key(|(rank, _)| *rank);
        assert!(!victims.is_empty(), "{node} does not run");
        for (_, process) in victims {
            // It may have ended by itself.
            let _ = kill_process(process, Signal::KILL);
        }
    }

    /// Starts a node again that was killed, once Slurm has missed it, and waits until it is back.
    ///
    /// A node that comes back sooner keeps its lost jobs "running" for minutes.
    pub(crate) fn revive_node(&self, node: &str) {
        self.wait_for_nodes(&[node], |state| state.starts_with("down"));
        let start = r#"slurmd -D -N "$1" </dev/null >/dev/null 2>&1 &"#;
        let mut shell = self.command("sh");
        let status = shell.args(["-c", start, "sh", node]).status();
        assert!(status.unwrap().success());
        self.wait_for_nodes(&[node], takes_jobs);
    }

    /// Waits until no job is left, whatever became of it; waiting ones count.
    #[track_caller]
    pub(crate) fn wait_idle(&self, timeout: Duration) {
        self.wait_while(timeout, |_| true);
    }

    /// Waits until these jobs (the ids of whole arrays) have left the queue.
    #[track_caller]
    pub(crate) fn wait_for_jobs(&self, ids: &[&str], timeout: Duration) {
        self.wait_while(timeout, |id| ids.contains(&id));
    }

    #[track_caller]
    fn wait_while(&self, timeout: Duration, is_awaited: impl Fn(&str) -> bool) {
        let start = Instant::now();
        while self
            .ask("squeue", &["-h", "-o", "%F"])
            .lines()
            .any(|id| is_awaited(id.trim()))
        {
            assert!(start.elapsed() < timeout, "{}", self.ask("squeue", &[]));
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Waits until the states of these nodes are such.
    fn wait_for_nodes(&self, nodes: &[&str], is_such: impl Fn(&str) -> bool) {
        let start = Instant::now();
        let list = nodes.join(",");
        loop {
            // No answer is an answer as long as the daemon is coming up.
            let output = self
                .command("sinfo")
                .args(["-h", "-N", "-n", &list, "-o", "%T"])
                .output()
                .unwrap();
            let states = String::from_utf8(output.stdout).unwrap();
            if states.lines().filter(|state| is_such(state)).count() == nodes.len() {
                return;
            }
            let log = self.folder.join("log/slurmctld.log");
            let log = || fs::read_to_string(&log).unwrap_or_default();
            assert!(start.elapsed() < START, "{nodes:?}: {states}{}", log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// The processes of a node, in the order in which they are to be killed.
    fn processes(&self, node: &str) -> Vec<(Rank, Pid)> {
        let conf = format!("SLURM_CONF={}/slurm.conf", self.folder.display());
        let on_node = format!("SLURMD_NODENAME={node}");
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").unwrap() {
            let path = entry.unwrap().path();
            let Some(process) = pid(&path.file_name().unwrap().to_string_lossy()) else {
                continue;
            };
            let environment = words(&path.join("environ"));
            if !environment.contains(&conf) {
                continue;
            }
            let args = words(&path.join("cmdline"));
            let is_daemon = args.first().is_some_and(|name| name.ends_with("slurmd"));
            if is_daemon && args.iter().any(|arg| arg == node) {
                found.push((Rank::Daemon, process));
            }
            if environment.contains(&on_node) {
                found.push((Rank::Job, process));
                // What watches a job does not know the node's name, but is its parent.
                found.extend(step_above(&path).map(|step| (Rank::Step, step)));
            }
        }
        found
    }
}

fn takes_jobs(state: &str) -> bool {
    matches!(state, "idle" | "mixed" | "allocated")
}

/// What a process of a node is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Daemon,
    Step,
    Job,
}

fn pid(text: &str) -> Option<Pid> {
    text.parse().ok().and_then(Pid::from_raw)
}

/// The parent of a process, if that is a `slurmstepd`.
fn step_above(process: &Path) -> Option<Pid> {
    let stat = fs::read_to_string(process.join("stat")).ok()?;
    // The name in brackets may hold anything.
    let parent = stat.rsplit_once(") ")?.1.split(' ').nth(1)?;
    let name = fs::read_to_string(format!("/proc/{parent}/comm")).ok()?;
    name.starts_with("slurmstepd").then(|| pid(parent))?
}

/// The strings of a file that separates them by NUL; none if it can't be read.
fn words(path: &Path) -> Vec<String> {
    let bytes = fs::read(path).unwrap_or_default();
    let words = bytes.split(|byte| *byte == 0);
    words
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect()
}

/// A command that finds daemons, and does not know of another Slurm that the tests may run in.
fn cleared(program: &str) -> Command {
    let mut command = Command::new(program);
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:{}", PLACES.join(":")));
    for (name, _) in std::env::vars_os() {
        let of_slurm = ["SLURM", "SBATCH_", "SQUEUE_", "SINFO_", "SCONTROL_"];
        if of_slurm
            .iter()
            .any(|start| name.to_string_lossy().starts_with(start))
        {
            command.env_remove(name);
        }
    }
    command
}

fn write_key(path: &Path) {
    let mut key = [0; 128];
    let mut source = fs::File::open("/dev/urandom").unwrap();
    source.read_exact(&mut key).unwrap();
    let file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    file.unwrap().write_all(&key).unwrap();
}

/// Ports below those that the system gives to outgoing connections: a node that was killed finds
/// its port free when it comes back.
fn quiet_ports() -> [u16; 4] {
    let first = 20_000 + (std::process::id() % 10_000) as u16;
    let mut free = (first..32_000).filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    [(); 4].map(|()| free.next().unwrap())
}

/// The `slurm.conf`. Found by trying, with Slurm 22.05 of Debian 12:
///
/// - Several `slurmd -N name` live on one host if each node has a port, and a spool folder, PID file
///   and log with `%n` in their names. `config_overrides` lets a node claim what the machine lacks.
/// - `linuxproc` and `task/none` do without cgroups. Memory is counted, not enforced.
/// - A requeued job waits for `cred_expire` before it starts again (11 s here, 121 s by default).
/// - A node that is killed is `DOWN` after 26 to 35 s (`SlurmdTimeout`), and its jobs that have
///   `--requeue` are pending again then.
/// - A task of an array may `scontrol requeue` itself by `ARRAY_TASK` or by its job id. Slurm
///   kills it at once ("CANCELLED ... DUE TO JOB REQUEUE"), so nothing needs to follow;
///   `SLURM_RESTART_COUNT` is one more then, the log is appended to with `--open-mode=append`.
///   Another task that failed does not disturb that. With `RequeueExit=75` the same script is
///   requeued once, not twice. It is not set here, so that tests see what scripts do themselves.
/// - `afterany` on an array waits for requeued tasks, in `BeginTime`, too. `afterok` does not
///   fire any more after one.
/// - `scancel` sends TERM to the batch shell and all below it. A script that requeues itself then
///   comes back from the dead, and nobody can cancel it. So TERM must not lead to a requeue; the
///   early warning before the time limit wants a signal of its own (`--signal=B:USR1@60`), which
///   goes to the batch shell alone.
fn configuration(folder: &Path) -> String {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let host = host.trim().split('.').next().unwrap();
    let user = rustix::process::geteuid().as_raw();
    let folder = folder.display();
    let [port, ports @ ..] = quiet_ports();
    let mut text = format!(
        "ClusterName=skyprep
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=10
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/%n.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerCPU=500
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,batch_sched_delay=0,bf_interval=2
SlurmdTimeout=20
InactiveLimit=0
MinJobAge=300
KillWait=5
ReturnToService=2
MaxArraySize=1001
"
    );
    for (node, port) in NODES.iter().zip(ports) {
        text += &format!(
            "NodeName={node} NodeAddr=127.0.0.1 NodeHostname={host} Port={port} CPUs=2 \
             RealMemory=4000 State=UNKNOWN\n"
        );
    }
    text + "PartitionName=main Nodes=n[1-3] Default=YES MaxTime=INFINITE State=UP\n"
}
