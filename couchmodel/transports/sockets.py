"""Sockets that do not lose an answer to a request that is still being sent.

A server that refuses an upload answers early and closes. What is sent after that fails, and an event loop takes that
for the end of the connection: the answer, which has arrived by then, would never be read.
"""

import socket
from typing import Any

__all__ = ["open_socket"]


def open_socket(address: tuple[int, int, int, str, Any]) -> socket.socket:
    """A socket for an address as :func:`socket.getaddrinfo` has it, not connected yet."""
    family, kind, protocol, _, _ = address
    return _Socket(family, kind, protocol)


class _Socket(socket.socket):
    """Drops what the server takes no more, for as long as something from it waits to be read."""

    def send(self, data: Any, flags: int = 0, /) -> int:
        """How many bytes were taken."""
        try:
            return super().send(data, flags)
        except ConnectionError:
            if self._has_answer():
                return memoryview(data).nbytes
            raise

    def _has_answer(self) -> bool:
        try:
            return bool(self.recv(1, socket.MSG_PEEK))
        except OSError:
            return False
