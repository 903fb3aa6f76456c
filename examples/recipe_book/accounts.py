"""Signing in with the users of the database.

The application keeps the name in its own signed cookie. The browser also gets CouchDB's cookie, with which its PouchDB
may synchronise: cookies do not distinguish the ports of a host.
"""

import json
from http.cookies import Morsel, SimpleCookie
from typing import Annotated, Final

from fastapi import APIRouter, Form, Request
from fastapi.responses import Response

from couchmodel import Connection, ForbiddenError, UnauthorizedError
from couchmodel.integrations.fastapi import Session
from couchmodel.transports import Request as CouchRequest

from .models import COOK
from .web import go_to, page

router = APIRouter()

_COUCH_COOKIE: Final = "AuthSession"
_WRONG: Final = "This name and password do not belong together."
_READER: Final = "This account may read, which needs no account, and may not write."
_LOCKED: Final = "There were too many wrong passwords. Try again in some minutes."


@router.get("/sign-in")
async def show_door(request: Request, next: str = "/") -> Response:
    return page(request, "sign_in.html", next=next, name="", samples=request.app.state.samples)


@router.post("/sign-in")
async def sign_in(
    request: Request,
    couch: Session,
    name: Annotated[str, Form()] = "",
    password: Annotated[str, Form()] = "",
    next: Annotated[str, Form()] = "/",
) -> Response:
    try:
        cookie, roles = await _begin_session(couch, name, password)
    except UnauthorizedError:
        return _refuse(request, _WRONG, 401, name, next)
    except ForbiddenError:
        return _refuse(request, _LOCKED, 403, name, next)
    if COOK not in roles:
        return _refuse(request, _READER, 403, name, next)
    request.session["user"] = name
    response = go_to(next if _is_own_path(next) else "/")
    life = int(cookie["max-age"]) if cookie["max-age"] else None
    is_secure = request.url.scheme == "https"
    response.set_cookie(_COUCH_COOKIE, cookie.value, life, secure=is_secure, httponly=True, samesite="lax")
    return response


@router.post("/sign-out")
async def sign_out(request: Request) -> Response:
    request.session.clear()
    response = go_to("/")
    response.delete_cookie(_COUCH_COOKIE)
    return response


def _refuse(request: Request, said: str, status: int, name: str, next: str) -> Response:
    samples = request.app.state.samples
    return page(request, "sign_in.html", status=status, error=said, name=name, next=next, samples=samples)


async def _begin_session(couch: Connection, name: str, password: str) -> tuple[Morsel[str], list[str]]:
    """Return CouchDB's cookie for a user, and the user's roles.

    Raises UnauthorizedError; ForbiddenError after too many wrong passwords.
    """
    credentials = json.dumps({"name": name, "password": password}).encode()
    answer = await couch.session.send(CouchRequest("POST", ("_session",), body=credentials))
    return SimpleCookie(answer.headers["set-cookie"])[_COUCH_COOKIE], answer.json()["roles"]


def _is_own_path(address: str) -> bool:
    """Return True for a path of this application, and False for ``//other.example``, which leads elsewhere."""
    return address.startswith("/") and not address.startswith(("//", "/\\"))
