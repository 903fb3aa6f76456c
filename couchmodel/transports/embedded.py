"""The embedded store, reached by a call: the router of :mod:`couchmodel._embedded` in this process."""

from collections.abc import AsyncIterable, AsyncIterator

from couchmodel._embedded.router import Router
from couchmodel._embedded.store import Store
from couchmodel._wire.messages import Request, Response
from couchmodel._wire.outgoing import Outgoing
from couchmodel.errors import TransportError

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
            request.body = outgoing = _Body(request.body)
            try:
                response = await self._router.answer(request)
            except TransportError:
                if outgoing.error is not None:
                    raise outgoing.error from None
                raise
        else:
            response = await self._router.answer(request)
        if response.stream is not None and not request.stream:
            await response.collect()
        return response

    async def close(self) -> None:
        """Finish what is queued and let go of the file."""
        await self._store.close()


class _Body(Outgoing):
    """A body whose source may fail: to the router that is a broken connection, and no fault of the store."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for piece in super().__aiter__():
                yield piece
        except Exception as error:
            raise TransportError("the body of the request ends too early") from error
