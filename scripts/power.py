"""What power_cut.py and block_log.py share: file systems on loop devices, who writes on them, what
was sent and acked, and how a run ends that cannot test anything."""

import argparse
import ctypes
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

NOT_TESTED = 77
NEW_MOUNTS = 0x20000  # CLONE_NEWNS
RECURSIVE_PRIVATE = 0x4000 | 0x40000  # MS_REC, MS_PRIVATE

# A peer that acks what it has written, and never syncs.
FILE_PEER = """
import os, sys
out = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
for number, line in enumerate(sys.stdin.buffer):
    os.write(out, line)
    os.write(1, b"%d\\n" % (int(sys.argv[2]) + number))
"""


class NotTested(Exception):
    """Something that the test needs is missing here."""


def fail(why):
    print(f"FAILED: {why}", flush=True)
    raise SystemExit(1)


def arguments(doc):
    parser = argparse.ArgumentParser(description=doc,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fs", choices=["ext4", "xfs"], action="append",
                        help="default: both, one after the other")
    parser.add_argument("--seed", type=int, default=None, help="default: chosen and printed")
    parser.add_argument("--durability", default="sync", help="sync (default) or os")
    parser.add_argument("--peer", choices=["msglog", "file", "sled"], default="msglog")
    parser.add_argument("--msglog", help="the binary; default: built in release mode")
    parser.add_argument("--peer-lines", help="the binary of bench/peers; default: built")
    return parser


def for_each_file_system(options, run):
    """Runs it on each; ends with 77 when one of them could not be tested."""
    # So that being stopped also unmounts.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    seed = options.seed if options.seed is not None else random.randrange(1 << 32)
    print(f"seed {seed}", flush=True)
    binary, untested, alone = None, False, False
    for kind in options.fs or ["ext4", "xfs"]:
        try:
            if os.geteuid() != 0:
                raise NotTested("this needs root, for loop devices and mounts")
            if not shutil.which(f"mkfs.{kind}"):
                raise NotTested(f"mkfs.{kind} is not installed")
            alone = alone or mount_alone()
            binary = binary or binary_of(options)
            run(kind, options, binary, random.Random(seed))
        except NotTested as why:
            print(f"{kind}: NOT TESTED: {why}", flush=True)
            untested = True
    if untested:
        raise SystemExit(NOT_TESTED)


def mount_alone():
    """From here on nobody but this process and its children sees what it mounts.

    So nobody who copies the mounts of the machine keeps one of ours alive, beside the next on the
    same image; and however this ends, nothing stays mounted.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(NEW_MOUNTS) != 0 or libc.mount(None, b"/", None, RECURSIVE_PRIVATE, None) != 0:
        raise NotTested(f"mounts of its own: {os.strerror(ctypes.get_errno())}")
    return True


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


def needed(*command):
    """Runs what only a machine that lets root do everything can do; answers what it prints."""
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise NotTested(f"{command[0]} is not installed") from error
    if done.returncode != 0:
        raise NotTested(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout.strip()


def make_image(kind, path):
    with open(path, "wb") as image:
        image.truncate(512 << 20)
    needed(f"mkfs.{kind}", "-q", "-F" if kind == "ext4" else "-f", path)


def unmount(mount_point):
    """Afterwards nothing is mounted there, nor was perhaps before."""
    for _ in range(100):
        done = subprocess.run(["umount", mount_point], capture_output=True, text=True,
                              env={**os.environ, "LC_ALL": "C"})
        if done.returncode == 0 or re.search("not mounted|no mount point", done.stderr):
            return
        time.sleep(0.05)
    # Whoever still has a file open there keeps it no longer than they live.
    subprocess.run(["umount", "--lazy", mount_point], check=True)
    fail(f"{mount_point} is busy")


class Feed(threading.Thread):
    """Sends lines to a process until it is gone or has got enough; remembers what was sent."""

    def __init__(self, stdin, rng, counter, pause=0.0):
        super().__init__(daemon=True)
        self.stdin, self.rng, self.counter, self.sent = stdin, rng, counter, []
        self.pause, self.enough = pause, False

    def run(self):
        try:
            while not self.enough:
                lines = [self.line() for _ in range(self.rng.choice([1, 10, 100]))]
                self.sent.extend(lines)
                self.stdin.write(b"".join(line + b"\n" for line in lines))
                self.stdin.flush()
                time.sleep(self.pause)
            self.stdin.close()
        except (BrokenPipeError, ValueError, OSError):
            pass

    def line(self):
        self.counter += 1
        body = self.rng.randbytes(self.rng.choice([0, 20, 300, 3000]))
        return b"%d " % self.counter + body.replace(b"\n", b"\\")


class Msglog:
    def __init__(self, binary, folder, durability, segment_bytes):
        self.binary, self.durability = binary, durability
        self.url = f"fs://{folder}/store?segment_bytes={segment_bytes}"

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
        return subprocess.run([self.binary, "produce", self.url, "lines"],
                              stdin=subprocess.DEVNULL).returncode == 0


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
        return True


class SledPeer:
    def __init__(self, binary, folder):
        self.binary, self.folder = binary, os.path.join(folder, "sled")

    def produce(self, rng, first):
        return [self.binary, "sled", "append", self.folder, str(first)]

    def contents(self, first):
        out = subprocess.run([self.binary, "sled", "read", self.folder], stdout=subprocess.PIPE)
        return None if out.returncode != 0 else out.stdout.split(b"\n")[:-1][first:]

    def recover(self):
        return True


def peer_of(options, binary, folder, segment_bytes=1 << 20):
    if options.peer == "msglog":
        return Msglog(binary, folder, options.durability, segment_bytes)
    return SledPeer(binary, folder) if options.peer == "sled" else FilePeer(folder)


def named(options):
    """Who writes, and at which level, in words."""
    levels = {"msglog": f"at {options.durability}", "file": "(never syncs)", "sled": "(its flush)"}
    return f"{options.peer} {levels[options.peer]}"


def is_honest(options):
    """Whether what is acked must be there; all others are here to lose some of it."""
    return options.peer == "msglog" and options.durability == "sync"


def recovered(peer, first):
    """What is there from this record on after recovery; none where it cannot be opened or read."""
    return peer.contents(first) if peer.recover() else None


def differs(there, sent):
    """What is wrong with what is there, unless it is a prefix of what was sent."""
    if there is None:
        return "it cannot be opened or read any more"
    if there == sent[:len(there)]:
        return None
    place = next((n for n, (a, b) in enumerate(zip(there, sent)) if a != b), "end")
    return f"record {place} is not what was sent"
