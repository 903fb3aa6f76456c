"""The source and target of a replication: databases of this store by name, databases of other servers by URL."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NamedTuple, TypeAlias
from urllib.parse import SplitResult, quote, unquote, urlsplit

from couchmodel._replication.peer import Peer
from couchmodel._wire.messages import Request, Response, Transport, database_path
from couchmodel._wire.users import User
from couchmodel.errors import BadRequestError, ServerError, UnsupportedError

__all__ = ["AnswerRequest", "End", "OpenTransport", "open_end", "parse_end"]

AnswerRequest: TypeAlias = Callable[[Request, User], Awaitable[Response]]
"""A function that answers a request to this store on behalf of a user."""

OpenTransport: TypeAlias = Callable[..., Transport]
"""A function that opens a transport to another server: by its URL, and by ``user``, ``password`` and ``headers``."""

_SCHEMES: Final = ("http", "https")


class End(NamedTuple):
    """A database to replicate from or to.

    ``name`` is what others see of it, without a password. ``url`` is the server's, None for this store.
    """

    name: str
    database: str
    url: str | None = None
    user: str | None = None
    password: str | None = None
    headers: Mapping[str, str] = {}

    def __repr__(self) -> str:
        return f"<End {self.name}>"  # without the password and the headers, which may hold one too

    @property
    def is_local(self) -> bool:
        """True for a database of this store."""
        return self.url is None


def parse_end(given: Any) -> End:
    """Parse ``source`` or ``target``: a URL, an object with a ``url``, or the name of a database.

    Raises ServerError if it is missing, as CouchDB does, and BadRequestError if it is invalid.
    """
    if given is None or given == "":
        raise ServerError("Missing replicator database", code="error")
    end = {"url": given} if isinstance(given, str) else given
    if not isinstance(end, dict) or not isinstance(url := end.get("url"), str) or not url:
        raise BadRequestError("endpoint has an invalid url")
    if "://" not in url:
        return End(url, url)
    return _remote_end(_split_url(url), end)


def open_end(end: End, store: str, answer: AnswerRequest, remote: OpenTransport | None, user: User) -> Peer:
    """Open a database as a peer. ``store`` is this store's id. The caller has to close the peer's transport.

    Raises UnsupportedError for a database of another server if the store cannot reach other servers.
    """
    if end.url is None:
        return Peer(_OwnTransport(answer, user), database_path(end.database), f"{store}/{end.database}")
    if remote is None:
        raise UnsupportedError("The embedded store was opened without a way to reach other servers.")
    transport = remote(end.url, user=end.user, password=end.password, headers=end.headers)
    return Peer(transport, database_path(end.database), end.name)


def _split_url(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        has_host = bool(parts.hostname) and parts.port != 0
    except ValueError:
        raise BadRequestError("endpoint has an invalid url") from None
    # A path is needed, as it names the database.
    if not has_host or parts.scheme not in _SCHEMES or parts.query or not parts.path.strip("/"):
        raise BadRequestError("endpoint has an invalid url")
    return parts


def _remote_end(parts: SplitResult, end: Mapping[str, Any]) -> End:
    headers, basic = end.get("headers", {}), _parse_basic_auth(end.get("auth", {}))
    if not isinstance(headers, dict) or not all(isinstance(value, str) for value in headers.values()):
        raise BadRequestError("endpoint has invalid headers")
    user, password = basic or (parts.username and unquote(parts.username), unquote(parts.password or ""))
    *prefix, database = parts.path.strip("/").split("/")
    # Without the name and the password, since the URL is shown to clients.
    host = parts.netloc.rpartition("@")[2]
    url = "/".join([f"{parts.scheme}://{host}", *prefix])
    database = unquote(database)
    return End(f"{url}/{quote(database, safe='')}/", database, url, user or None, password, headers)


def _parse_basic_auth(auth: Any) -> tuple[str, str] | None:
    """Return the name and password of an ``auth`` object. ``basic`` is the only kind that CouchDB knows, too.

    Raises BadRequestError if ``basic`` is no object.
    """
    basic = auth.get("basic") if isinstance(auth, dict) else None
    if basic is None:
        return None
    if not isinstance(basic, dict):
        raise BadRequestError("endpoint has an invalid auth object")
    return str(basic.get("username", "")), str(basic.get("password", ""))


class _OwnTransport:
    """A transport to this store, on behalf of one of its users."""

    def __init__(self, answer: AnswerRequest, user: User) -> None:
        self._answer = answer
        self._user = user

    async def send(self, request: Request) -> Response:
        """Return the answer of the store to a request."""
        response = await self._answer(request, self._user)
        if response.stream is not None and not request.stream:
            await response.collect()
        return response

    async def close(self) -> None:
        """Do nothing: there is no connection to close."""
