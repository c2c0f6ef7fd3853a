#!/usr/bin/env python3
"""Kills a producing `msglog produce` with SIGKILL at random moments, again and again on one log.

After every kill: each MSN that was printed as acked is there, and what is there is, byte for byte,
a prefix of what was sent. Beside it a `msglog consume --follow` tails all along and must show
every MSN once, in order, and the same bytes in the end.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=None, help="default: chosen and printed")
    parser.add_argument("--msglog", help="the binary; default: built in release mode")
    parser.add_argument("--folder", help="where the store goes; default: a temporary folder")
    parser.add_argument("--segment-bytes", type=int, default=4 << 20,
                        help="small, so that kills meet rolls too (default: 4 MiB)")
    return parser.parse_args()


def build():
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    subprocess.run(["cargo", "build", "--release", "--quiet", "-p", "msglog-cli"],
                   cwd=root, check=True)
    target = os.path.join(root, os.environ.get("CARGO_TARGET_DIR", "target"))
    return os.path.join(target, "release", "msglog")


def fail(why):
    print(f"FAILED: {why}", flush=True)
    raise SystemExit(1)


class Tail:
    """A second process that tails; a thread checks each line as it comes."""

    def __init__(self, msglog, url):
        self.lines = []
        self.wrong = None
        self.process = subprocess.Popen(
            [msglog, "consume", url, "lines", "--follow", "--format", r"%m %s\n"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def read(self):
        for line in self.process.stdout:
            msn, _, payload = line.rstrip(b"\n").partition(b" ")
            if int(msn) != len(self.lines) and self.wrong is None:
                self.wrong = f"the tail shows MSN {int(msn)} instead of {len(self.lines)}"
            self.lines.append(payload)

    def check(self):
        if self.wrong:
            fail(self.wrong)
        if self.process.poll() is not None:
            fail(f"the tail ended with {self.process.returncode}")

    def wait_for(self, count, seconds=30):
        deadline = time.monotonic() + seconds
        while len(self.lines) < count:
            self.check()
            if time.monotonic() > deadline:
                fail(f"the tail shows {len(self.lines)} of {count} records")
            time.sleep(0.005)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()
        self.thread.join()


class Feed(threading.Thread):
    """Sends lines to a producing process until it is gone; remembers what was sent."""

    def __init__(self, stdin, rng, start):
        super().__init__(daemon=True)
        self.stdin, self.rng, self.counter = stdin, rng, start
        self.sent = []

    def run(self):
        try:
            while True:
                burst = self.rng.choice([1, 1, 10, 100, 1000])
                lines = [self.line() for _ in range(burst)]
                self.sent.extend(lines)
                self.stdin.write(b"".join(line + b"\n" for line in lines))
                self.stdin.flush()
                if self.rng.random() < 0.2:
                    time.sleep(self.rng.random() * 0.003)
        except (BrokenPipeError, ValueError, OSError):
            pass

    def line(self):
        self.counter += 1
        body = self.rng.randbytes(self.rng.choice([0, 8, 50, 300, 3000]))
        return b"%d " % self.counter + body.replace(b"\n", b"\\")


def consume(msglog, url, first):
    """The payloads from an MSN on."""
    out = subprocess.run([msglog, "consume", url, "lines", "--from", str(first), "--format", r"%m %s\n"],
                         stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    if out.returncode != 0:
        fail(f"consume ended with {out.returncode}")
    payloads = []
    for line in out.stdout.split(b"\n")[:-1]:
        msn, _, payload = line.partition(b" ")
        if int(msn) != first + len(payloads):
            fail(f"consume shows MSN {int(msn)} instead of {first + len(payloads)}")
        payloads.append(payload)
    return payloads


def one_round(msglog, url, rng, kept):
    """Produces, kills, checks; answers the payloads that are there now and how many were acked."""
    first = len(kept)
    process = subprocess.Popen(
        [msglog, "produce", url, "lines", "--durability", "sync", "--print-acks",
         "--batch-lines", str(rng.choice([1, 10, 1000]))],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    feed = Feed(process.stdin, rng, first)
    acks = []
    reader = threading.Thread(target=lambda: acks.append(process.stdout.read()), daemon=True)
    reader.start()
    feed.start()
    # Often while it opens and recovers, mostly while it appends.
    time.sleep(rng.choice([0.02, 0.05, 0.1, 0.3]) * rng.random())
    process.kill()
    process.wait()
    reader.join()
    feed.join()
    # A last line without newline was cut by the kill.
    acked = [int(msn) for msn in acks[0].split(b"\n")[:-1]]
    if acked != list(range(first, first + len(acked))):
        fail(f"acks are not in order from MSN {first} on: {acked[:3]}..{acked[-3:]}")
    # The store may not be there yet when the kill came very early.
    there = consume(msglog, url, first) if acked or first or os.path.exists(url[5:]) else []
    if len(there) < len(acked):
        fail(f"{len(acked)} records were acked from MSN {first} on, {len(there)} are there")
    if there != feed.sent[:len(there)]:
        place = next(n for n, (a, b) in enumerate(zip(there, feed.sent)) if a != b)
        fail(f"MSN {first + place} is not what was sent")
    return there, len(acked)


def main():
    options = parse_arguments()
    seed = options.seed if options.seed is not None else random.randrange(1 << 32)
    rng = random.Random(seed)
    msglog = options.msglog or build()
    folder = options.folder or tempfile.mkdtemp(prefix="msglog-crash-")
    url = f"fs://{folder}/store?segment_bytes={options.segment_bytes}"
    print(f"seed {seed}, {options.rounds} rounds, {url}", flush=True)
    started = time.monotonic()
    # The topic exists before the first kill, so that there is something to tail.
    subprocess.run([msglog, "produce", url, "lines"], stdin=subprocess.DEVNULL, check=True)
    tail = Tail(msglog, url)
    kept, acked = [], 0
    try:
        for number in range(1, options.rounds + 1):
            there, acks = one_round(msglog, url, rng, kept)
            kept.extend(there)
            acked += acks
            tail.check()
            if number % 25 == 0:
                print(f"round {number}: {len(kept)} records, {acked} acked", flush=True)
        # What was there before the last recovery is there after it, and so all along.
        if consume(msglog, url, 0) != kept:
            fail("the whole log is not what the rounds have left")
        tail.wait_for(len(kept))
        tail.check()
        if tail.lines != kept:
            fail("the tail has shown other bytes than the log holds")
    finally:
        tail.stop()
    size = sum(len(line) for line in kept) / 1e6
    print(f"{options.rounds} kills: {len(kept)} records ({size:.1f} MB) kept, {acked} of them acked, "
          f"none lost, altered or repeated; the tail showed each once; "
          f"{time.monotonic() - started:.0f} s")
    if not options.folder:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
