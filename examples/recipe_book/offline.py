"""The page that works without a network: PouchDB in the browser, which synchronises with ``couchmodel serve``."""

from typing import Final

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, Response

from .fields import FIELDS
from .web import HERE, page

router = APIRouter()

_OFFLINE_FIELDS: Final = ("title", "summary", "ingredients", "steps")


@router.get("/offline")
async def show_offline(request: Request) -> Response:
    """Return the page. It is the same for all visitors, because the browser keeps it."""
    fields = [FIELDS[name] for name in _OFFLINE_FIELDS]
    return page(request, "offline.html", here="offline", fields=fields, sync_port=request.app.state.sync_port)


@router.get("/worker.js")
async def send_worker() -> Response:
    """Return the service worker. Its address is at the top, so that it may answer for all pages."""
    return FileResponse(HERE / "static" / "worker.js", headers={"cache-control": "no-cache"})
