#!/usr/bin/env python3
"""Cuts the power of a real file system under a producing `msglog produce`, again and again.

The file system is ext4 or XFS on a loop device; the cut is the shutdown ioctl without flushing its
log (what xfstests call godown), then the producer is killed, and the file system mounted anew.
Acks leave through a pipe before they count. After every cut each acked MSN must be there, and what
is there must be, byte for byte, a prefix of what was sent.

With `--durability os` acks do not wait for a sync, `--peer file` writes lines without ever syncing,
and `--peer sled` acks after sled's own flush, which does not sync the device: these must lose acked
records, which shows that the harness can see loss. Needs root, loop devices and mkfs; without them
it says so, tests nothing and ends with 77.
"""

import argparse
import fcntl
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
import time

SHUTDOWN = 0x8004587D  # FS_IOC_SHUTDOWN, XFS_IOC_GOINGDOWN
WITHOUT_FLUSHING_THE_LOG = 2
NOT_TESTED = 77

# A peer that acks what it has written, and never syncs.
FILE_PEER = """
import os, sys
out = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
for number, line in enumerate(sys.stdin.buffer):
    os.write(out, line)
    os.write(1, b"%d\\n" % (int(sys.argv[2]) + number))
"""


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fs", choices=["ext4", "xfs"], action="append",
                        help="default: both, one after the other")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=None, help="default: chosen and printed")
    parser.add_argument("--durability", default="sync", help="sync (default) or os")
    parser.add_argument("--peer", choices=["msglog", "file", "sled"], default="msglog")
    parser.add_argument("--msglog", help="the binary; default: built in release mode")
    parser.add_argument("--peer-lines", help="the binary of bench/peers; default: built")
    return parser.parse_args()


def not_tested(why):
    print(f"NOT TESTED: {why}", flush=True)
    raise SystemExit(NOT_TESTED)


def fail(why):
    print(f"FAILED: {why}", flush=True)
    raise SystemExit(1)


def build(folder, *arguments):
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    folder = os.path.join(root, folder)
    subprocess.run(["cargo", "build", "--release", "--quiet", *arguments], cwd=folder, check=True)
    return os.path.join(folder, os.environ.get("CARGO_TARGET_DIR", "target"), "release")


def binary_of(options):
    if options.peer == "file":
        return None
    if options.peer == "msglog":
        return options.msglog or os.path.join(build(".", "-p", "msglog-cli"), "msglog")
    built = options.peer_lines
    return built or os.path.join(build("bench/peers", "--bin", "peer_lines"), "peer_lines")


class Device:
    """A file system on a loop device."""

    def __init__(self, kind, folder):
        self.kind, self.mount_point = kind, os.path.join(folder, "mnt")
        self.image = os.path.join(folder, "image")
        with open(self.image, "wb") as image:
            image.truncate(512 << 20)
        os.mkdir(self.mount_point)
        force = "-F" if kind == "ext4" else "-f"
        made = subprocess.run([f"mkfs.{kind}", "-q", force, self.image], capture_output=True)
        if made.returncode != 0:
            not_tested(f"mkfs.{kind}: {made.stderr.decode().strip()}")
        self.mounted = False
        self.mount()

    def mount(self):
        done = subprocess.run(["mount", "-o", "loop,noatime", self.image, self.mount_point],
                              capture_output=True)
        if done.returncode != 0:
            not_tested(f"mount: {done.stderr.decode().strip()}")
        self.mounted = True

    def cut(self):
        folder = os.open(self.mount_point, os.O_RDONLY)
        fcntl.ioctl(folder, SHUTDOWN, struct.pack("I", WITHOUT_FLUSHING_THE_LOG))
        os.close(folder)

    def unmount(self):
        for _ in range(100):
            if subprocess.run(["umount", self.mount_point], capture_output=True).returncode == 0:
                self.mounted = False
                return
            time.sleep(0.05)
        fail(f"{self.mount_point} cannot be unmounted")


class Feed(threading.Thread):
    """Sends lines to a process until it is gone; remembers what was sent."""

    def __init__(self, stdin, rng, counter):
        super().__init__(daemon=True)
        self.stdin, self.rng, self.counter, self.sent = stdin, rng, counter, []

    def run(self):
        try:
            while True:
                lines = [self.line() for _ in range(self.rng.choice([1, 10, 100]))]
                self.sent.extend(lines)
                self.stdin.write(b"".join(line + b"\n" for line in lines))
                self.stdin.flush()
        except (BrokenPipeError, ValueError, OSError):
            pass

    def line(self):
        self.counter += 1
        body = self.rng.randbytes(self.rng.choice([0, 20, 300, 3000]))
        return b"%d " % self.counter + body.replace(b"\n", b"\\")


class Acks(threading.Thread):
    """Collects acks; only what has come through the pipe counts."""

    def __init__(self, stdout):
        super().__init__(daemon=True)
        self.stdout, self.acked = stdout, []

    def run(self):
        for line in self.stdout:
            if line.endswith(b"\n"):
                self.acked.append(int(line))


