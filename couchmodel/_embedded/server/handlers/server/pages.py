"""The pages of a web interface, such as Fauxton, from a folder: ``/_utils/``, as CouchDB serves its own."""

import asyncio
from collections.abc import Mapping
from email.utils import formatdate
from pathlib import Path
from typing import Final

from couchmodel._embedded.auth.authentication import Authentication
from couchmodel._embedded.server.responses import matches, origin
from couchmodel._wire.messages import Request, Response
from couchmodel.errors import ConfigurationError, NotFoundError

__all__ = ["check_folder", "redirect", "utils"]

POLICY: Final = (
    "child-src 'self' data: blob:; default-src 'self'; img-src 'self' data:; font-src 'self'; "
    "script-src 'self' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; frame-src https://blog.couchdb.org;"
)
"""CouchDB's ``Content-Security-Policy`` for its pages."""

TYPES: Final[Mapping[str, str]] = {
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
"""Content types by the ends of names. Those that a machine knows may keep a browser from running a script."""

INDEX: Final = "index.html"


def check_folder(folder: Path | None) -> None:
    """Raise ConfigurationError for a folder that has no first page."""
    if folder is not None and not (folder / INDEX).is_file():
        raise ConfigurationError(f"there is no {INDEX} in {folder}, from which --utils would serve a web interface")


def redirect(request: Request) -> Response:
    """Return the answer to ``/_utils``: the links of its page are relative to ``/_utils/``."""
    return Response(301, {"location": origin(request) + "/_utils/"})


async def utils(authentication: Authentication, request: Request) -> Response:
    """``GET /_utils/`` and what is below it. Raises NotFoundError."""
    folder = authentication.configuration.utils
    if folder is None:
        raise NotFoundError(
            "There is no web interface here: `couchmodel serve --utils DIR` serves one such as Fauxton from a folder."
        )
    return await asyncio.to_thread(_page, folder, request)


def _page(folder: Path, request: Request) -> Response:
    file = _file(folder, request.path[1:])
    try:
        known, content = file.stat(), file.read_bytes()
    except OSError:
        raise NotFoundError("missing") from None
    tag = f'"{known.st_mtime_ns:x}-{known.st_size:x}"'
    headers = {"cache-control": "private, must-revalidate", "etag": tag, "content-security-policy": POLICY}
    if matches(request.headers, tag):
        return Response(304, headers)
    headers["content-type"] = TYPES.get(file.suffix.lower(), "application/octet-stream")
    headers["last-modified"] = formatdate(known.st_mtime, usegmt=True)
    return Response(200, headers, content)


def _file(folder: Path, names: tuple[str, ...]) -> Path:
    """Return the file that a path names, which lies in the folder. Raises NotFoundError."""
    if not all(map(_is_name, names)):
        raise NotFoundError("missing")
    root = folder.resolve()
    file = root.joinpath(*names).resolve()  # a link may lead elsewhere
    if not file.is_relative_to(root):
        raise NotFoundError("missing")
    return file / INDEX if file.is_dir() else file


def _is_name(segment: str) -> bool:
    """Whether a segment of a path can be the name of a file that is meant to be seen, on every system."""
    return segment[:1] not in ("", ".") and segment.isprintable() and not set(segment) & set('/\\:*?"<>|')
