#!/usr/bin/env python3
"""Builds the disks that a power cut can leave under a producing `msglog produce`, and opens each.

ext4 or XFS lies on a loop device over a file that records every write and flush
(recording_disk.py). `msglog produce` runs on it, is killed, opens again, is closed, and so on; with
every ack that comes out of its pipe the length of the recording is noted. Then disks are built from
the recording:

  flushed  what a flush has covered, and nothing of what was written until the next one
  mixed    that, and any of the writes since, each as a whole
  torn     that, and any of the sectors of the writes since, but the superblock as a whole

Each is mounted, which lets the file system recover, and the log is opened: every MSN that was acked
before the cut must be there, and what is there must be, byte for byte, a prefix of what was sent.

With `--durability os` or `--peer file`, which do not wait for a sync, acked records must be lost:
this shows that the harness can see loss; when none of them is lost, that is a failure. A recording
in which a disk breaks a promise is kept, and can be replayed. Needs root, /dev/fuse, loop devices
and mkfs; a file system that cannot be tested is named, and the run ends with 77.
"""

import collections
import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time

from power import (Feed, NotTested, arguments, differs, fail, for_each_file_system, is_honest,
                   make_image, named, needed, peer_of, recovered, unmount)
from recording_disk import ENTRY, FLUSHED

RECORDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "recording_disk.py")
SEGMENT_BYTES = 128 << 10  # small, so that segments roll
PAUSE_SECONDS = 0.02  # between writes to the producer, so that a recording has many flushes
SECTOR_BYTES = 512
SUPERBLOCK_END = 4096  # that of ext4 has two sectors, and ext4 is not mounted with one of them
KINDS = ["flushed", "mixed", "torn"]

Cut = collections.namedtuple("Cut", "at covered kind keep")
Entry = collections.namedtuple("Entry", "end flush offset data")


@contextlib.contextmanager
def recorded_disk(kind, folder):
    """Where a file system is mounted that lies on a loop device over a recording file."""
    base, disk, place, mount_point = (os.path.join(folder, name)
                                      for name in ["base", "disk", "place", "mnt"])
    make_image(kind, base)
    copy(base, disk)
    open(place, "wb").close()
    os.mkdir(mount_point)
    with contextlib.ExitStack() as undo:
        recorder = subprocess.Popen(
            [sys.executable, RECORDER, disk, os.path.join(folder, "log"), place],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True)
        undo.callback(recorder.kill)
        undo.callback(recorder.wait, timeout=60)
        undo.callback(unmount, place)
        if recorder.stdout.readline() != "ready\n":
            raise NotTested(recorder.stderr.read().strip())
        undo.callback(detach_loops, place)
        loop = needed("losetup", "--find", "--show", "--direct-io=on", place)
        undo.callback(unmount, mount_point)
        needed("mount", "-o", "noatime", loop, mount_point)
        detach_loops(place)  # which the kernel does when it is unmounted
        yield mount_point


def detach_loops(file):
    loops = needed("losetup", "--noheadings", "--output", "NAME", "--associated", file)
    for loop in loops.split():
        subprocess.run(["losetup", "--detach", loop], check=True)


class Acks(threading.Thread):
    """Notes with each ack how long the recording is: all that made it durable is in there."""

    def __init__(self, stdout, log):
        super().__init__(daemon=True)
        self.stdout, self.log, self.noted = stdout, log, []

    def run(self):
        rest = b""
        while read := os.read(self.stdout.fileno(), 1 << 16):
            length = os.stat(self.log).st_size
            *lines, rest = (rest + read).split(b"\n")
            if lines:
                self.noted.append((int(lines[-1]) + 1, length))


def scratch(kind):
    """A new folder, in memory where that has room: what the machine itself loses is no matter."""
    memory = "/dev/shm"
    roomy = os.path.isdir(memory) and shutil.disk_usage(memory).free > 1 << 30
    return tempfile.mkdtemp(prefix=f"msglog-block-log-{kind}-", dir=memory if roomy else None)


def copy(source, target):
    subprocess.run(["cp", "--sparse=always", "--reflink=auto", source, target], check=True)


