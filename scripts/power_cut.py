#!/usr/bin/env python3
"""Cuts the power of a real file system under a producing `msglog produce`, again and again.

The file system is ext4 or XFS on a loop device; the cut is the shutdown ioctl without flushing its
log (what xfstests call godown), then the producer is killed, and the file system mounted anew.
Acks leave through a pipe before they count. After every cut each acked MSN must be there, and what
is there must be, byte for byte, a prefix of what was sent.

With `--durability os` acks do not wait for a sync, `--peer file` writes lines without ever syncing,
and `--peer sled` acks after sled's own flush, which does not sync the device: these must lose acked
records, which shows that the harness can see loss; when none of them is lost, that is a failure.
Needs root, loop devices and mkfs; a file system that cannot be tested is named, and the run ends
with 77.
"""

import errno
import fcntl
import os
import shutil
import struct
import subprocess
import tempfile
import threading
import time

from power import (Feed, NotTested, arguments, differs, fail, for_each_file_system, is_honest,
                   make_image, named, needed, peer_of, recovered, unmount)

SHUTDOWN = 0x8004587D  # FS_IOC_SHUTDOWN, XFS_IOC_GOINGDOWN
WITHOUT_FLUSHING_THE_LOG = 2
CANNOT_SHUT_DOWN = [errno.EPERM, errno.EACCES, errno.ENOTTY, errno.EOPNOTSUPP, errno.ENOSYS]


class Device:
    """A file system on a loop device, mounted in the folder."""

    def __init__(self, kind, folder):
        self.mount_point, self.image = mount_point_in(folder), os.path.join(folder, "image")
        make_image(kind, self.image)
        os.mkdir(self.mount_point)
        needed("mount", "-o", "loop,noatime", self.image, self.mount_point)

    def cut(self):
        folder = os.open(self.mount_point, os.O_RDONLY)
        try:
            fcntl.ioctl(folder, SHUTDOWN, struct.pack("I", WITHOUT_FLUSHING_THE_LOG))
        except OSError as error:
            if error.errno not in CANNOT_SHUT_DOWN:
                raise
            raise NotTested(f"the file system cannot be shut down: {error.strerror}") from error
        finally:
            os.close(folder)

    def mount_anew(self):
        unmount(self.mount_point)
        done = subprocess.run(["mount", "-o", "loop,noatime", self.image, self.mount_point],
                              capture_output=True, text=True)
        if done.returncode != 0:
            fail(f"after the cut, mount: {done.stderr.strip()}")


def mount_point_in(folder):
    return os.path.join(folder, "mnt")


class Acks(threading.Thread):
    """Collects acks; only what has come through the pipe counts."""

    def __init__(self, stdout):
        super().__init__(daemon=True)
        self.stdout, self.acked = stdout, []

    def run(self):
        for line in self.stdout:
            if line.endswith(b"\n"):
                self.acked.append(int(line))


def one_round(device, peer, rng, first):
    """Produces, cuts the power, mounts; how many were acked and found, and what is wrong."""
    process = subprocess.Popen(peer.produce(rng, first), stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    feed, acks = Feed(process.stdin, rng, first), Acks(process.stdout)
    try:
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
    finally:
        process.kill()
        process.wait()
        acks.join()
        feed.join()
    device.mount_anew()
    there = recovered(peer, first)
    return acked, len(there or []), differs(there, feed.sent)


def run(kind, options, binary, rng):
    folder = tempfile.mkdtemp(prefix=f"msglog-power-{kind}-")
    started = time.monotonic()
    acked = lost = altered = rounds_with_loss = found = 0
    try:
        device = Device(kind, folder)
        first = 0
        for number in range(1, options.rounds + 1):
            peer = peer_of(options, binary, device.mount_point)
            if first == 0:
                peer.recover()
                os.sync()
            now, there, wrong = one_round(device, peer, rng, first)
            gone = max(0, now - there)
            acked, lost, found = acked + now, lost + gone, found + there
            rounds_with_loss += gone > 0
            altered += wrong is not None
            if is_honest(options) and (gone or wrong):
                fail(f"round {number} on {kind}: {now} acked, {there} there, {wrong}")
            first += there
            usage = shutil.disk_usage(device.mount_point)
            if usage.free < usage.total // 2 or wrong:
                unmount(device.mount_point)
                shutil.rmtree(folder)
                os.mkdir(folder)
                device, first = Device(kind, folder), 0
    finally:
        unmount(mount_point_in(folder))
        shutil.rmtree(folder, ignore_errors=True)
    print(f"{kind}, {named(options)}: {options.rounds} power cuts, "
          f"{acked} acked before them, {lost} of these lost in {rounds_with_loss} cuts, "
          f"{altered} cuts left something else than a prefix, {found} records found, "
          f"{time.monotonic() - started:.0f} s", flush=True)
    if acked == 0:
        fail("nothing was acked before a cut")
    if lost == 0 and not is_honest(options):
        fail("nothing was lost, so this cannot see loss")


def main():
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    for_each_file_system(parser.parse_args(), run)


if __name__ == "__main__":
    main()
