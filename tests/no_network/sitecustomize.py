"""On the path of a process and its children: a socket that leads out of the machine is refused."""

import os
import socket
from pathlib import Path

_FOUND = Path(os.environ["SOCKETS_FOUND"])


def _refuse(what):
    with _FOUND.open("a", encoding="utf-8") as file:
        file.write(f"{what}\n")
    raise PermissionError(what)


class _Local(socket.socket):
    def __init__(self, family=-1, *given, **named):
        if family != socket.AF_UNIX:
            _refuse(f"a socket of family {family}")
        super().__init__(family, *given, **named)


def _no_lookup(host, *_, **__):
    _refuse(f"a look-up of {host}")


socket.socket = _Local
socket.getaddrinfo = _no_lookup
socket.gethostbyname = _no_lookup
