#!/usr/bin/env python3
"""Runs a skyprep job with Dask: each task is a `skyprep job task ...` on some worker.

    python skyprep_dask.py --job JOB --workers 4
    python skyprep_dask.py --job JOB --scheduler tcp://head:8786
    python skyprep_dask.py --job JOB --slurm-workers 20 --account me --walltime 2:00:00

or in Python, where a client is there already: code = skyprep_dask.run("JOB", client=client)

The job is made by `skyprep job plan`; its folder and the program must be where every worker sees
them, under the same paths. Tasks that are done are not run again, so the same command goes on with
a job that was stopped. The exit code is that of `skyprep job commit` (0 if the job was committed
before); 75 says that tasks were interrupted or waited too long, and the same command will go on.

Needs Python 3.9 and dask.distributed, and dask_jobqueue for --slurm-workers. A worker should have
one thread, for each of its threads runs a task.
"""

import argparse
import heapq
import json
import os
import queue
import shutil
import subprocess
import sys
import time

# Interrupted, or out of something, or too early: running it again may help.
AGAIN = 75
# What `skyprep job commit` says of a job that is committed.
COMMITTED = 5
# A worker can't run anything.
FAULT = 10
# How much of what a failed task said is shown.
TAIL_BYTES = 2000

# Becomes the program, which the kernel then ends (TERM) when the worker that waits for it is gone.
# Not by preexec_fn, which is not safe where there are threads.
BECOME = """
import ctypes, os, sys
try:
    ctypes.CDLL(None).prctl(1, 15)  # PR_SET_PDEATHSIG, SIGTERM
except (AttributeError, OSError):
    pass  # not Linux: what a lost worker leaves behind is harmless
if os.getppid() != int(sys.argv[1]):
    sys.exit(75)
os.execvp(sys.argv[2], sys.argv[2:])
"""