class Msglog:
    def __init__(self, binary, folder, durability):
        self.binary, self.durability = binary, durability
        self.url = f"fs://{folder}/store?segment_bytes={1 << 20}"

    def produce(self, rng, first):
        return [self.binary, "produce", self.url, "lines", "--durability", self.durability,
                "--print-acks", "--batch-lines", str(rng.choice([1, 10, 1000]))]

    def contents(self, first):
        out = subprocess.run([self.binary, "consume", self.url, "lines", "--from", str(first),
                              "--format", r"%m %s\n"], stdout=subprocess.PIPE)
        if out.returncode != 0:
            return None
        payloads = []
        for line in out.stdout.split(b"\n")[:-1]:
            msn, _, payload = line.partition(b" ")
            if int(msn) != first + len(payloads):
                fail(f"MSN {int(msn)} follows {first + len(payloads) - 1}")
            payloads.append(payload)
        return payloads

    def recover(self):
        subprocess.run([self.binary, "produce", self.url, "lines"], stdin=subprocess.DEVNULL,
                       check=True)


class FilePeer:
    def __init__(self, folder):
        self.path = os.path.join(folder, "lines")

    def produce(self, rng, first):
        return [sys.executable, "-c", FILE_PEER, self.path, str(first)]

    def contents(self, first):
        try:
            with open(self.path, "rb") as lines:
                return lines.read().split(b"\n")[:-1][first:]
        except FileNotFoundError:
            return []

    def recover(self):
        pass


class SledPeer:
    def __init__(self, binary, folder):
        self.binary, self.folder = binary, os.path.join(folder, "sled")

    def produce(self, rng, first):
        return [self.binary, "sled", "append", self.folder, str(first)]

    def contents(self, first):
        out = subprocess.run([self.binary, "sled", "read", self.folder], stdout=subprocess.PIPE)
        return None if out.returncode != 0 else out.stdout.split(b"\n")[:-1][first:]

    def recover(self):
        pass


def one_round(device, peer, rng, first):
    """Produces, cuts the power, mounts; answers how many were acked, found and lost."""
    process = subprocess.Popen(peer.produce(rng, first), stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    feed, acks = Feed(process.stdin, rng, first), Acks(process.stdout)
    acks.start()
    feed.start()
    if rng.random() < 0.8:
        deadline = time.monotonic() + 10
        while not acks.acked and time.monotonic() < deadline:
            time.sleep(0.005)
    time.sleep(rng.choice([0.02, 0.1, 0.4]) * rng.random())
    # What has come through the pipe until now was acked before the power went.
    acked = len(acks.acked)
    device.cut()
    process.kill()
    process.wait()
    acks.join()
    feed.join()
    device.unmount()
    device.mount()
    peer.recover()
    there = peer.contents(first)
    if there is None and isinstance(peer, SledPeer):
        return acked, 0, acked, "it cannot be opened any more"
    if there is None:
        fail("the log cannot be read")
    if there != feed.sent[:len(there)]:
        place = next((n for n, (a, b) in enumerate(zip(there, feed.sent)) if a != b), "end")
        return acked, len(there), max(0, acked - len(there)), f"record {place} is not what was sent"
    return acked, len(there), max(0, acked - len(there)), None


def run(kind, options, binary, rng):
    folder = tempfile.mkdtemp(prefix=f"msglog-power-{kind}-")
    device, started = None, time.monotonic()
    acked = lost = altered = rounds_with_loss = found = 0
    try:
        device = Device(kind, folder)
        honest = options.peer == "msglog" and options.durability == "sync"
        first = 0
        for number in range(1, options.rounds + 1):
            if options.peer == "msglog":
                peer = Msglog(binary, device.mount_point, options.durability)
            elif options.peer == "sled":
                peer = SledPeer(binary, device.mount_point)
            else:
                peer = FilePeer(device.mount_point)
            if first == 0:
                peer.recover()
                os.sync()
            now, there, gone, wrong = one_round(device, peer, rng, first)
            acked, lost, found = acked + now, lost + gone, found + there
            rounds_with_loss += gone > 0
            altered += wrong is not None
            if honest and (gone or wrong):
                fail(f"round {number} on {kind}: {now} acked, {there} there, {wrong}")
            first += there
            usage = shutil.disk_usage(device.mount_point)
            if usage.free < usage.total // 2 or wrong:
                device.unmount()
                shutil.rmtree(folder)
                os.mkdir(folder)
                device, first = Device(kind, folder), 0
    finally:
        if device and device.mounted:
            device.unmount()
        shutil.rmtree(folder, ignore_errors=True)
    levels = {"msglog": f"at {options.durability}", "file": "(never syncs)", "sled": "(its flush)"}
    level = levels[options.peer]
    print(f"{kind}, {options.peer} {level}: {options.rounds} power cuts, "
          f"{acked} acked before them, {lost} of these lost in {rounds_with_loss} cuts, "
          f"{altered} cuts left something else than a prefix, {found} records found, "
          f"{time.monotonic() - started:.0f} s", flush=True)


def main():
    options = parse_arguments()
    if os.geteuid() != 0:
        not_tested("power cuts need root, for loop devices and mounts")
    seed = options.seed if options.seed is not None else random.randrange(1 << 32)
    print(f"seed {seed}", flush=True)
    binary = binary_of(options)
    for kind in options.fs or ["ext4", "xfs"]:
        if not shutil.which(f"mkfs.{kind}"):
            not_tested(f"mkfs.{kind} is not installed")
        run(kind, options, binary, random.Random(seed))


if __name__ == "__main__":
    main()
