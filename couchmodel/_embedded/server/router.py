"""Route requests to the handlers of endpoints, and turn errors into responses.

The router never raises for a client's mistake. Only here do errors become responses. An exception that is not one of
this library's errors is a fault of the store: it is logged, and the response is 500.
"""

import logging

from couchmodel._embedded.auth.authentication import PARTY, Authentication
from couchmodel._embedded.maintenance.global_changes import GlobalChangesRecorder
from couchmodel._embedded.replicator.endpoints import OpenTransport
from couchmodel._embedded.replicator.scheduler import REPLICATOR, Replicator
from couchmodel._embedded.rules.params import check_text
from couchmodel._embedded.server.exchange import IN_PROCESS, Client, Exchange, Services
from couchmodel._embedded.server.permissions import admit
from couchmodel._embedded.server.responses import error_answer
from couchmodel._embedded.server.route_tree import Handler, NotAllowedError
from couchmodel._embedded.server.routes import ROUTES
from couchmodel._embedded.settings import Configuration
from couchmodel._embedded.storage.store import Store
from couchmodel._wire.messages import Request, Response, is_valid_unicode
from couchmodel._wire.turns import give_turn, turn_is_due
from couchmodel._wire.users import ADMIN, ANONYMOUS, User
from couchmodel.errors import ResponseError, ServerError, TransportError

__all__ = ["Router"]

_log = logging.getLogger("couchmodel.embedded")


class Router:
    """A router that answers requests to a store as a CouchDB server does."""

    def __init__(
        self, store: Store, configuration: Configuration | None = None, *, remote: OpenTransport | None = None
    ) -> None:
        """Create a router. ``remote`` opens transports to other servers, for replication.

        Raises ConfigurationError if the configuration cannot work.
        """
        self.store = store
        self.authentication = Authentication(store, configuration or Configuration())
        self.replicator = Replicator(store, self.answer, remote)
        self._services = Services(store, self.authentication, self.replicator)
        self._global_changes = GlobalChangesRecorder(store)

    async def open(self) -> None:
        """Open the store, and resume its replications. Raises StoreFileError if the store cannot be opened."""
        await self.store.open()
        self.replicator.watch()

    async def close(self) -> None:
        """End the replications. The store stays open."""
        await self.replicator.close()

    async def authenticate_and_answer(
        self, request: Request, client: Client = IN_PROCESS, *, is_party: bool = True
    ) -> Response:
        """Answer a request as the user that its headers name.

        If a store has no administrators, a request without credentials has their rights, unless ``is_party`` is False.

        Raises StoreFileError if the store cannot be opened.
        """
        cookie = None
        try:
            user, cookie = await self.authentication.identify(request, client.address)
            if user is PARTY and not is_party:
                user = ANONYMOUS
        except ResponseError as error:
            answer = error_answer(error)
        except TransportError:
            raise
        except Exception as error:  # noqa: BLE001 - a client gets an answer, whatever it is
            answer = _log_failure(request, error)
        else:
            answer = await self.answer(request, user, client)
        if cookie is not None and "set-cookie" not in answer.headers:
            answer.headers = {**answer.headers, "set-cookie": cookie}
        if answer.status == 401:
            answer.headers = {**answer.headers, **self._challenge(request)}
        return answer

    def _challenge(self, request: Request) -> dict[str, str]:
        """Return the header that makes a browser ask for a name and a password.

        It is empty unless the client sends ``X-CouchDB-WWW-Authenticate`` or the configuration requires a user.
        """
        challenge = request.headers.get("x-couchdb-www-authenticate")
        if challenge is None and self.authentication.configuration.require_valid_user:
            challenge = 'Basic realm="server"'
        return {} if challenge is None or not is_valid_unicode(challenge) else {"www-authenticate": challenge}

    async def answer(self, request: Request, user: User = ADMIN, client: Client = IN_PROCESS) -> Response:
        """Answer a request as a given user. Errors become responses.

        Raises StoreFileError if the store cannot be opened.
        """
        # A handler may run from here to its end without a wait, so a client in a loop would starve other tasks.
        if turn_is_due():
            await give_turn()
        try:
            if not self.store.is_open:
                await self.open()
            exchange = Exchange(self._services, request, user, client)
            answer = await self._route(exchange)(exchange)
        except ResponseError as error:
            answer = error_answer(error)
            if isinstance(error, NotAllowedError):
                answer.headers = {**answer.headers, "allow": error.allow}
        except TransportError:
            raise
        except Exception as error:  # noqa: BLE001 - a client gets an answer, whatever it is
            answer = _log_failure(request, error)
        return await _drop_body(answer) if request.method == "HEAD" else answer

    def _route(self, exchange: Exchange) -> Handler:
        """Return the handler of a request. Every read passes here, so it checks no more than it must.

        Raises ResponseError if there is none, or if the user may not send the request.
        """
        request = exchange.request
        path = request.path
        if request.query or not "".join(path).isascii():
            check_text(request)
        # The user of a program in this process, which needs no further check.
        if exchange.user is not ADMIN:
            admit(exchange)
        if path and path[0] == REPLICATOR:
            # The database may have been created after the store was opened. If it is watched already, nothing happens.
            self.replicator.watch()
        route = ROUTES.find(path)
        exchange.arguments = route.arguments(path)
        for check in route.before:
            check(exchange)
        return route.handler(request.method)


def _log_failure(request: Request, error: Exception) -> Response:
    _log.error("%r failed", request, exc_info=error)
    return error_answer(ServerError(type(error).__name__))


async def _drop_body(answer: Response) -> Response:
    headers = dict(answer.headers)
    if answer.stream is not None:
        await answer.stream.aclose()
    # A 304 with a length would state the length of the document as 0.
    elif answer.status != 304:
        headers.setdefault("content-length", str(len(answer.body)))
    return Response(answer.status, headers)