def one_life(peer, rng, first, log):
    """Produces for a while, then closes or is killed; answers what was sent and what was acked."""
    process = subprocess.Popen(peer.produce(rng, first), stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    feed, acks = Feed(process.stdin, rng, first, PAUSE_SECONDS), Acks(process.stdout, log)
    try:
        acks.start()
        feed.start()
        time.sleep(0.3 + rng.random())
        if rng.random() < 0.5:
            feed.enough = True
            process.wait(timeout=60)
    finally:
        process.kill()
        process.wait()
        acks.join()
        feed.join()
    return feed.sent, acks.noted


def record(kind, options, binary, rng, folder):
    """Leaves in the folder all that `replay` needs: `base`, `disk`, `log` and `recording.json`."""
    log, sent, acks = os.path.join(folder, "log"), [], []
    with recorded_disk(kind, folder) as mount_point:
        peer = peer_of(options, binary, mount_point, SEGMENT_BYTES)
        for _ in range(options.lives):
            more, noted = one_life(peer, rng, len(sent), log)
            acks += noted
            sent += more
            there = peer.contents(0)
            acked = acks[-1][0] if acks else 0
            wrong = differs(there, sent)
            if wrong or len(there) < acked:
                fail(f"without any power cut: {acked} acked, {len(there or [])} there, {wrong}")
            del sent[len(there):]
        length = os.stat(log).st_size
    with open(os.path.join(folder, "recording.json"), "w") as out:
        json.dump({"kind": kind, "seed": rng.randrange(1 << 32), "cuts": options.cuts,
                   "length": length, "acks": acks,
                   "sent": [line.decode("latin-1") for line in sent]}, out)


class Recording:
    def __init__(self, folder):
        self.folder = folder
        with open(self.file("recording.json")) as said:
            said = json.load(said)
        self.kind, self.acks = said["kind"], said["acks"]
        self.seed, self.count = said["seed"], said["cuts"]
        self.sent = [line.encode("latin-1") for line in said["sent"]]
        self.entries = list(self.parse())
        # What comes when the disk is taken down is no place for a cut.
        self.places = sum(entry.end <= said["length"] for entry in self.entries)

    def file(self, name):
        return os.path.join(self.folder, name)

    def parse(self):
        with open(self.file("log"), "rb") as log:
            while head := log.read(ENTRY.size):
                what, offset, length = ENTRY.unpack(head)
                data = log.read(length)
                yield Entry(log.tell(), what == FLUSHED, offset, data)

    def acked(self, at):
        """How many were acked before the entry at `at` was recorded."""
        end = self.entries[at - 1].end if at else 0
        return max((count for count, length in self.acks if length <= end), default=0)

    def cuts(self):
        """Where, and what is kept: a third right before flushes or at the end, others anywhere."""
        rng = random.Random(self.seed)
        flushes = [at for at in range(self.places) if self.entries[at].flush]
        places = rng.sample(flushes, min(len(flushes), self.count // 3))
        cuts = [Cut(at, self.covered(at), "flushed", 0) for at in [*places, self.places]]
        while len(cuts) < self.count:
            at = rng.randint(0, self.places)
            cuts.append(Cut(at, self.covered(at), rng.choice(["mixed", "torn"]),
                            rng.choice([0.1, 0.5, 0.9, 1])))
        return sorted(cuts), rng

    def covered(self, at):
        """How many entries the last flush before this place has made durable."""
        return next((n for n in range(at - 1, -1, -1) if self.entries[n].flush), 0)


def pieces(entry, cut, rng):
    """What of a write has reached the disk."""
    torn = cut.kind == "torn" and entry.offset >= SUPERBLOCK_END
    step = SECTOR_BYTES if torn else len(entry.data)
    for start in range(0, len(entry.data), step):
        if rng.random() < cut.keep:
            yield entry.offset + start, entry.data[start:start + step]


def apply(path, writes):
    with open(path, "r+b", buffering=0) as disk:
        for offset, data in writes:
            os.pwrite(disk.fileno(), data, offset)


def look(recording, options, binary, cut):
    """Mounts the built disk and opens the log; answers how many are there, and what is wrong."""
    mount_point = recording.file("mnt")
    try:
        done = subprocess.run(["mount", "-o", "loop,noatime", recording.file("built"), mount_point],
                              capture_output=True, text=True)
        if done.returncode != 0:
            fail(f"{cut}: mount: {done.stderr.strip()}")
        there = recovered(peer_of(options, binary, mount_point, SEGMENT_BYTES), 0)
    finally:
        unmount(mount_point)
    return len(there or []), differs(there, recording.sent)


def replay(recording, options, binary, figures):
    flushed, done = recording.file("flushed"), 0
    copy(recording.file("base"), flushed)
    cuts, rng = recording.cuts()
    for number, cut in enumerate(cuts):
        writes = recording.entries[done:cut.covered]
        apply(flushed, [(entry.offset, entry.data) for entry in writes if not entry.flush])
        done = cut.covered
        since = [entry for entry in recording.entries[done:cut.at] if not entry.flush]
        kept = [piece for entry in since for piece in pieces(entry, cut, rng)]
        built = recording.file("built")
        copy(flushed, built)
        apply(built, kept)
        there, wrong = look(recording, options, binary, cut)
        os.remove(built)  # the next is another file, so that nothing of this one is taken for it
        acked = recording.acked(cut.at)
        gone = max(0, acked - there)
        figures.update({cut.kind: 1, "disks": 1, "acked": acked, "lost": gone, "found": there,
                        "with loss": gone > 0, "altered": wrong is not None})
        if is_honest(options) and (gone or wrong):
            fail(f"disk {number} on {recording.kind}: {cut}, {acked} acked, {there} there, {wrong}")
    # The replay itself is right when all of the recording makes the disk that was recorded.
    apply(flushed, [(entry.offset, entry.data) for entry in recording.entries[done:]])
    if subprocess.run(["cmp", flushed, recording.file("disk")]).returncode != 0:
        fail(f"all of the recording in {recording.folder} is not the disk that was recorded")
    figures.update({"recordings": 1, "flushes": sum(entry.flush for entry in recording.entries),
                    "writes": sum(not entry.flush for entry in recording.entries),
                    "bytes": sum(len(entry.data) for entry in recording.entries)})


def record_and_replay(kind, options, binary, rng, figures):
    folder, keep = scratch(kind), False
    try:
        record(kind, options, binary, rng, folder)
        try:
            replay(Recording(folder), options, binary, figures)
        except SystemExit:
            keep = True
            print(f"the recording is kept: --replay {folder}", flush=True)
            raise
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


def run(kind, options, binary, rng):
    figures, started = collections.Counter(), time.monotonic()
    if options.replay:
        recording = Recording(options.replay)
        if recording.kind != kind:
            return
        replay(recording, options, binary, figures)
    else:
        for _ in range(options.recordings):
            record_and_replay(kind, options, binary, rng, figures)
    of_kinds = ", ".join(f"{figures[kind]} {kind}" for kind in KINDS)
    print(f"{kind}, {named(options)}: {figures['recordings']} recordings with "
          f"{figures['writes']} writes ({figures['bytes'] >> 20} MiB) and {figures['flushes']} "
          f"flushes; {figures['disks']} disks built ({of_kinds}), {figures['acked']} acked before "
          f"the cuts, {figures['lost']} of these lost in {figures['with loss']} disks, "
          f"{figures['altered']} disks with something else than a prefix, {figures['found']} "
          f"records found, {time.monotonic() - started:.0f} s", flush=True)
    if figures["acked"] == 0:
        fail("nothing was acked before a cut")
    if figures["lost"] == 0 and not is_honest(options):
        fail("nothing was lost, so this cannot see loss")


def main():
    parser = arguments(__doc__)
    parser.add_argument("--recordings", type=int, default=2)
    parser.add_argument("--lives", type=int, default=4, help="of the producer, in each recording")
    parser.add_argument("--cuts", type=int, default=100, help="disks built from each recording")
    parser.add_argument("--replay", metavar="FOLDER", help="a recording that a failure has kept")
    for_each_file_system(parser.parse_args(), run)


if __name__ == "__main__":
    main()
