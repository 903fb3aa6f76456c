"""The application: ``uvicorn examples.recipe_book.app:app``, or ``python -m examples.recipe_book`` for all of it."""

import os
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.responses import Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.middleware.sessions import SessionMiddleware

from couchmodel import BadRequestError, ConflictError, NotFoundError, QueryError, TransportError, UnavailableError
from couchmodel.integrations.fastapi import lifespan

from . import accounts, api, conflicts, editing, history, offline, pages
from .models import Recipe
from .samples import add_samples
from .web import HERE, page

SECRET = os.environ.get("RECIPE_BOOK_SECRET") or secrets.token_urlsafe()
"""Signs the cookies of visitors. Without a lasting one they have to sign in again after each start."""

SYNC_PORT = os.environ.get("RECIPE_BOOK_SYNC_PORT")
"""The port of ``couchmodel serve`` on this host, with which browsers synchronise; None if there is none."""


@asynccontextmanager
async def life(app: FastAPI) -> AsyncGenerator[None]:
    """Connect to the database: the one that COUCHMODEL_URL names, else an embedded one in ``couchmodel.db``."""
    async with lifespan(Recipe)(app):
        if app.state.samples:
            await add_samples(app.state.couch)
        yield


app = FastAPI(lifespan=life, openapi_url=None)
app.state.samples = os.environ.get("RECIPE_BOOK_SAMPLES", "yes") == "yes"
app.state.sync_port = SYNC_PORT
app.add_middleware(SessionMiddleware, secret_key=SECRET, same_site="lax")
app.mount("/api", api.api)
app.mount("/static", StaticFiles(directory=HERE / "static"))
for part in (accounts, offline, editing, conflicts, history, pages):
    app.include_router(part.router)


@app.middleware("http")
async def forbid_foreign_content(request: Request, answer: Callable[[Request], Awaitable[Response]]) -> Response:
    """Let pages load only what is their own, so that no text of a visitor becomes a script."""
    response = await answer(request)
    if request.url.path.startswith("/api/"):  # its documentation comes from elsewhere
        return response
    sync = f" {request.url.scheme}://{request.url.hostname}:{SYNC_PORT}" if SYNC_PORT else ""
    rules = f"default-src 'self'; img-src 'self' blob:; connect-src 'self'{sync}; frame-ancestors 'none'"
    response.headers.setdefault("content-security-policy", rules)
    response.headers.setdefault("x-content-type-options", "nosniff")
    return response


@app.exception_handler(NotFoundError)
async def show_missing(request: Request, error: NotFoundError) -> Response:
    return page(
        request, "error.html", status=404, title="Not in the book", detail="This recipe was deleted, or never was."
    )


@app.exception_handler(BadRequestError)
@app.exception_handler(QueryError)
async def show_bad_link(request: Request, error: Exception) -> Response:
    return page(request, "error.html", status=400, title="This link is damaged", detail="Begin from the recipes again.")


@app.exception_handler(ConflictError)
async def show_conflict(request: Request, error: ConflictError) -> Response:
    said = "Somebody has changed this recipe in the same moment. Look at it again."
    return page(request, "error.html", status=409, title="Somebody was faster", detail=said)


@app.exception_handler(TransportError)
@app.exception_handler(UnavailableError)
async def show_unreachable(request: Request, error: Exception) -> Response:
    return page(request, "error.html", status=503, title="The kitchen is closed", detail="Try again in a moment.")


@app.exception_handler(HTTPException)
async def show_error(request: Request, error: HTTPException) -> Response:
    if error.status_code < 400:
        return Response(status_code=error.status_code, headers=error.headers)
    title = "This page does not exist" if error.status_code == 404 else "That did not work"
    return page(request, "error.html", status=error.status_code, title=title, detail=error.detail)
