"""Requests and responses, and the :class:`Transport` that carries them.

A path is a tuple of unquoted segments. Only this module turns it into a request target and back. So an id is quoted
once, in one place, and cannot become another part of the path. Header names are lower case everywhere.
"""

import functools
import re
from collections.abc import AsyncIterable, AsyncIterator, Coroutine, Mapping
from types import MappingProxyType
from typing import Any, Final, Protocol
from urllib.parse import parse_qsl, quote, unquote_plus, urlencode

from pydantic_core import PydanticSerializationError, from_json, to_json

from couchmodel.errors import BadRequestError, DocumentError

__all__ = [
    "EMPTY",
    "JSON_TYPE",
    "TOO_DEEP",
    "Request",
    "Response",
    "Stream",
    "Transport",
    "database_path",
    "decode",
    "document_path",
    "encode",
    "is_valid_unicode",
    "parse_target",
    "request_target",
]

JSON_TYPE: Final = "application/json"
EMPTY: Final[Mapping[str, str]] = MappingProxyType({})
"""The default of headers and of parameters: none. It cannot be changed, so all requests may share it."""

_ACCEPT_JSON: Final[Mapping[str, str]] = MappingProxyType({"accept": JSON_TYPE})
_SEND_JSON: Final[Mapping[str, str]] = MappingProxyType({"accept": JSON_TYPE, "content-type": JSON_TYPE})

_BAD_PERCENT: Final = re.compile("%(?![0-9A-Fa-f]{2})")

_SUSPICIOUS_STARTS: Final = frozenset(("", ".", "_"))
"""The first characters of ids that need a closer look; an empty id has none."""

_RESERVED_PREFIXES: Final = ("_design", "_local")
"""The parts of an id that begin with an underscore and that CouchDB allows before a slash."""


class Stream(Protocol):
    """A body that arrives in pieces. Its holder has to read it to the end or close it."""

    def __aiter__(self) -> AsyncIterator[bytes]: ...
    def aclose(self) -> Coroutine[Any, Any, None]: ...


class Request:
    """A request to a server.

    It accepts JSON, and its body is JSON, unless ``headers`` say otherwise. With ``stream``, the body of the answer
    comes in pieces. Without it, the body has arrived whole, and its connection is free again, when
    :meth:`Transport.send` returns.
    """

    __slots__ = ("body", "headers", "method", "path", "query", "stream")

    def __init__(
        self,
        method: str,
        path: tuple[str, ...],
        query: Mapping[str, str] = EMPTY,
        headers: Mapping[str, str] = EMPTY,
        body: bytes | AsyncIterable[bytes] | None = None,
        stream: bool = False,
    ) -> None:
        self.method = method
        self.path = path
        self.query = query
        # The usual headers are shared, not copied for each request.
        self.headers = headers or (_ACCEPT_JSON if body is None else _SEND_JSON)
        self.body = body
        self.stream = stream

    def __repr__(self) -> str:
        return f"<Request {self.method} {request_target(self.path)}>"

    async def read(self) -> bytes:
        """Return the whole body."""
        if self.body is None or isinstance(self.body, bytes):
            return self.body or b""
        return b"".join([piece async for piece in self.body])


class Response:
    """The answer of a server.

    Its body is whole in ``body``, or it comes in pieces from ``stream`` and ``body`` is empty. ``is_verified`` says
    that a store in this process compares the bytes with its checksums while they are read. A response that was sent
    over a network is never verified.
    """

    __slots__ = ("body", "headers", "is_verified", "status", "stream")

    def __init__(
        self,
        status: int,
        headers: Mapping[str, str] = EMPTY,
        body: bytes = b"",
        stream: Stream | None = None,
        *,
        is_verified: bool = False,
    ) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.stream = stream
        self.is_verified = is_verified

    def __repr__(self) -> str:
        return f"<Response {self.status}>"

    def json(self) -> Any:
        """Return the decoded body. Raises ValueError if it is not JSON."""
        return decode(self.body)

    async def collect(self) -> None:
        """Read the rest of the stream into ``body``."""
        if self.stream is not None:
            stream, self.stream = self.stream, None
            self.body = b"".join([piece async for piece in stream])


class Transport(Protocol):
    """A way to reach one CouchDB, over HTTP or in this process."""

    async def send(self, request: Request) -> Response:
        """Return the server's answer, whatever its status.

        Raises :class:`~couchmodel.errors.TransportError` if no answer came.
        """
        ...

    async def close(self) -> None:
        """Close connections and files. Closing twice is harmless."""
        ...


def database_path(name: str) -> tuple[str, ...]:
    """Return the path of a database. Raises BadRequestError for a name that would lead elsewhere, such as ``".."``."""
    if not isinstance(name, str) or name in ("", ".", ".."):
        raise BadRequestError(f"a database cannot be named {name!r}", code="illegal_database_name")
    return (name,)


