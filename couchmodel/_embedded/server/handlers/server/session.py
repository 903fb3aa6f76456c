"""Answer ``_session``: report the user of a request, log in by name and password for a cookie, and log out."""

from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl

from couchmodel._embedded import limits
from couchmodel._embedded.json.parse import parse_json
from couchmodel._embedded.server.exchange import Exchange
from couchmodel._embedded.server.request_body import read_text
from couchmodel._embedded.server.responses import JSON_HEADERS, OK, json_answer, origin
from couchmodel._wire.messages import JSON_TYPE, Request, Response
from couchmodel.errors import BadRequestError, UnauthorizedError, UnsupportedMediaTypeError

__all__ = ["begin", "end", "get"]

FORM: Final = "application/x-www-form-urlencoded"


async def get(exchange: Exchange) -> Response:
    """Answer ``GET /_session`` with the user of the request, and the ways to authenticate."""
    user = exchange.user
    if user.name is None and exchange.request.query.get("basic") == "true":
        raise UnauthorizedError("Please login.")
    info: dict[str, object] = {"authentication_handlers": exchange.services.authentication.handlers}
    if user.authenticated_by is not None:
        info["authenticated"] = user.authenticated_by
    return json_answer(200, {"ok": True, "userCtx": {"name": user.name, "roles": list(user.roles)}, "info": info})


async def begin(exchange: Exchange) -> Response:
    """Answer ``POST /_session``: log a user in, and set the cookie of the session."""
    authentication = exchange.services.authentication
    form = await _read_form(exchange.request)
    name = _user_name(form)
    try:
        user, cookie = await authentication.log_in(name, form.get("password", ""), exchange.client.address)
    except UnauthorizedError as error:
        # A failed login ends the session that the browser may still have.
        headers = {"set-cookie": authentication.removal_cookie()}
        return _answer_or_redirect(exchange, "fail", 401, {"error": error.code, "reason": error.reason}, headers)
    headers = {"set-cookie": cookie or ""}
    return _answer_or_redirect(
        exchange, "next", 200, {"ok": True, "name": user.name, "roles": list(user.roles)}, headers
    )


async def end(exchange: Exchange) -> Response:
    """Answer ``DELETE /_session``: let the browser drop the cookie."""
    headers = {"set-cookie": exchange.services.authentication.removal_cookie()}
    return _answer_or_redirect(exchange, "next", 200, OK, headers)


def _answer_or_redirect(
    exchange: Exchange, parameter: str, status: int, value: Mapping[str, object], headers: dict[str, str]
) -> Response:
    """Return a JSON response, or a redirection if a query parameter names a page of this server.

    Raises BadRequestError if the page is no path, or has control characters that would add a header.
    """
    page = exchange.request.query.get(parameter)
    if page is not None:
        if page[:1] != "/" or not page.isprintable():
            raise BadRequestError("path must begin with a /.")
        status = 302
        headers["location"] = (origin(exchange.request.headers, exchange.client) or "http://") + page
    return json_answer(status, value, {**JSON_HEADERS, **headers})


async def _read_form(request: Request) -> dict[str, str]:
    """Return the fields of the body, which is an HTML form or JSON."""
    kind = request.headers.get("content-type", "")
    if kind.startswith(FORM):
        text = (await read_text(request, limits.LOGIN_BYTES)).decode(errors="replace")
        return dict(parse_qsl(text, keep_blank_values=True))
    if not kind.startswith(JSON_TYPE):
        raise UnsupportedMediaTypeError(f"Content-Type must be '{FORM}' or '{JSON_TYPE}'")
    value = parse_json(await read_text(request, limits.LOGIN_BYTES))
    if not isinstance(value, dict) or not all(isinstance(member, str) for member in value.values()):
        raise BadRequestError("request body must be an object of strings")  # where CouchDB fails with 500
    return value


def _user_name(form: Mapping[str, str]) -> str:
    # CouchDB takes either name of the field.
    names = {form[key] for key in ("name", "username") if key in form}
    if not names:
        raise BadRequestError("request body must contain a username")
    if len(names) > 1:
        raise BadRequestError("request body contains different usernames")
    return names.pop()
