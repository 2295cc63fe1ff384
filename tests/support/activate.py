"""Becomes a program that is given descriptors as systemd gives them: from number 3 on, with
LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES. They come as messages over standard input, a socket:
each a name and one descriptor, and an empty name at the end."""

import fcntl
import os
import socket
import sys

FIRST = 3
OUT_OF_THE_WAY = 900

names, held = [], []
with socket.socket(fileno=os.dup(0)) as source:
    while True:
        name, fds, _, _ = socket.recv_fds(source, 256, 1)
        if not fds:
            break
        names.append(name.decode())
        held.append(fcntl.fcntl(fds[0], fcntl.F_DUPFD_CLOEXEC, OUT_OF_THE_WAY))
        os.close(fds[0])
for number, fd in enumerate(held, FIRST):
    os.dup2(fd, number, inheritable=True)
os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
os.environ["LISTEN_PID"] = str(os.getpid())
os.environ["LISTEN_FDS"] = str(len(names))
os.environ["LISTEN_FDNAMES"] = ":".join(names)
os.execvp(sys.argv[1], sys.argv[1:])
