#!/usr/bin/env python3
"""A file that writes down every write and every flush it gets: the disk below a loop device.

    recording_disk.py IMAGE LOG PLACE

shows IMAGE at PLACE, an empty file, until PLACE is unmounted or standard input ends; it prints
`ready` when it does. It speaks the protocol of /dev/fuse itself, so that it needs nothing but root.
The loop device turns flushes into fsync; writes come past the page cache, and there are no
discards.

A request is in LOG before it is answered. Each is an ENTRY, then the bytes of a write. Whatever
waits at the same time is in flight together: of it flushes come first, so that a flush covers what
had been answered when it arrived, and nothing else.
"""

import ctypes
import errno
import os
import select
import stat
import struct
import sys

ENTRY = struct.Struct("<cQQ")  # what it is, offset and length of a write
WRITTEN, FLUSHED = b"w", b"f"

# Of linux/fuse.h, version 7.31; all that a root which is a file can be asked for.
GETATTR, SETATTR, OPEN, READ, WRITE, STATFS, RELEASE, FSYNC, FLUSH, INIT, DESTROY = (
    3, 4, 14, 15, 16, 17, 18, 20, 25, 26, 38)
WITHOUT_ANSWER = [2, 36, 42]  # forget, interrupt, several forgets
HEADER = struct.Struct("<IIQQIIII")
ANSWER = struct.Struct("<IiQ")
ATTRIBUTES = struct.Struct("<QII 6Q 10I")
ASYNC_READ, BIG_WRITES, ASYNC_DIO = 1 << 0, 1 << 5, 1 << 15
OPEN_DIRECT_IO, OPEN_PARALLEL_DIRECT_WRITES = 1 << 0, 1 << 6
WRITE_BYTES_MAX = 128 << 10
NOSUID, NODEV = 2, 4


def mount(place):
    fuse = os.open("/dev/fuse", os.O_RDWR | os.O_NONBLOCK)
    options = f"fd={fuse},rootmode={stat.S_IFREG:o},user_id=0,group_id=0"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"recording_disk", os.fsencode(place), b"fuse", NOSUID | NODEV,
                  options.encode()) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), place)
    return fuse


class Disk:
    def __init__(self, image, log):
        self.image = os.open(image, os.O_RDWR)
        self.log = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def note(self, what, offset=0, data=b""):
        entry = ENTRY.pack(what, offset, len(data)) + data
        assert os.write(self.log, entry) == len(entry), "the log is full"

    def attributes(self):
        size = os.fstat(self.image).st_size
        return ATTRIBUTES.pack(1, 0, 0, 1, size, size // 512, 0, 0, 0, 0, 0, 0,
                               stat.S_IFREG | 0o600, 1, 0, 0, 0, 4096, 0)

    def answer(self, what, body):
        if what == INIT:
            flags = struct.unpack_from("<IIII", body)[3] & (ASYNC_READ | BIG_WRITES | ASYNC_DIO)
            return struct.pack("<IIIIHHI9I", 7, 31, 1 << 17, flags, 64, 48, WRITE_BYTES_MAX,
                               1, *[0] * 8)
        if what in (GETATTR, SETATTR):
            return self.attributes()
        if what == OPEN:
            return struct.pack("<QII", 0, OPEN_DIRECT_IO | OPEN_PARALLEL_DIRECT_WRITES, 0)
        if what == READ:
            _, offset, length = struct.unpack_from("<QQI", body)
            return os.pread(self.image, length, offset)
        if what == WRITE:
            _, offset, length = struct.unpack_from("<QQI", body)
            data = body[40:40 + length]
            os.pwrite(self.image, data, offset)
            self.note(WRITTEN, offset, data)
            return struct.pack("<II", length, 0)
        if what == FSYNC:
            self.note(FLUSHED)
            return b""
        if what == STATFS:
            return bytes(80)
        if what in (RELEASE, FLUSH, DESTROY):
            return b""
        raise OSError(errno.ENOSYS, "not known")


def waiting(fuse):
    """All requests that wait now, at least one; none when it is over."""
    requests, unasked = [], (errno.ENOENT, errno.EINTR)  # a request was taken back
    while True:
        try:
            requests.append(os.read(fuse, WRITE_BYTES_MAX + 4096))
        except BlockingIOError:
            if requests:
                return requests
            if sys.stdin in select.select([fuse, sys.stdin], [], [])[0]:
                return []
        except OSError as error:
            if error.errno == errno.ENODEV:
                return requests
            if error.errno not in unasked:
                raise


def serve(fuse, disk):
    while requests := waiting(fuse):
        requests.sort(key=lambda request: HEADER.unpack_from(request)[1] != FSYNC)
        for request in requests:
            _, what, unique, *_ = HEADER.unpack_from(request)
            if what in WITHOUT_ANSWER:
                continue
            try:
                error, body = 0, disk.answer(what, request[HEADER.size:])
            except OSError as failed:
                error, body = -failed.errno, b""
            os.write(fuse, ANSWER.pack(ANSWER.size + len(body), error, unique) + body)


def main():
    image, log, place = sys.argv[1:]
    disk = Disk(image, log)
    try:
        fuse = mount(place)
    except OSError as error:
        sys.exit(f"{error.filename or '/dev/fuse'}: {error.strerror}")
    print("ready", flush=True)
    serve(fuse, disk)


if __name__ == "__main__":
    main()
