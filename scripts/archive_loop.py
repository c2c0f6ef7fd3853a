#!/usr/bin/env python3
"""Kills `msglog produce` and `msglog clean --archive` with SIGKILL at random moments, again and again.

The topic keeps few bytes, so that every clean trims, and a delete hook archives to a second store.
After every kill: archive and log are each without a gap or a repeat, together they hold, byte for
byte, a prefix of what was sent, and every message that was acked is in one of them.
"""

import argparse
import os
import random
import shutil
import subprocess
import tempfile
import threading
import time

from crash_loop import Feed, build, fail


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100, help="of a produce and a clean each")
    parser.add_argument("--seed", type=int, default=None, help="default: chosen and printed")
    parser.add_argument("--msglog", help="the binary; default: built in release mode")
    parser.add_argument("--folder", help="where the stores go; default: a temporary folder")
    parser.add_argument("--segment-bytes", type=int, default=128 << 10)
    parser.add_argument("--keep-bytes", type=int, default=256 << 10)
    return parser.parse_args()


def consume(msglog, url, first):
    """MSN and payload of every record from the first one on that is at or after `first`."""
    out = subprocess.run(
        [msglog, "consume", url, "lines", "--from", str(first), "--format", r"%m %s\n"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if out.returncode == 3:  # nothing was archived yet
        return first, []
    if out.returncode != 0:
        fail(f"consume {url} ended with {out.returncode}: {out.stderr.decode()}")
    records = [line.partition(b" ") for line in out.stdout.split(b"\n")[:-1]]
    if not records:
        return first, []
    start = int(records[0][0])
    for number, (msn, _, _) in enumerate(records):
        if int(msn) != start + number:
            fail(f"{url} shows MSN {int(msn)} instead of {start + number}")
    return start, [payload for _, _, payload in records]


def kill_after(process, seconds):
    """Kills it after a while; answers whether it was still at work."""
    try:
        process.wait(seconds)
        return False
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return True


class Run:
    """Two stores, and what was sent so far."""

    def __init__(self, options, rng, msglog, folder):
        self.rng, self.msglog = rng, msglog
        size = f"?segment_bytes={options.segment_bytes}"
        self.url, self.archive = f"fs://{folder}/log{size}", f"fs://{folder}/archive{size}"
        self.sent = []      # what is known to be stored, from MSN 0 on
        self.archived = 0   # how much of it the archive was seen to hold
        self.first = 0      # where the log was seen to begin
        self.window = 0.1   # about how long a clean takes here: kills fall into all of it
        self.acked = self.kills = self.kills_in_clean = self.kills_half_way = 0

    def start(self, keep_bytes):
        subprocess.run([self.msglog, "produce", self.url, "lines"], stdin=subprocess.DEVNULL,
                       check=True)
        subprocess.run([self.msglog, "configure", self.url, "lines", "--max-bytes",
                        str(keep_bytes)], stdout=subprocess.DEVNULL, check=True)

    def produce(self):
        first = len(self.sent)
        process = subprocess.Popen(
            [self.msglog, "produce", self.url, "lines", "--durability", "sync", "--print-acks"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        feed = Feed(process.stdin, self.rng, first)
        acks = []
        reader = threading.Thread(target=lambda: acks.append(process.stdout.read()), daemon=True)
        reader.start()
        feed.start()
        self.kills += kill_after(process, 0.05 + 0.3 * self.rng.random())
        reader.join()
        feed.join()
        acked = [int(msn) for msn in acks[0].split(b"\n")[:-1]]
        if acked != list(range(first, first + len(acked))):
            fail(f"acks are not in order from MSN {first} on: {acked[:3]}..{acked[-3:]}")
        self.acked += len(acked)
        self.check(feed.sent, first + len(acked))

    def clean(self):
        process = subprocess.Popen(
            [self.msglog, "clean", self.url, "--archive", self.archive],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        killed = kill_after(process, self.window * self.rng.random())
        self.window *= 1.3 if killed else 0.6
        self.kills += killed
        self.kills_in_clean += killed
        archived = self.archived
        if not killed and process.returncode != 0:
            fail(f"clean ended with {process.returncode}")
        self.check([], len(self.sent))
        self.kills_half_way += killed and self.archived > archived

    def check(self, news, acked_end):
        """Archive and log against what was sent; `news` may be there from the end on."""
        expected = self.sent + news
        kept_from, kept = consume(self.msglog, self.archive, self.archived)
        live_from, live = consume(self.msglog, self.url, self.first)
        if kept and kept_from != self.archived:
            fail(f"the archive has lost MSNs {self.archived}..{kept_from}")
        if kept != expected[self.archived:self.archived + len(kept)]:
            fail(f"the archive holds something else from MSN {self.archived} on")
        self.archived += len(kept)
        if not live:
            live_from = max(live_from, len(self.sent))
        if live_from > self.archived:
            fail(f"MSNs {self.archived}..{live_from} are neither archived nor in the log")
        if live != expected[live_from:live_from + len(live)]:
            fail(f"the log holds something else from MSN {live_from} on")
        self.first = live_from
        end = live_from + len(live)
        if end < acked_end:
            fail(f"everything below {acked_end} was acked or there before, the log ends at {end}")
        if self.archived > end:
            fail(f"the archive ends at {self.archived}, the log at {end}")
        self.sent = expected[:end]

    def finish(self):
        """A last clean that is left alone, and everything read once more from the start."""
        subprocess.run([self.msglog, "clean", self.url, "--archive", self.archive],
                       stdout=subprocess.DEVNULL, check=True)
        self.check([], len(self.sent))
        start, kept = consume(self.msglog, self.archive, 0)
        live_from, live = consume(self.msglog, self.url, 0)
        if start != 0 or kept != self.sent[:len(kept)] or live != self.sent[live_from:]:
            fail("read from the start, archive and log are not what was sent")
        if live_from > len(kept):
            fail("read from the start, something is in neither")
        return len(kept), live_from, len(live)


def main():
    options = parse_arguments()
    seed = options.seed if options.seed is not None else random.randrange(1 << 32)
    rng = random.Random(seed)
    msglog = options.msglog or build()
    folder = options.folder or tempfile.mkdtemp(prefix="msglog-archive-")
    started = time.monotonic()
    run = Run(options, rng, msglog, folder)
    print(f"seed {seed}, {options.rounds} rounds, {run.url} -> {run.archive}", flush=True)
    run.start(options.keep_bytes)
    for number in range(1, options.rounds + 1):
        run.produce()
        for _ in range(rng.choice([1, 1, 2])):
            run.clean()
        if number % 25 == 0:
            print(f"round {number}: {len(run.sent)} records, {run.archived} archived, "
                  f"the log begins at {run.first}", flush=True)
    kept, live_from, live = run.finish()
    if live_from == 0 or run.kills_half_way == 0:
        fail("no clean was killed after it had archived something: this run shows nothing")
    print(f"{run.kills} kills, {run.kills_in_clean} of them in clean and {run.kills_half_way} of these "
          f"after it had archived something: {len(run.sent)} records "
          f"appended, {run.acked} of them acked; {kept} archived (MSNs 0..{kept}), {live} in the log "
          f"(MSNs {live_from}..{len(run.sent)}): none lost, altered or repeated; "
          f"{time.monotonic() - started:.0f} s")
    if not options.folder:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
