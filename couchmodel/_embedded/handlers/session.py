"""Who the server takes the client for."""

from couchmodel._embedded.answers import OK, json_answer
from couchmodel._embedded.store import Store
from couchmodel._wire.messages import Request, Response
from couchmodel._wire.users import User
from couchmodel.errors import UnsupportedError

__all__ = ["begin", "end", "get"]


async def get(store: Store, request: Request, user: User) -> Response:
    """``GET /_session``."""
    info: dict[str, object] = {"authentication_handlers": ["default"]}
    if user.by is not None:
        info["authenticated"] = user.by
    context = {"name": user.name, "roles": list(user.roles)}
    return json_answer(200, {"ok": True, "userCtx": context, "info": info})


async def begin(store: Store, request: Request, user: User) -> Response:
    """``POST /_session``."""
    raise UnsupportedError("The embedded store has no cookie sessions yet: authenticate each request.")


async def end(store: Store, request: Request, user: User) -> Response:
    """``DELETE /_session``: there is no session that could go on."""
    return json_answer(200, OK)
