#!/usr/bin/env python3
"""Counts the instructions of the hot paths and compares them with bench/hot_paths.tsv.

  scripts/hot_paths.py             red when a path takes more than its tolerance allows
  scripts/hot_paths.py --write     makes the table again, from the median of five counts
  scripts/hot_paths.py --only NAME counts one path

Instructions, not time: a loaded machine counts as an idle one. Each path runs N and 3 N rounds under
valgrind, and the difference is what 2 N rounds take, without starting and opening. Counts depend on
the compiler, the C library and the processor, for whose kind both choose how to copy and how to
compute checksums. The table names those it was made with; with others nothing is red, and this is
said. The tolerance of a path is 5 %, or three times what five counts differed by.
"""
import argparse
import concurrent.futures
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TABLE = os.path.join(ROOT, "bench", "hot_paths.tsv")
MADE_WITH = "# with: "
TOLERANCE_MIN = 5.0
COUNTS = 5
# Rounds of a path: about ten million instructions.
ROUNDS = {
    "batch-encode": 300, "batch-check": 1000, "batch-decode": 500, "batch-records": 300,
    "engine-append": 1000, "fs-append-os": 1000, "fs-append-sync": 500, "fs-append-batch": 100,
    "fs-record": 300, "fs-record-part": 500, "fs-page": 100, "fs-replay": 10, "fs-find": 300, "fs-open": 20, "fs-scan": 10,
}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="make the table again")
    parser.add_argument("--only", help="count only this path")
    parser.add_argument("--program", help="the example hot_paths; default: built")
    return parser.parse_args()


def made_with():
    """What counts depend on beside the code."""
    rustc = subprocess.run(["rustc", "--version"], capture_output=True, text=True, check=True)
    with open("/proc/cpuinfo") as lines:
        facts = dict(re.split(r"\s*:\s*", line.strip(), maxsplit=1) for line in lines if ":" in line)
    processor = [facts.get(key, "?") for key in ("model name", "cpu family", "model")]
    return "; ".join([rustc.stdout.strip(), " ".join(platform.libc_ver()), " ".join(processor)])


def built():
    subprocess.run(["cargo", "build", "--release", "--quiet", "-p", "msglog-cli",
                    "--example", "hot_paths"], cwd=ROOT, check=True)
    target = os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target"))
    return os.path.join(target, "release", "examples", "hot_paths")


def instructions(program, path, rounds, read):
    """What so many rounds take, starting and ending the process included."""
    folder = tempfile.mkdtemp(prefix="msglog-hot-")
    try:
        # Each run has a copy of its own: opening writes.
        shutil.copytree(read, os.path.join(folder, "read"))
        run = subprocess.run(
            ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null",
             program, path, str(rounds), folder], capture_output=True, text=True)
        found = re.search(r"Collected\s*:\s*(\d+)", run.stderr)
        if run.returncode or not found:
            sys.exit(f"{path}: {run.stderr}")
        return int(found.group(1))
    finally:
        shutil.rmtree(folder)


def count(program, path, read):
    """Instructions of one round."""
    rounds = ROUNDS[path]
    less, more = (instructions(program, path, times * rounds, read) for times in (1, 3))
    return (more - less) / (2 * rounds)


def counts(program, paths, times):
    """By path, so many counts each; two at a time."""
    with tempfile.TemporaryDirectory(prefix="msglog-hot-") as folder:
        subprocess.run([program, "prepare", folder], check=True)
        read = os.path.join(folder, "read")
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            tasks = {path: [pool.submit(count, program, path, read) for _ in range(times)]
                     for path in paths}
            return {path: [task.result() for task in each] for path, each in tasks.items()}


def write(found):
    with open(TABLE, "w") as table:
        table.write("# path, instructions a round, tolerance in %: made by scripts/hot_paths.py --write\n")
        table.write(f"{MADE_WITH}{made_with()}\n")
        for path, each in found.items():
            median = statistics.median(each)
            spread = 100 * (max(each) - min(each)) / median
            tolerance = max(TOLERANCE_MIN, 3 * spread)
            table.write(f"{path}\t{median:.0f}\t{tolerance:.0f}\n")
            print(f"{path:16} {median:12,.0f}  spread {spread:.2f} %, tolerance {tolerance:.0f} %")


def table():
    """What the table was made with, and its rows by path."""
    with open(TABLE) as file:
        lines = file.read().splitlines()
    known_with = next(line for line in lines if line.startswith(MADE_WITH)).removeprefix(MADE_WITH)
    rows = [line.split("\t") for line in lines if not line.startswith("#")]
    return known_with, {path: (float(known), float(tolerance)) for path, known, tolerance in rows}


def compare(found, rows):
    red = []
    for path, (now,) in found.items():
        known, tolerance = rows.get(path, (0, 0))
        change = 100 * (now / known - 1) if known else float("inf")
        verdict = "ok"
        if change > tolerance:
            verdict = f"RED: more than +{tolerance:.0f} %"
            red.append(path)
        elif change < -tolerance:
            verdict = "less: make the table again, so that it stays so"
        print(f"{path:16} {now:12,.0f}  {change:+7.2f} %  {verdict}", flush=True)
    return red


def main():
    args = arguments()
    program = args.program or built()
    listed = subprocess.run([program, "list"], capture_output=True, text=True, check=True)
    paths = listed.stdout.split()
    if set(paths) != set(ROUNDS):
        sys.exit(f"paths of the program and of this script differ: {set(paths) ^ set(ROUNDS)}")
    if args.only:
        paths = [path for path in paths if path == args.only]
    if not paths:
        sys.exit(f"no path {args.only}")
    if args.write:
        return write(counts(program, paths, COUNTS))
    known_with, rows = table()
    red = compare(counts(program, paths, 1), rows)
    if made_with() != known_with:
        print(f"NOT COMPARED: these counts are with {made_with()}, the table with {known_with}")
    elif red:
        sys.exit(f"more instructions than before: {', '.join(red)}")


if __name__ == "__main__":
    main()
