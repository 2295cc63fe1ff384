#!/usr/bin/env python3
"""A client of ipc-gateway, written from docs/PROTOCOL.md alone. Python 3.11 or newer, no packages.

    client.py SOCKET [ROUTE [COUNT]]

Sends COUNT requests (100) to ROUTE (decide), up to a session's window at once, and prints each
code with its count. Exit code 0 if all were answered with OK, 1 otherwise, 69 without a gateway.

What Python cannot do, and how this client gets by:

* It has no loads and stores with an order. On x86-64 the processor's own order is enough
  (PROTOCOL.md, section 5), and the interpreter keeps the order of the program. Other processors
  are refused.
* It has no store of a chosen width. An item of a memoryview cast to "Q" or "I" is copied with one
  8-byte or 4-byte instruction. (struct with "<Q" stores byte by byte: a tail word would tear.)
* It has no fence. To the gateway it rings always, as section 6 allows. Before it sleeps it calls
  membarrier(2), whose caller passes a full fence; and it never sleeps longer than SLICE, so that
  where the call is missing a wake-up that is missed costs that long.
"""

import ctypes
import fcntl
import mmap
import os
import platform
import select
import socket
import struct
import sys
import time
from collections import Counter
from dataclasses import dataclass

WIRE_VERSION = 1
MAX_PACKET_BYTES = 32768
DESCRIPTOR_BYTES = 64
PAGE = 4096

# Lines (section 3).
SUBMISSION_TAIL = 4096
COMPLETION_TAIL = 4352
COMPLETION_HEAD = 4480
CLIENT_BELL = 4608
SUBMISSION_SLOTS = 5120

OUTCOMES = {1: "answered", 2: "rejected", 3: "unknown"}
OK = 0
CALL = 1
AWAKE, ASLEEP_ON_SOCKET = 0, 2
FAREWELL = 2

MOST_STAGED = 32
SLICE = 0.1
U32 = 0xFFFF_FFFF

SYS_MEMBARRIER = 324
MEMBARRIER_CMD_GLOBAL_EXPEDITED = 2
LIBC = ctypes.CDLL(None, use_errno=True)


class GatewayError(Exception):
    """The gateway refused, misbehaved, or ended the session."""


@dataclass
class Completion:
    """What came back for one request."""

    user_data: int
    outcome: str
    code: int
    headers: list[tuple[str, str]]
    payload: bytes
    retry_after_ms: int


