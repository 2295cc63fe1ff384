"""A client that holds its memory's lock after its session: it writes from memory that never comes.

Called with the place of examples/client.py's directory and the gateway's socket. Says `holding`
once the session is given up, and lets go when its input ends. Says `cannot` where the system does
not let this user do so.
"""

import ctypes
import fcntl
import mmap
import os
import struct
import sys
import threading

sys.path.insert(0, sys.argv[1])
import client  # noqa: E402

libc = ctypes.CDLL(None, use_errno=True)
SYS_USERFAULTFD, UFFD_API, UFFDIO_API, UFFDIO_REGISTER = 323, 0xAA, 0xC018AA3F, 0xC020AA00
MISSING = 1


class Holder(client.Client):
    """Keeps the descriptor of its memory."""

    def _map(self, memfd: int, page: int, eventfd: int) -> None:
        self.memfd = os.dup(memfd)
        super()._map(memfd, page, eventfd)


faults = libc.syscall(SYS_USERFAULTFD, os.O_CLOEXEC)
if faults < 0:
    print("cannot", os.strerror(ctypes.get_errno()), flush=True)
    sys.exit(0)
fcntl.ioctl(faults, UFFDIO_API, struct.pack("QQQ", UFFD_API, 0, 0))
never = mmap.mmap(-1, 4096)
address = ctypes.addressof(ctypes.c_char.from_buffer(never))
fcntl.ioctl(faults, UFFDIO_REGISTER, struct.pack("QQQQ", address, 4096, MISSING, 0))

session = Holder(sys.argv[2])
# For ever: nobody answers the fault, and the file's lock is held meanwhile.
arguments = (session.memfd, ctypes.c_void_p(address), ctypes.c_size_t(4096), ctypes.c_long(0))
threading.Thread(target=libc.pwrite, args=arguments, daemon=True).start()
# A message comes when the write waits.
os.read(faults, 32)
session.socket.close()
print("holding", flush=True)
sys.stdin.read()
os._exit(0)