def say(text):
    """Prints a line of progress."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def task_runner(threads):
    """Returns a function that runs a task; it returns exit code and the end of what was said."""

    # A function made in a function travels whole: workers need not have this module.
    def run_task(words):
        environment = dict(os.environ)
        if threads:
            environment["SKYPREP_THREADS"] = str(threads)
        done = subprocess.run(
            [sys.executable, "-c", BECOME, str(os.getpid()), *words],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        return done.returncode, done.stderr[-TAIL_BYTES:].decode(errors="replace").strip()

    return run_task


def numbers_of(text):
    """Returns the numbers of a list like `3,7-9`."""
    numbers = []
    for run in filter(None, text.split(",")):
        first, _, last = run.partition("-")
        numbers.extend(range(int(first), int(last or first) + 1))
    return numbers


class Stage:
    """Tasks of one kind that may run at the same time, with what became of them."""

    def __init__(self, client, words, kind, options):
        self.client = client
        self.words = words
        self.kind = kind
        self.options = options
        self.run_task = task_runner(options["threads"])
        # Futures that have ended, with the number of their task.
        self.ended = queue.Queue()
        # (when, number, how often it was tried) of tasks to submit.
        self.due = []
        self.running = {}
        self.failed = {}

    def run(self, numbers):
        """Runs these tasks to their ends; returns exit codes of those that failed, by number."""
        say(f"{self.kind}: {len(numbers)} tasks to do")
        self.due = [(0.0, number, 1) for number in numbers]
        done = 0
        while self.due or self.running:
            self.submit_due()
            wait = max(0.0, self.due[0][0] - time.monotonic()) if self.due else None
            try:
                number, future = self.ended.get(timeout=wait)
            except queue.Empty:
                continue
            code, text = self.outcome(future)
            tries = self.running.pop(number)[1]
            if code == 0:
                done += 1
                say(f"{self.kind} {number}: done ({done} of {len(numbers)})")
            else:
                self.try_again(number, tries, code, text)
        return self.failed

    def submit_due(self):
        """Submits the tasks whose time has come."""
        while self.due and self.due[0][0] <= time.monotonic():
            _, number, tries = heapq.heappop(self.due)
            words = [*self.words, "task", self.kind, str(number), "--job", self.options["job"]]
            # Dask runs it again by itself, some times, if its worker is lost.
            future = self.client.submit(self.run_task, words, pure=False)
            self.running[number] = (future, tries)
            future.add_done_callback(lambda ended, number=number: self.ended.put((number, ended)))

    def outcome(self, future):
        """Returns exit code and text of a task that ended, or whose workers did."""
        if future.status == "finished":
            return future.result()
        if future.status != "error":
            return AGAIN, f"the worker is lost: {future.status}"
        fault = future.exception()
        is_lost = type(fault).__name__ == "KilledWorker"
        return AGAIN if is_lost else FAULT, f"{type(fault).__name__}: {fault}"

    def try_again(self, number, tries, code, text):
        """Lets a task that failed run once more, or gives it up."""
        what = f"{self.kind} {number}: " + (f"signal {-code}" if code < 0 else f"exit code {code}")
        # A task that was killed, as for want of memory, is worth another try.
        if (code == AGAIN or code < 0) and tries <= self.options["retries"]:
            say(f"{what}, try {tries + 1} follows")
            heapq.heappush(self.due, (time.monotonic() + self.options["pause"], number, tries + 1))
            return
        say(f"{what}\n{text}")
        self.failed[number] = AGAIN if code < 0 else code


def run(
    job,
    skyprep="skyprep",
    client=None,
    retries=5,
    pause=10.0,
    threads=None,
    workers=None,
    commits=True,
):
    """Runs what is left of a job and commits it; returns the exit code.

    `client` is a dask.distributed.Client; without one, `workers` processes of this machine do the
    work (default: one per CPU). A task that was interrupted or lost its worker may be run again
    `retries` times, each `pause` seconds later. `threads` are those of each task. Without
    `commits` the job is left to be committed.
    """
    if client is None:
        from dask.distributed import Client, LocalCluster

        workers = workers or os.cpu_count() or 1
        threads = threads or max(1, (os.cpu_count() or 1) // workers)
        how = {"n_workers": workers, "threads_per_worker": 1, "processes": True}
        with LocalCluster(dashboard_address=None, **how) as cluster, Client(cluster) as client:
            return run(job, skyprep, client, retries, pause, threads, commits=commits)
    job = os.path.abspath(job)
    words = [os.path.abspath(shutil.which(skyprep) or skyprep), "job"]
    status = subprocess.run([*words, "status", "--job", job, "--json"], stdout=subprocess.PIPE)
    if status.returncode != 0:
        return status.returncode
    options = {"job": job, "retries": retries, "pause": pause, "threads": threads}
    failed = {}
    for stage in json.loads(status.stdout)["stages"]:
        numbers = numbers_of(stage["left"])
        if numbers and not failed:
            failed = Stage(client, words, stage["kind"], options).run(numbers)
        elif numbers:
            say(f"{stage['kind']} {stage['left']}: not run, for tasks before them failed")
    if not commits:
        return next(iter(failed.values()), 0)
    code = subprocess.run([*words, "commit", "--job", job]).returncode
    if code == AGAIN:
        # Again would not help if a task failed for good.
        code = next((code for code in failed.values() if code != AGAIN), AGAIN)
    return 0 if code == COMMITTED else code


def slurm_cluster(args):
    """Returns a cluster whose workers are jobs of Slurm."""
    from dask_jobqueue import SLURMCluster

    cluster = SLURMCluster(
        queue=args.queue,
        account=args.account,
        walltime=args.walltime,
        cores=args.cores,
        processes=1,
        memory=args.memory,
        interface=args.interface,
        # All cores are for one task, which has threads of its own.
        worker_extra_args=["--nthreads", "1"],
    )
    # Not scale: that does not replace a worker whose time is up.
    cluster.adapt(minimum_jobs=args.slurm_workers, maximum_jobs=args.slurm_workers)
    return cluster


def parse_args(words):
    """Returns the command line's options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--job", required=True, metavar="DIR", help="the job's folder")
    add("--skyprep", default="skyprep", metavar="PROGRAM", help="default: skyprep in PATH")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--scheduler", metavar="ADDRESS", help="of a Dask cluster that runs")
    where.add_argument("--workers", type=int, metavar="N", help="processes of this machine")
    where.add_argument("--slurm-workers", type=int, metavar="N", help="jobs of Slurm")
    add("--retries", type=int, default=5, metavar="N", help="further runs of a task (default 5)")
    add("--pause", type=float, default=10, metavar="SECONDS", help="before these (default 10)")
    add("--threads", type=int, metavar="N", help="of each task; default: its share of the CPUs")
    add("--no-commit", action="store_true", help="leave the job to be committed")
    add("--queue", help="Slurm's partition")
    add("--account", help="Slurm's account")
    add("--walltime", default="1:00:00", help="of a worker in Slurm (default 1:00:00)")
    add("--cores", type=int, default=2, help="of a worker in Slurm (default 2)")
    add("--memory", default="4GiB", help="of a worker in Slurm (default 4GiB)")
    add("--interface", help="the network between workers and this program, as ib0")
    return parser.parse_args(words)


def main(words=None):
    """Runs the command line; returns the exit code."""
    args = parse_args(words)
    how = {"skyprep": args.skyprep, "retries": args.retries, "pause": args.pause}
    how["commits"] = not args.no_commit
    if not (args.scheduler or args.slurm_workers):
        return run(args.job, threads=args.threads, workers=args.workers, **how)
    from dask.distributed import Client

    if args.scheduler:
        with Client(args.scheduler) as client:
            return run(args.job, client=client, threads=args.threads, **how)
    with slurm_cluster(args) as cluster, Client(cluster) as client:
        return run(args.job, client=client, threads=args.threads or args.cores, **how)


if __name__ == "__main__":
    sys.exit(main())
