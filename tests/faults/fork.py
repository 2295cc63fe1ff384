"""A client that forks and is killed; its child lives on with the socket and the mapping.

Called with the place of examples/client.py's directory and the gateway's socket. The child says its
process number, then scribbles into the mapping that is no longer its own until its input ends.
"""

import mmap
import os
import signal
import sys

sys.path.insert(0, sys.argv[1])
import client  # noqa: E402

session = client.Client(sys.argv[2])
for mark in range(8):
    session.submit("decide", b"x" * 100, mark)
session.flush()
print("sent", flush=True)
# They are on their way when this goes on.
sys.stdin.readline()
# What the library forbids, and a careless program could allow again.
session.region.madvise(mmap.MADV_DOFORK)
if os.fork() == 0:
    with open("/proc/self/maps", encoding="ascii") as maps:
        assert "memfd:ipc-gateway-session" in maps.read()
    print("child", os.getpid(), flush=True)
    for line in sys.stdin:
        session.region[:] = b"\xff" * len(session.region)
        print("scribbled", flush=True)
    os._exit(0)
os.kill(os.getpid(), signal.SIGKILL)
