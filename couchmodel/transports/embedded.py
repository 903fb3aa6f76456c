"""The embedded store, reached by a call: the router of :mod:`couchmodel._embedded` in this process."""

from collections.abc import AsyncIterable

from couchmodel._embedded.router import Router
from couchmodel._embedded.store import Store
from couchmodel._wire.messages import Request, Response
from couchmodel.transports.outgoing import Outgoing

__all__ = ["EmbeddedTransport"]


class EmbeddedTransport:
    """A CouchDB in this process, in a SQLite file or in memory. Whoever holds it is its administrator."""

    def __init__(self, path: str | None) -> None:
        """``path`` is the file, which is made by the first request if it is not there; None keeps all in memory."""
        self._path = path
        self._store = Store(path)
        self._router = Router(self._store)

    def __repr__(self) -> str:
        return f"<EmbeddedTransport {'memory:' if self._path is None else f'sqlite:{self._path}'}>"

    async def send(self, request: Request) -> Response:
        """The router's answer."""
        if isinstance(request.body, AsyncIterable):
            request.body = outgoing = Outgoing(request.body)
            response = await self._router.answer(request)
            if outgoing.error is not None:
                raise outgoing.error
        else:
            response = await self._router.answer(request)
        if response.stream is not None and not request.stream:
            await response.collect()
        return response

    async def close(self) -> None:
        """Finish what is queued and let go of the file."""
        await self._store.close()