def align(number: int, to: int) -> int:
    return -(-number // to) * to


def fence() -> None:
    LIBC.syscall(SYS_MEMBARRIER, MEMBARRIER_CMD_GLOBAL_EXPEDITED, 0, 0)


def encode_headers(headers: dict[str, str]) -> bytes:
    block = b""
    for name, value in headers.items():
        name_bytes, value_bytes = name.encode(), value.encode()
        block += struct.pack("<HH", len(name_bytes), len(value_bytes)) + name_bytes + value_bytes
    return block


def decode_headers(block: bytes) -> list[tuple[str, str]]:
    headers = []
    while block:
        name_len, value_len = struct.unpack_from("<HH", block)
        end = 4 + name_len + value_len
        headers.append((block[4 : 4 + name_len].decode(), block[4 + name_len : end].decode()))
        block = block[end:]
    return headers


class Client:
    """One session. For one thread."""

    def __init__(self, path: str, entries: int = 16, message_size: int = 4032) -> None:
        if platform.machine() != "x86_64":
            raise GatewayError("this client needs the memory order of x86-64")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(2)
        self.socket.connect(path)
        self._check_peer()
        packet, descriptors = self._greet(entries, message_size)
        self._read_welcome(packet)
        self._map(*descriptors)
        self.socket.setblocking(False)
        self.free = list(range(self.entries - 1, -1, -1))
        self.pending: set[int] = set()
        self.submission_tail = self.submission_published = 0
        self.completion_head = 0
        self.newest = 0

    # Section 2.

    def _check_peer(self) -> None:
        credentials = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        _pid, uid, _gid = struct.unpack("iII", credentials)
        # An empty variable counts as not set; one that is no number names nobody.
        trusted = {0, os.geteuid()}
        if wanted := os.environ.get("IPC_GATEWAY_SERVER_UID"):
            trusted = {int(wanted)} if wanted.strip().isdecimal() else set()
        if uid not in trusted:
            raise GatewayError(f"the gateway runs as user {uid}, who is not trusted")

    def _greet(self, entries: int, message_size: int) -> tuple[bytes, list[int]]:
        name = os.path.basename(sys.argv[0]).encode()[:32]
        hello = struct.pack(
            "<8sIII12x32s", b"IPCGHELO", WIRE_VERSION, entries, message_size, name
        )
        try:
            self.socket.send(hello)
        except BrokenPipeError:
            pass  # A refusal may have come before.
        for attempt in (1, 2):
            try:
                packet, descriptors, flags, _ = socket.recv_fds(self.socket, MAX_PACKET_BYTES, 3)
                break
            except ConnectionResetError:
                if attempt == 2:
                    raise
        if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
            raise GatewayError("the answer is too long")
        if packet[:8] == b"IPCGREJT":
            _version, reason = struct.unpack_from("<IH", packet, 8)
            raise GatewayError(f"refused, reason {reason}: {packet[14:].decode()}")
        if packet[:8] != b"IPCGWELC" or len(descriptors) != 3:
            raise GatewayError("not an ipc-gateway")
        return packet, list(descriptors)

    def _read_welcome(self, packet: bytes) -> None:
        fields = struct.unpack_from("<IIIIQ", packet, 8)
        version, self.entries, self.message_size, count, self.session = fields
        if version != WIRE_VERSION:
            raise GatewayError(f"wire version {version}")
        self.routes: dict[str, int] = {}
        at = 32
        for _ in range(count):
            number, name_len, _timeout_ms = struct.unpack_from("<HHI", packet, at)
            self.routes[packet[at + 8 : at + 8 + name_len].decode()] = number
            at += 8 + name_len

    # Section 3.

    def _map(self, memfd: int, page: int, eventfd: int) -> None:
        self.stride = align(self.message_size + DESCRIPTOR_BYTES, 64)
        slots = align(4 * self.entries, 128)
        self.completion_slots = SUBMISSION_SLOTS + slots
        self.blocks = align(self.completion_slots + slots, PAGE)
        size = align(self.blocks + self.entries * self.stride, PAGE)
        if not fcntl.fcntl(memfd, fcntl.F_GET_SEALS) & fcntl.F_SEAL_SHRINK:
            raise GatewayError("the region is not sealed")
        if os.fstat(memfd).st_size < size:
            raise GatewayError("the region is too small")
        self.region = mmap.mmap(memfd, size)
        self.region.madvise(mmap.MADV_DONTFORK)
        os.close(memfd)
        # The bell page is for clients that ask before they ring: this one rings always.
        os.close(page)
        self.eventfd = eventfd
        self.words32 = memoryview(self.region).cast("I")
        self.words64 = memoryview(self.region).cast("Q")

    # Section 5.

    def submit(self, route: str, payload: bytes, user_data: int, **headers: str) -> bool:
        """Writes a request into a free block; False if there is none."""
        header_block = encode_headers(headers)
        if len(header_block) + len(payload) > self.message_size:
            raise ValueError("the request is larger than a block")
        if not self.free:
            return False
        block = self.free.pop()
        at = self.blocks + block * self.stride
        descriptor = struct.pack(
            "<QBBHIIIQQ24x",
            user_data,
            CALL,
            0,
            self.routes[route],
            len(header_block),
            len(payload),
            0,
            0,
            time.monotonic_ns(),
        )
        body = descriptor + header_block + payload
        self.region[at : at + len(body)] = body
        slot = self.submission_tail % self.entries
        self.words32[SUBMISSION_SLOTS // 4 + slot] = block
        self.submission_tail = (self.submission_tail + 1) & U32
        self.newest = block
        self.pending.add(block)
        staged = (self.submission_tail - self.submission_published) & U32
        if staged >= MOST_STAGED or staged * 2 >= len(self.pending):
            self.flush()
        return True

    def flush(self) -> None:
        """Shows everything submitted to the gateway."""
        if self.submission_published == self.submission_tail:
            return
        # Before the tail: rule 1.
        self.words32[COMPLETION_HEAD // 4] = self.completion_head
        self.words64[SUBMISSION_TAIL // 8] = self.newest << 32 | self.submission_tail
        self.submission_published = self.submission_tail
        # Always, and so without a fence.
        os.write(self.eventfd, struct.pack("=Q", 1))

    def poll(self) -> Completion | None:
        """Takes a completion, if there is one."""
        position = self.words64[COMPLETION_TAIL // 8] & U32
        waiting = (position - self.completion_head) & U32
        if waiting > self.entries:
            raise GatewayError(f"impossible tail {position}")
        if waiting == 0:
            return None
        block = self.words32[self.completion_slots // 4 + self.completion_head % self.entries]
        if block not in self.pending:
            raise GatewayError(f"block {block} was not submitted")
        at = self.blocks + block * self.stride
        descriptor = self.region[at : at + DESCRIPTOR_BYTES]
        user_data, outcome, code, header_len, payload_len, _ring, _upstream, retry = (
            struct.unpack("<QBxHII4xQQI20x", descriptor)
        )
        if header_len + payload_len > self.message_size:
            raise GatewayError("a completion is longer than its block")
        at += DESCRIPTOR_BYTES
        headers = self.region[at : at + header_len]
        payload = self.region[at + header_len : at + header_len + payload_len]
        if self.region[:8] != b"IPCGRING":
            raise GatewayError("the session has ended and its memory is gone")
        self.completion_head = (self.completion_head + 1) & U32
        self.words32[COMPLETION_HEAD // 4] = self.completion_head
        self.pending.remove(block)
        self.free.append(block)
        name = OUTCOMES.get(outcome, "unknown")
        return Completion(user_data, name, code, decode_headers(headers), payload, retry)

    # Section 6.

    def wait(self, timeout: float) -> Completion | None:
        """Flushes, then waits for a completion."""
        self.flush()
        deadline = time.monotonic() + timeout
        while True:
            if (completion := self.poll()) is not None:
                return completion
            if (left := deadline - time.monotonic()) <= 0:
                return None
            self.words32[CLIENT_BELL // 4] = ASLEEP_ON_SOCKET
            fence()
            completion = self.poll()
            if completion is None:
                select.select([self.socket], [], [], min(left, SLICE))
            self.words32[CLIENT_BELL // 4] = AWAKE
            if completion is not None:
                return completion
            self._read_socket()

    def _read_socket(self) -> None:
        while True:
            try:
                packet = self.socket.recv(64)
            except BlockingIOError:
                return
            if not packet:
                raise GatewayError("the gateway has gone")
            if packet[0] == FAREWELL:
                reason = int.from_bytes(packet[1:3], "little")
                raise GatewayError(f"the session has ended, reason {reason}")


def main() -> int:
    if not 2 <= len(sys.argv) <= 4:
        print(__doc__, file=sys.stderr)
        return 2
    path = sys.argv[1]
    route = sys.argv[2] if len(sys.argv) > 2 else "decide"
    count = int(sys.argv[3]) if len(sys.argv) > 3 else 100
    try:
        client = Client(path)
    except (OSError, GatewayError) as error:
        print(f"client.py: {path}: {error}", file=sys.stderr)
        return 69
    if route not in client.routes:
        print(f"client.py: no route {route}, but {', '.join(client.routes)}", file=sys.stderr)
        return 1
    try:
        return exchange(client, route, count)
    except GatewayError as error:
        print(f"client.py: {error}", file=sys.stderr)
        return 1


def exchange(client: Client, route: str, count: int) -> int:
    codes: Counter[tuple[str, int]] = Counter()
    echoed = sent = done = 0
    seen = bytearray(count)
    while done < count:
        while sent < count and client.submit(route, f"request {sent}".encode(), sent, n=str(sent)):
            sent += 1
        completion = client.wait(10)
        if completion is None:
            raise GatewayError("no completion in 10 seconds")
        seen[completion.user_data] += 1
        codes[completion.outcome, completion.code] += 1
        echoed += completion.payload == f"request {completion.user_data}".encode()
        done += 1
    for (outcome, code), times in sorted(codes.items()):
        print(f"{times} {outcome} {code}")
    print(f"{echoed} payloads came back as they were sent")
    if any(times != 1 for times in seen):
        raise GatewayError("a request was not completed exactly once")
    return 0 if codes["answered", OK] == count else 1


if __name__ == "__main__":
    sys.exit(main())
