"""Serve the files of a web interface such as Fauxton from a folder at ``/_utils/``, as CouchDB serves its own.

Only files inside the folder are served. Hidden files, and names with special characters, are not.
"""

import asyncio
from collections.abc import Mapping
from email.utils import formatdate
from pathlib import Path
from typing import Final

from couchmodel._embedded.server.exchange import Client, Exchange
from couchmodel._embedded.server.responses import has_current_etag, origin
from couchmodel._wire.messages import Request, Response
from couchmodel.errors import ConfigurationError, NotFoundError

__all__ = ["check_folder", "redirect", "utils"]

POLICY: Final = (
    "child-src 'self' data: blob:; default-src 'self'; img-src 'self' data:; font-src 'self'; "
    "script-src 'self' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; frame-src https://blog.couchdb.org;"
)
"""CouchDB's ``Content-Security-Policy`` for its pages."""

CONTENT_TYPES: Final[Mapping[str, str]] = {
    ".css": "text/css",
    ".gif": "image/gif",
    ".html": "text/html",
    ".ico": "image/x-icon",
    ".jpg": "image/jpeg",
    ".js": "text/javascript",
    ".json": "application/json",
    ".map": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".ttf": "font/ttf",
    ".txt": "text/plain",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
}
"""Content types by file suffix.

The machine's own table (:mod:`mimetypes`) is not used: a wrong type there would keep a browser from running a script.
"""

INDEX: Final = "index.html"
"""The file that is served for a folder."""


def check_folder(folder: Path | None) -> None:
    """Raise ConfigurationError if a folder has no index page. None, for no web interface, is right."""
    if folder is not None and not (folder / INDEX).is_file():
        raise ConfigurationError(f"there is no {INDEX} in {folder}, from which --utils would serve a web interface")


def redirect(headers: Mapping[str, str], client: Client) -> Response:
    """Return the redirection from ``/_utils`` to ``/_utils/``, to which the links of the pages are relative."""
    return Response(301, {"location": origin(headers, client) + "/_utils/"})


async def utils(exchange: Exchange) -> Response:
    """Answer ``GET /_utils/`` and the paths below it. Raises NotFoundError if there is no such file or no folder."""
    folder = exchange.services.authentication.configuration.utils
    if folder is None:
        raise NotFoundError(
            "There is no web interface here: `couchmodel serve --utils DIR` serves one such as Fauxton from a folder."
        )
    return await asyncio.to_thread(_read_page, folder, exchange.request)


def _read_page(folder: Path, request: Request) -> Response:
    file = _find_file(folder, request.path[1:])
    try:
        status, content = file.stat(), file.read_bytes()
    except OSError:
        raise NotFoundError("missing") from None
    # By time and size, so that the file need not be hashed.
    tag = f'"{status.st_mtime_ns:x}-{status.st_size:x}"'
    headers = {"cache-control": "private, must-revalidate", "etag": tag, "content-security-policy": POLICY}
    if has_current_etag(request.headers, tag):
        return Response(304, headers)
    headers["content-type"] = CONTENT_TYPES.get(file.suffix.lower(), "application/octet-stream")
    headers["last-modified"] = formatdate(status.st_mtime, usegmt=True)
    return Response(200, headers, content)


def _find_file(folder: Path, names: tuple[str, ...]) -> Path:
    """Return the file that a path names. Raises NotFoundError if it would lie outside of the folder."""
    if not all(map(_is_safe_name, names)):
        raise NotFoundError("missing")
    root = folder.resolve()
    file = root.joinpath(*names).resolve()  # a link may lead elsewhere
    if not file.is_relative_to(root):
        raise NotFoundError("missing")
    return file / INDEX if file.is_dir() else file


def _is_safe_name(segment: str) -> bool:
    """Return True if a path's segment is a file name on every operating system, and names no hidden file."""
    return segment[:1] not in ("", ".") and segment.isprintable() and not set(segment) & set('/\\:*?"<>|')
