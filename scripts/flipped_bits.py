#!/usr/bin/env python3
"""Flips one bit of a small log, at one place after another, and reads it: msglog and peers alike.

Each log gets the same lines, every one acked before the next, in segments of 4 KiB where that can
be chosen, and is closed. Then each place in its files, or as many as asked for spread over them, is
damaged in a copy of its own, up to the last byte of a file that is not zero. What comes of it is
counted: all lines are there; it says that something is damaged, and at most one line is missing, or
more are; lines are missing or altered and it says nothing; it panics or does not come back.

It fails when msglog does one of the latter, or loses more than one line to damage in the files of
the partition; that its other files are damaged it may say and refuse.
"""

import argparse
import os
import random
import shutil
import subprocess
import tempfile

from power import build

LINES = 40
SECONDS_MAX = 20
WHOLE, ONE, MORE = "all there", "one missing and said so", "more missing and said so"
LOST, ALTERED, PANICKED, HUNG = "lost in silence", "altered in silence", "panicked", "hung"
OUTCOMES = [WHOLE, ONE, MORE, LOST, ALTERED, PANICKED, HUNG]


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--places", type=int, default=500, help="per log; 0 for every byte")
    parser.add_argument("--seed", type=int, default=1, help="chooses the bit of each byte")
    parser.add_argument("--peer", action="append",
                        help="msglog, commitlog, okaywal or sled (default: all)")
    parser.add_argument("--msglog", help="the binary; default: built in release mode")
    parser.add_argument("--peer-lines", help="the binary of bench/peers; default: built")
    return parser.parse_args()


def line(number):
    return b"%d " % number + random.Random(number).randbytes(100).hex().encode()


def run(*command, stdin=b""):
    return subprocess.run(command, input=stdin, capture_output=True, timeout=SECONDS_MAX)


class Msglog:
    def __init__(self, binary):
        self.binary = binary

    def url(self, folder):
        return f"fs://{folder}/store?segment_bytes=4096"

    def make(self, folder, lines):
        produce = [self.binary, "produce", self.url(folder), "lines", "--batch-lines", "1"]
        for each in lines:
            run(*produce, stdin=each + b"\n").check_returncode()

    def read(self, folder):
        return run(self.binary, "consume", self.url(folder), "lines", "--format", r"%s\n")


class Peer:
    def __init__(self, binary, name):
        self.binary, self.name = binary, name

    def make(self, folder, lines):
        text = b"".join(each + b"\n" for each in lines)
        run(self.binary, self.name, "append", folder, "0", stdin=text).check_returncode()

    def read(self, folder):
        return run(self.binary, self.name, "read", folder)


def places(folder, wanted):
    """Every byte of every file up to the last that is not zero, or a part of them."""
    found = []
    for parent, _, names in sorted(os.walk(folder)):
        for name in sorted(names):
            path = os.path.join(parent, name)
            with open(path, "rb") as file:
                length = len(file.read().rstrip(b"\0"))
            found.extend((os.path.relpath(path, folder), place) for place in range(length))
    if wanted and wanted < len(found):
        return [found[n * len(found) // wanted] for n in range(wanted)], len(found)
    return found, len(found)


def outcome(log, folder, lines):
    """What the log says, and how many of the lines cannot be read any more."""
    try:
        answer = log.read(folder)
    except subprocess.TimeoutExpired:
        return HUNG, len(lines)
    found = answer.stdout.split(b"\n")[:-1]
    kept = [each for each in lines if each in set(found)]
    missing = len(lines) - len(kept)
    if answer.returncode < 0 or answer.returncode == 101:
        return PANICKED, missing
    if found != kept:
        return ALTERED, missing
    if not missing:
        return WHOLE, 0
    if answer.returncode == 0:
        return LOST, missing
    return (ONE if missing == 1 else MORE), missing


def flip_all(name, log, options):
    lines = [line(number) for number in range(LINES)]
    base = tempfile.mkdtemp(prefix=f"msglog-flips-{name}-")
    counts, worst, silent = dict.fromkeys(OUTCOMES, 0), 0, 0
    try:
        whole, damaged = os.path.join(base, "whole"), os.path.join(base, "damaged")
        os.mkdir(whole)
        log.make(whole, lines)
        assert outcome(log, whole, lines) == (WHOLE, 0), f"{name} does not hold its lines"
        chosen, count = places(whole, options.places)
        rng = random.Random(options.seed)
        for path, place in chosen:
            shutil.copytree(whole, damaged)
            with open(os.path.join(damaged, path), "r+b") as file:
                file.seek(place)
                byte = file.read(1)[0] ^ (1 << rng.randrange(8))
                file.seek(place)
                file.write(bytes([byte]))
            said, missing = outcome(log, damaged, lines)
            counts[said] += 1
            worst = max(worst, missing)
            if said in (LOST, ALTERED):
                silent = max(silent, missing)
            fine = said in (WHOLE, ONE) or (said == MORE and "lines-0" not in path)
            if name == "msglog" and not fine:
                print(f"FAILED: byte {place} of {path}: {said}, {missing} missing", flush=True)
                raise SystemExit(1)
            shutil.rmtree(damaged)
    finally:
        shutil.rmtree(base, ignore_errors=True)
    shown = ", ".join(f"{counts[each]} {each}" for each in OUTCOMES if counts[each])
    print(f"{name}: {LINES} lines, {len(chosen)} of {count} bytes flipped: {shown}; at worst "
          f"{worst} lines unreadable, {silent} in silence", flush=True)


def main():
    options = parse_arguments()
    names = options.peer or ["msglog", "commitlog", "okaywal", "sled"]
    msglog = peers = None
    if "msglog" in names:
        msglog = options.msglog or os.path.join(build(".", "-p", "msglog-cli"), "msglog")
    if set(names) != {"msglog"}:
        peers = options.peer_lines or os.path.join(
            build("bench/peers", "--bin", "peer_lines"), "peer_lines")
    for name in names:
        flip_all(name, Msglog(msglog) if name == "msglog" else Peer(peers, name), options)


if __name__ == "__main__":
    main()
