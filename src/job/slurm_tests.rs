//! Tests of the scripts for Slurm: what they say, and what bash makes of them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::*;

/// A folder whose name every shell gets wrong that does not quote.
const ODD: &str = "it's 50% \"odd\" $HOME `x` #1";

fn stage(kind: TaskKind, text: &str) -> TaskStage {
    TaskStage {
        kind,
        numbers: numbers_of(text).unwrap(),
    }
}

fn rendered(stages: &[TaskStage], options: &SlurmOptions) -> Vec<SlurmScript> {
    let (job, program) = (Path::new("/shared/job"), Path::new("/opt/skyprep"));
    scripts("a1", job, program, stages, options, true)
}

#[test]
fn numbers_are_compressed_and_read_back() {
    for text in ["", "3", "1-20", "3,7-9", "1,3,5-6,4294967294-4294967295"] {
        assert_eq!(compressed(&numbers_of(text).unwrap()), text);
    }
    assert_eq!(compressed(&[1, 2, 4, 5, 6, 9]), "1-2,4-6,9");
    for wrong in [
        ",",
        "1,",
        "a",
        "+1",
        "-1",
        "3-1",
        "2,2",
        "5,1",
        "1-4294967295",
        "1 ",
    ] {
        assert_eq!(numbers_of(wrong), None, "{wrong}");
    }
}

#[test]
fn a_stage_waits_for_the_one_before() {
    let stages = [
        stage(TaskKind::Map, "1-20"),
        stage(TaskKind::Merge, ""),
        stage(TaskKind::Reduce, "2,5"),
        stage(TaskKind::Map, "21-30"),
    ];
    let scripts = rendered(&stages, &SlurmOptions::default());
    let names: Vec<&str> = scripts.iter().map(|s| s.file_name.as_str()).collect();
    assert_eq!(
        names,
        ["01-map.sh", "02-reduce.sh", "03-map.sh", "04-commit.sh"]
    );
    let after: Vec<&[usize]> = scripts.iter().map(|s| s.after.as_slice()).collect();
    assert_eq!(after, [&[][..], &[0], &[1], &[2]]);
    assert_eq!(scripts[1].array.as_deref(), Some("2,5"));
    let ids = ["7".to_owned(), "8".to_owned()];
    assert_eq!(scripts[0].dependency(&ids), None);
    assert_eq!(scripts[2].dependency(&ids).unwrap(), "afterany:8");
}

#[test]
fn large_numbers_get_arrays_of_their_own() {
    let options = SlurmOptions {
        most_array: 11,
        most_running: Some(7),
        ..SlurmOptions::default()
    };
    let scripts = rendered(&[stage(TaskKind::Map, "2,4-12,40")], &options);
    let arrays: Vec<(u32, &str)> = scripts
        .iter()
        .filter_map(|s| Some((s.offset, s.array.as_deref()?)))
        .collect();
    assert_eq!(arrays, [(0, "2,4-10%2"), (10, "1-2%2"), (39, "1%2")]);
    assert!(scripts[1].text.contains("#SBATCH --array=1-2%2\n"));
    assert!(
        scripts[1]
            .text
            .contains("task=$((10 + SLURM_ARRAY_TASK_ID))\n")
    );
    assert_eq!(scripts[3].after, [0, 1, 2]);
}

#[test]
fn options_are_passed_on() {
    let options = SlurmOptions {
        partition: Some("long".into()),
        account: Some("me & you".into()),
        time: Some("2:00:00".into()),
        mem: Some("4G".into()),
        cpus_per_task: Some(2),
        extra: vec!["--constraint=x\ny".into()],
        ..SlurmOptions::default()
    };
    for script in rendered(&[stage(TaskKind::Map, "1")], &options) {
        for line in [
            "#SBATCH --partition=long\n",
            "#SBATCH --account='me & you'\n",
            "#SBATCH --time=2:00:00\n",
            "#SBATCH --mem=4G\n",
            "#SBATCH --cpus-per-task=2\n",
            "#SBATCH --constraint=x y\n",
            "#SBATCH --requeue\n",
        ] {
            assert!(script.text.contains(line), "{line}{}", script.text);
        }
        assert!(!script.text.contains("--qos"));
    }
}

#[test]
fn directives_stand_before_commands() {
    for script in rendered(&[stage(TaskKind::Reduce, "1-3")], &SlurmOptions::default()) {
        let mut lines = script.text.lines().skip_while(|line| line.starts_with('#'));
        assert!(lines.all(|line| !line.starts_with("#SBATCH")));
        assert!(script.text.lines().all(|line| line.len() <= 100));
    }
    let job = Path::new("/a b/it's 5%");
    let scripts = scripts("a b", job, job, &[], &SlurmOptions::default(), true);
    let log = "#SBATCH --output='/a b/it'\\''s 5%%/slurm/log/%x-%j.log'\n";
    assert!(scripts[0].text.contains(log), "{}", scripts[0].text);
    assert!(scripts[0].text.contains("--job-name=skyprep-a_b-commit\n"));
}

