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
    """Made freely: urllib3 makes one when it is imported, to see which addresses there are."""

    def connect(self, address):
        self._require_inside(address)
        super().connect(address)

    def connect_ex(self, address):
        self._require_inside(address)
        return super().connect_ex(address)

    def sendto(self, data, *given):
        self._require_inside(given[-1])
        return super().sendto(data, *given)

    def bind(self, address):
        if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "::1"):
            _refuse(f"a service at {address}")
        super().bind(address)

    def _require_inside(self, address):
        if self.family != socket.AF_UNIX:
            _refuse(f"a way to {address}")


def _no_lookup(host, *_, **__):
    _refuse(f"a look-up of {host}")


socket.socket = _Local
socket.getaddrinfo = _no_lookup
socket.gethostbyname = _no_lookup
