"""The transport of an embedded store, which calls the router of :mod:`couchmodel._embedded` in this process."""

from collections.abc import AsyncIterator, Mapping

from couchmodel._embedded.server.router import Router
from couchmodel._embedded.settings import Configuration
from couchmodel._embedded.storage.store import Store
from couchmodel._wire.messages import EMPTY, Request, Response, Transport
from couchmodel.errors import TransportError
from couchmodel.transports.credentials import Credentials, send_authenticated
from couchmodel.transports.http import HTTPTransport
from couchmodel.transports.request_stream import RequestStream

__all__ = ["EmbeddedTransport"]


class EmbeddedTransport:
    """A CouchDB in this process, in a SQLite file or in memory.

    Without credentials its requests are those of an administrator. With credentials they are checked as a server checks
    them, and its requests are those of a user.
    """

    def __init__(self, path: str | None, auth: Credentials | None = None) -> None:
        """``path`` is the file; the first request creates it if it does not exist. None keeps the store in memory."""
        self._path = path
        self._auth = auth
        self._store = Store(path)
        configuration = Configuration(require_valid_user=auth is not None)
        self._router = Router(self._store, configuration, remote=HTTPTransport)

    def __repr__(self) -> str:
        return f"<EmbeddedTransport {'memory:' if self._path is None else f'sqlite:{self._path}'}>"

    async def send(self, request: Request) -> Response:
        """Return the router's answer."""
        body = request.body
        if body is not None and not isinstance(body, bytes):
            request.body = stream = _EmbeddedRequestStream(body)
            try:
                response = await self._answer(request)
            except TransportError:
                if stream.source_error is not None:
                    # The program gets the error of its own source, and not the one that the router has made of it.
                    raise stream.source_error from stream.source_error.__cause__
                raise
        else:
            response = await self._answer(request)
        if response.stream is not None and not request.stream:
            # The router answers in pieces wherever an answer may be long.
            await response.collect()
        return response

    def for_users(self) -> Transport:
        """Return a transport to this store whose requests are those of the users that their headers name.

        A request without credentials is that of nobody, even if the store has no administrators.
        """
        return _TransportOfUsers(self._router)

    async def close(self) -> None:
        """Finish the writes that are queued, and close the file."""
        await self._router.close()
        await self._store.close()

    async def _answer(self, request: Request) -> Response:
        auth = self._auth
        if auth is None:
            # Without credentials, requests are those of the program that has opened the store, which is its
            # administrator.
            return await self._router.answer(request)
        # Header names are lower case inside, see ``_wire.messages``. Credentials write them as HTTP does.
        request.headers = {**request.headers, **_lower_names(auth.static_headers)}
        if not auth.is_refreshable:
            return await self._router.authenticate_and_answer(request)
        return await send_authenticated(auth, request, self._answer_with)

    async def _answer_with(self, request: Request, credentials: Mapping[str, str] = EMPTY) -> Response:
        request.headers = {**request.headers, **_lower_names(credentials)}
        return await self._router.authenticate_and_answer(request)


def _lower_names(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


class _TransportOfUsers:
    """A transport to a store that another transport has opened."""

    def __init__(self, router: Router) -> None:
        self._router = router

    async def send(self, request: Request) -> Response:
        body = request.body
        if body is not None and not isinstance(body, bytes):
            request.body = _EmbeddedRequestStream(body)
        response = await self._router.authenticate_and_answer(request, is_party=False)
        if response.stream is not None and not request.stream:
            await response.collect()
        return response

    async def close(self) -> None:
        """Do nothing: the store is closed by the transport that has opened it."""


class _EmbeddedRequestStream(RequestStream):
    """A request body whose source may fail. To the router, such a failure is a lost connection."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for piece in super().__aiter__():
                yield piece
        except Exception as error:
            raise TransportError("the body of the request ended too early") from error
