"""Runs commands side by side and compares what they take: for the benchmarks in this folder."""

import importlib.util
import os
import shutil
import statistics
import subprocess
import tempfile
import threading
import time
from collections import namedtuple

REPO = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
RELEASE = os.path.join(REPO, "target", "release", "skyprep")

Figures = namedtuple("Figures", "wall user sys peak")


def usual_work():
    """Memory, where there is such a place: disks differ too much."""
    return "/dev/shm" if os.path.isdir("/dev/shm") else None


def has_module(name):
    return importlib.util.find_spec(name) is not None


def has_program(name):
    return shutil.which(name) is not None


def peak_of(pid):
    """The most KiB that a process or one that it has started had at once, as far as they live.

    What `wait4` tells is of no use: it counts what this program had when it forked.
    """
    try:
        with open(f"/proc/{pid}/status") as status:
            peaks = [int(line.split()[1]) for line in status if line.startswith("VmHWM")]
        with open(f"/proc/{pid}/task/{pid}/children") as children:
            peaks += [peak_of(child) for child in children.read().split()]
    except OSError:
        return 0
    return max(peaks, default=0)


class PeakWatch(threading.Thread):
    """Looks at a process until it is told to stop."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.peak, self.stopped = pid, 0, threading.Event()

    def run(self):
        while not self.stopped.wait(0.02):
            self.peak = max(self.peak, peak_of(self.pid))

    def stop(self):
        self.stopped.set()
        self.join()
        return self.peak


def run(command, folder):
    """Runs a command line of the shell in `folder`: seconds, and the MiB of its largest process."""
    start = time.perf_counter()
    child = subprocess.Popen(["bash", "-o", "pipefail", "-c", command], cwd=folder)
    watch = PeakWatch(child.pid)
    watch.start()
    _, status, usage = os.wait4(child.pid, 0)
    wall = time.perf_counter() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    peak = watch.stop() / 1024
    if child.returncode != 0:
        raise SystemExit(f"exit code {child.returncode}: {command}")
    return Figures(wall, usage.ru_utime, usage.ru_stime, peak)


class Place:
    """A folder for inputs and outputs that goes in the end."""

    def __init__(self, work):
        self.root = tempfile.mkdtemp(prefix="skyprep-bench-", dir=work)

    def path(self, name):
        return os.path.join(self.root, name)

    def close(self):
        shutil.rmtree(self.root)

    def compare(self, cases, rounds):
        """Warms each case up, then runs them in turn, round after round, each into a fresh folder;
        returns the medians."""
        figures = {name: [] for name in cases}
        for round_ in range(rounds + 1):
            for name, command in cases.items():
                folder = tempfile.mkdtemp(dir=self.root)
                measured = run(command, folder)
                shutil.rmtree(folder)
                if round_ > 0:
                    figures[name].append(measured)
        return {
            name: Figures(*(statistics.median(column) for column in zip(*all_)))
            for name, all_ in figures.items()
        }


def show(title, found, first):
    """Prints the figures of each case, and its ratios to the one called `first`."""
    print(title)
    print(f"  {'':28} {'wall':>7} {'user':>7} {'sys':>7} {'MiB':>6}   to '{first}': wall, CPU")
    base = found[first]
    for name, it in found.items():
        cpu = (it.user + it.sys) / max(base.user + base.sys, 1e-9)
        print(
            f"  {name:28} {it.wall:7.2f} {it.user:7.2f} {it.sys:7.2f} {it.peak:6.0f}"
            f"   {it.wall / base.wall:7.2f} {cpu:7.2f}",
            flush=True,
        )


class Goals:
    """What was aimed at, and whether it is kept."""

    def __init__(self):
        self.is_kept = True

    def at_most(self, what, value, most):
        self.note(what, value, "at most", most, value <= most)

    def at_least(self, what, value, least):
        self.note(what, value, "at least", least, value >= least)

    def note(self, what, value, relation, bound, is_kept):
        self.is_kept = self.is_kept and is_kept
        print(f"  {'kept  ' if is_kept else 'MISSED'} {what}: {value:.2f}, {relation} {bound}", flush=True)
