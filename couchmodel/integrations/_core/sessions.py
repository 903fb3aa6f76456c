"""Sessions of users: what a request asks of the store, the store is asked as the user who sent the request."""

from collections.abc import Callable, Iterable, Mapping
from http.cookies import CookieError, SimpleCookie
from typing import Protocol, cast

from couchmodel._model.model import Connection
from couchmodel._wire.messages import Request, Response, Transport
from couchmodel.errors import ConfigurationError

__all__ = ["FromUser", "UserConnection", "connect_user", "credentials_from"]

FromUser = Callable[[Mapping[str, str]], Mapping[str, str]]
"""A function that takes the headers of a request, and returns those by which the store knows the user."""


def credentials_from(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the session cookie of CouchDB or the token that a request has, as headers."""
    authorization = headers.get("authorization", "")
    if authorization.lower().startswith("bearer "):
        return {"authorization": authorization}
    try:
        morsel = SimpleCookie(headers.get("cookie", "")).get("AuthSession")
    # Python refuses names that browsers send. Such a request has no session then.
    except CookieError:
        return {}
    return {"cookie": f"AuthSession={morsel.value}"} if morsel is not None and morsel.value else {}


class _OpenToUsers(Protocol):
    def for_users(self) -> Transport: ...


class _UserTransport:
    """A transport whose requests have the credentials of one user."""

    def __init__(self, transport: Transport, headers: Mapping[str, str]) -> None:
        self._transport = transport
        self._headers = dict(headers)
        self.set_cookies: list[str] = []
        """The session cookies that the store has renewed."""

    def __repr__(self) -> str:
        return f"<a user of {self._transport!r}>"

    async def send(self, request: Request) -> Response:
        # The headers of the user come last, so that no request is sent as somebody else.
        request.headers = {**request.headers, **self._headers}
        response = await self._transport.send(request)
        renewed = response.headers.get("set-cookie", "")
        # CouchDB renews a cookie in the answer to a request, when some of its time has passed.
        if renewed.startswith("AuthSession=") and "cookie" in self._headers:
            self.set_cookies = [renewed]
        return response

    async def close(self) -> None:
        """Do nothing: the connections are those of all users."""


def connect_user(couch: Connection, headers: Mapping[str, str]) -> "UserConnection":
    """Return a connection to the store of another one, for the user that headers name to the store.

    It shares the sockets of all users, so it need not be closed. Raises ConfigurationError if the transport of the
    other connection, one of the program's own, has no method ``for_users``.
    """
    transport = couch.session.transport
    if not hasattr(transport, "for_users"):
        raise ConfigurationError(f"{couch!r} cannot speak as a user: its transport has no method for_users()")
    return UserConnection(_UserTransport(cast("_OpenToUsers", transport).for_users(), headers))


class UserConnection(Connection):
    """A connection whose requests are those of one user."""

    def __init__(self, transport: _UserTransport) -> None:
        super().__init__(transport)
        self._user_transport = transport

    @property
    def set_cookies(self) -> Iterable[str]:
        """The session cookies that the store has renewed, for the browser of the user."""
        return self._user_transport.set_cookies
