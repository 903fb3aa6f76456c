"""Sockets that keep the answer to a request that is still being sent.

A server that refuses an upload answers early and closes the connection. From then on every send fails. An event loop
would drop the connection for that, and never read the answer that has arrived.
"""

import socket
from typing import Any

__all__ = ["open_socket"]


def open_socket(address: tuple[int, int, int, str, Any]) -> socket.socket:
    """Return a socket, not connected yet, for an address as :func:`socket.getaddrinfo` returns it."""
    family, kind, protocol, _, _ = address
    return _AnswerKeepingSocket(family, kind, protocol)


class _AnswerKeepingSocket(socket.socket):
    """A socket whose send succeeds although the server refuses to receive, while an answer waits to be read."""

    def send(self, data: Any, flags: int = 0, /) -> int:
        """Return the number of bytes that were sent or dropped."""
        try:
            return super().send(data, flags)
        except ConnectionError:
            # Pretend that all was sent: the event loop goes on, reads the answer and closes the connection.
            if self._has_answer():
                return memoryview(data).nbytes
            raise

    def _has_answer(self) -> bool:
        try:
            return bool(self.recv(1, socket.MSG_PEEK))
        except OSError:
            return False