/// Stand-ins for skyprep and scontrol in a folder with an odd name.
struct Stage {
    folder: tempfile::TempDir,
}

impl Stage {
    fn new() -> Self {
        let stage = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        fs::create_dir(stage.path("")).unwrap();
        let program = "#!/bin/bash\nd=$(dirname \"$0\")\ntrap 'kill $!; exit 75' TERM\n\
            printf '%s|' \"$@\" >\"$d/args\"\nif [ -e \"$d/slow\" ]; then sleep 60 & wait; fi\n\
            exit $(cat \"$d/code\")\n";
        let scontrol = "#!/bin/bash\nprintf '%s ' \"$@\" >\"$(dirname \"$0\")/asked\"\nexit 1\n";
        for (name, text) in [("skyprep", program), ("scontrol", scontrol)] {
            fs::write(stage.path(name), text).unwrap();
            let mode = fs::Permissions::from_mode(0o755);
            fs::set_permissions(stage.path(name), mode).unwrap();
        }
        stage
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(ODD).join(name)
    }

    fn said(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// Starts the script of task 1012, or of the commit, as Slurm does.
    fn start(&self, index: usize, restarts: Option<&str>) -> Child {
        let scripts = scripts(
            "a1",
            &self.path("job"),
            &self.path("skyprep"),
            &[stage(TaskKind::Map, "1012")],
            &SlurmOptions::default(),
            true,
        );
        fs::write(self.path("script.sh"), &scripts[index].text).unwrap();
        let path = std::env::var("PATH").unwrap();
        let mut bash = Command::new("bash");
        bash.arg(self.path("script.sh"))
            .env("PATH", format!("{}:{path}", self.path("").display()))
            .env("SLURM_ARRAY_JOB_ID", "77")
            .env("SLURM_ARRAY_TASK_ID", "1")
            .env("SLURM_JOB_ID", "78")
            .env_remove("SLURM_RESTART_COUNT")
            .stderr(Stdio::null());
        if let Some(restarts) = restarts {
            bash.env("SLURM_RESTART_COUNT", restarts);
        }
        bash.spawn().unwrap()
    }

    /// Runs a script whose command ends with that code.
    fn run(&self, index: usize, code: &str, restarts: Option<&str>) -> (Option<i32>, String) {
        fs::write(self.path("code"), code).unwrap();
        let status = self.start(index, restarts).wait().unwrap();
        let asked = self.said("asked");
        fs::write(self.path("asked"), "").unwrap();
        (status.code(), asked)
    }

    /// Sends the shell a signal while its command runs.
    fn run_with_signal(&self, signal: &str) -> (Option<i32>, String) {
        fs::write(self.path("slow"), "").unwrap();
        fs::write(self.path("args"), "").unwrap();
        let mut shell = self.start(0, None);
        let start = Instant::now();
        while self.said("args").is_empty() {
            assert!(start.elapsed() < Duration::from_secs(60));
            std::thread::sleep(Duration::from_millis(10));
        }
        // The command has come far; the shell has a word to say before it waits.
        std::thread::sleep(Duration::from_millis(300));
        let id = shell.id().to_string();
        let sent = Command::new("bash")
            .args(["-c", "kill -s $0 $1", signal, &id])
            .status();
        assert!(sent.unwrap().success());
        (shell.wait().unwrap().code(), self.said("asked"))
    }
}

#[test]
fn a_task_is_asked_for_again_only_after_75() {
    let stage = Stage::new();
    assert_eq!(stage.run(0, "0", None), (Some(0), String::new()));
    let job = stage.path("job").display().to_string();
    assert_eq!(
        stage.said("args"),
        format!("job|task|map|1012|--job|{job}|")
    );
    assert_eq!(stage.run(0, "3", None), (Some(3), String::new()));
    let again = "requeue 77_1 ".to_owned();
    // The scontrol here refuses, so the code is for Slurm to see.
    assert_eq!(stage.run(0, "75", None), (Some(75), again.clone()));
    assert_eq!(stage.run(0, "75", Some("19")), (Some(75), again));
    assert_eq!(stage.run(0, "75", Some("20")), (Some(1), String::new()));
}

#[test]
fn a_commit_may_be_the_second() {
    let stage = Stage::new();
    assert_eq!(stage.run(1, "5", None), (Some(0), String::new()));
    let job = stage.path("job").display().to_string();
    assert_eq!(stage.said("args"), format!("job|commit|--job|{job}|"));
    let again = "requeue 78 ".to_owned();
    assert_eq!(stage.run(1, "75", None), (Some(75), again));
    assert_eq!(stage.run(1, "1", None), (Some(1), String::new()));
}

#[test]
fn the_command_hears_of_signals() {
    let stage = Stage::new();
    let again = "requeue 77_1 ".to_owned();
    assert_eq!(stage.run_with_signal("USR1"), (Some(75), again));
    let stage = Stage::new();
    assert_eq!(stage.run_with_signal("TERM"), (Some(143), String::new()));
}
