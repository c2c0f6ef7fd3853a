#!/usr/bin/env python3
"""Compaction of a keyed topic, measured and killed.

Fills a topic, compacts it beside appends that are acked at Sync, and prints the time, the peak memory,
the bytes before and after, and the latency of the appends with and without. Then a process that
appends and compacts all the time is killed with SIGKILL at random moments; after each of them every
record is what was appended under its MSN, and each key has its newest acked record.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=200_000)
    parser.add_argument("--keys", type=int, default=20_000)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--kill-records", type=int, default=20_000,
                        help="what the topic that is killed begins with")
    parser.add_argument("--scheme", default="fs", help="fs, rocksdb or sled (default: fs)")
    parser.add_argument("--seed", type=int, default=None, help="default: chosen and printed")
    parser.add_argument("--program", help="the example compaction_load; default: built")
    parser.add_argument("--folder", help="where the stores go; default: a temporary folder")
    return parser.parse_args()


def build(scheme):
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    command = ["cargo", "build", "--release", "--quiet", "-p", "msglog-cli",
               "--example", "compaction_load"]
    if scheme != "fs":
        command += ["--features", scheme]
    subprocess.run(command, cwd=root, check=True)
    target = os.path.join(root, os.environ.get("CARGO_TARGET_DIR", "target"))
    return os.path.join(target, "release", "examples", "compaction_load")


def run(program, *arguments):
    done = subprocess.run([program, *map(str, arguments)], stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise SystemExit(f"FAILED: {' '.join(map(str, arguments))}")
    return done.stdout


def kill_one(program, url, records, keys, chance):
    """Kills a churning process; answers the last MSN that it said was acked."""
    process = subprocess.Popen([program, "churn", url, str(records), str(keys)],
                               stdout=subprocess.PIPE)
    process.stdout.readline()
    time.sleep(chance.random() * 0.6)
    process.send_signal(signal.SIGKILL)
    lines = process.stdout.read().decode().split("\n")
    process.wait()
    whole = [line for line in lines[:-1] if line]
    return int(whole[-1]) if whole else -1


def main():
    arguments = parse_arguments()
    seed = arguments.seed if arguments.seed is not None else random.randrange(1 << 32)
    print(f"seed {seed}", flush=True)
    chance = random.Random(seed)
    program = arguments.program or build(arguments.scheme)
    folder = arguments.folder or tempfile.mkdtemp(prefix="msglog-compaction-")
    os.makedirs(folder, exist_ok=True)
    try:
        url = f"{arguments.scheme}://{folder}/measured"
        counts = (arguments.records, arguments.keys)
        for step in ["fill", "measure", "check"] if arguments.records else []:
            print(run(program, step, url, *counts), end="", flush=True)
        shutil.rmtree(f"{folder}/measured", ignore_errors=True)

        # Small segments, so that kills meet their replacing.
        query = "?segment_bytes=262144" if arguments.scheme == "fs" else ""
        url = f"{arguments.scheme}://{folder}/killed{query}"
        keys = max(arguments.kill_records // 10, 1)
        if arguments.kills:
            run(program, "fill", url, arguments.kill_records, keys)
        for kill in range(1, arguments.kills + 1):
            acked = kill_one(program, url, 0, keys, chance)
            end, count = map(int, run(program, "check", url, 0, keys).split()[1:3])
            if acked >= end:
                raise SystemExit(f"FAILED: MSN {acked} was acked, and the end is {end}")
            print(f"kill {kill}: acked up to {acked}, {end} MSNs, {count} records", flush=True)
        print(f"killed {arguments.kills} times, nothing wrong")
    finally:
        if not arguments.folder:
            shutil.rmtree(folder, ignore_errors=True)


main()