def document_path(database: tuple[str, ...], document_id: str) -> tuple[str, ...]:
    """Return the path of a document. Raises BadRequestError for an id that no document may have.

    CouchDB reserves ids that begin with an underscore (manual, section 3.4.1.1 of the HTTP API); ``"."`` and ``".."``
    would be read as steps in the path.
    """
    if isinstance(document_id, str) and document_id[:1] not in _SUSPICIOUS_STARTS and document_id.isascii():
        return (*database, document_id)
    if not isinstance(document_id, str):
        raise BadRequestError(f"Document id must be a string, not {document_id!r}", code="illegal_docid")
    if document_id in ("", ".", ".."):
        raise BadRequestError(f"Document id must not be {document_id!r}", code="illegal_docid")
    if not is_valid_unicode(document_id):
        raise BadRequestError(f"Document id must be Unicode text, which {document_id!r} is not", code="illegal_docid")
    if document_id[0] != "_":
        return (*database, document_id)
    prefix, _, name = document_id.partition("/")
    if prefix not in _RESERVED_PREFIXES or name in ("", ".", ".."):
        reason = f"Only reserved document ids may start with underscore, not {document_id!r}"
        raise BadRequestError(reason, code="illegal_docid")
    return (*database, prefix, name)


def request_target(path: tuple[str, ...], query: Mapping[str, str] = EMPTY) -> str:
    """Return the request target of a path, quoted."""
    quoted = "/" + "/".join(map(_quote, path))
    return f"{quoted}?{urlencode(query)}" if query else quoted


def parse_target(text: str) -> tuple[tuple[str, ...], dict[str, str]]:
    """Return the path and the query of a request target, as CouchDB reads it.

    A ``+`` is a prefix in the path, too, several slashes count as one, and ``;`` separates parameters like ``&``.
    Bytes that are not UTF-8 become lone surrogates, which :func:`is_valid_unicode` detects.

    Raises BadRequestError if a percent sign is not followed by two hexadecimal digits.
    """
    if _BAD_PERCENT.search(text):
        raise BadRequestError("invalid_url_encoding")
    path, _, query = text.partition("?")
    segments = tuple(unquote_plus(segment, errors="surrogateescape") for segment in path.split("/") if segment)
    # Python's parser knows only one separator at a time.
    query = query.replace(";", "&")
    return segments, dict(parse_qsl(query, keep_blank_values=True, errors="surrogateescape"))


def decode(body: bytes) -> Any:
    """Return the value of a JSON text.

    Raises ValueError if it is not JSON or not UTF-8, and DocumentError, a ValueError, if it is nested too deeply.
    """
    # Names of members repeat. Values repeat so seldom that a cache of them costs more than it saves.
    try:
        return from_json(body, allow_inf_nan=False, cache_strings="keys")
    except ValueError as error:
        if str(error).startswith("recursion limit"):
            raise _too_deep(body, str(error)) from None
        raise


def _too_deep(body: bytes, parser_message: str) -> DocumentError:
    """Return the error for JSON that is nested too deeply, with the last id before the place if there is one.

    ``parser_message`` is the message of pydantic's parser. It holds the line and the column of the place.
    """
    line, column = map(int, re.findall(r"\d+", parser_message)[:2])
    before = b"\n".join(body.split(b"\n")[: line - 1])
    # The parser says where, but not in which document of a bulk answer.
    names = _ID.findall(body, 0, len(before) + column)
    document_id = str(from_json(names[-1])) if names else None
    where = "" if document_id is None else f" in the document {document_id!r}"
    message = f"{TOO_DEEP}{where}: at most about {MAX_DEPTH} levels can be read"
    return DocumentError(message, model="dict", document_id=document_id, errors=[])


_ID: Final = re.compile(rb'"_?id"\s*:\s*("(?:[^"\\]|\\.)*")')

TOO_DEEP: Final = "JSON is nested too deeply"
"""The beginning of the message of each error about JSON that is nested too deeply."""

MAX_DEPTH: Final = 200
"""The levels of JSON that pydantic's parser reads."""


def encode(value: object) -> bytes:
    """Return the JSON text of a value. Raises DocumentError for a value that has no JSON, such as NaN and infinity."""
    try:
        body = to_json(value, inf_nan_mode="constants")
    except PydanticSerializationError as error:
        raise _unstorable(value, f"a value cannot be written as JSON: {error}") from None
    # The search for a single letter is the fastest.
    if (b"N" in body and b"NaN" in body) or (b"I" in body and b"Infinity" in body):
        _refuse_constants(value, body)
    return body


def _refuse_constants(value: object, body: bytes) -> None:
    # The words may stand in a string, where they are allowed: only a parser can tell.
    try:
        decode(body)
    except DocumentError:
        raise
    except ValueError:
        raise _unstorable(value, "NaN and infinity cannot be written as JSON: store None or a string instead") from None


def _unstorable(value: object, reason: str) -> DocumentError:
    """Return the error for a value that has no JSON. It names the value's ``_id`` if it is a document."""
    id = value.get("_id") if isinstance(value, dict) else None
    message = reason if id is None else f"the document {id!r}: {reason}"
    return DocumentError(message, model="dict", document_id=id, errors=[])


def is_valid_unicode(text: str) -> bool:
    """Return True if a text can be written as UTF-8. A lone surrogate cannot."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


# The names of databases and endpoints repeat in every request.
@functools.lru_cache(maxsize=1024)
def _quote(segment: str) -> str:
    return quote(segment, safe="")
