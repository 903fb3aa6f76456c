"""Downloads of attachments: whole or in part, in pieces, compared with their digest and length."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from couchmodel._wire.contents import ContentDecoder, digest_of, is_stored_plain, plain_length
from couchmodel._wire.messages import EMPTY, Request, Response, Stream, request_target
from couchmodel.engine._io.resuming import ResumedStream
from couchmodel.engine._io.session import Session
from couchmodel.engine._io.stream_digest import StreamDigest
from couchmodel.errors import ConfigurationError, ProtocolError, RangeNotSatisfiableError

__all__ = ["Download", "attachment_pieces", "open_attachment"]


class Download:
    """The bytes of an attachment as they arrive: unpacked, cut to the range, and checked. Iterate over them once.

    ``content_type``, ``digest`` and ``length`` are those of the whole attachment, also for a range. ``length`` is None
    if it is known only after everything was read.
    """

    def __init__(self, path: tuple[str, ...], response: Response, start: int = 0, stop: int | None = None) -> None:
        self.content_type = response.headers.get("content-type")
        self.digest = digest_of(response.headers)
        self._path = path
        self._response = response
        self._start = start
        self._stop = stop
        self._is_part = response.status == 206
        self.length = self._total_length() if self._is_part else plain_length(response.headers)

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """Yield the bytes.

        Raises ProtocolError if they are not those that are stored; RangeNotSatisfiableError if the attachment ends
        before the range begins.
        """
        stream = self._response.stream or _single_piece(self._response.body)
        pieces = self._read_range(stream) if self._is_part else self._read_whole(stream)
        async with aclosing(stream), aclosing(pieces):
            async for piece in pieces:
                yield piece

    async def _read_range(self, stream: Stream) -> AsyncGenerator[bytes, None]:
        """Yield a range that the server has cut out. There is no digest of a range, so only its length is checked."""
        first, last = self._check_range()
        count = 0
        async for piece in stream:
            count += len(piece)
            yield piece
        # Without a digest, the length is all that shows a lost end.
        if count != last - first + 1:
            raise self._corrupt_error(f"{count} bytes came of the range {first} to {last}")

    async def _read_whole(self, stream: Stream) -> AsyncGenerator[bytes, None]:
        position, digest = 0, StreamDigest()
        try:
            decoder = _make_decoder(self._response, digest)
            async for data in stream:
                for piece in decoder.feed(data):
                    if kept := self._cut_to_range(piece, position):
                        yield kept
                    position += len(piece)
                if self._stop is not None and position >= self._stop:
                    return  # the rest is not read, so there is nothing to compare the digest with
                await digest.drain()
            await digest.complete()
            decoder.finish(self.length)
        except ValueError as error:
            raise self._corrupt_error(str(error)) from None
        self.length = position
        if 0 < self._start >= position:
            reason = f"the attachment ends at byte {position}, before {self._start}"
            raise RangeNotSatisfiableError(reason, method="GET", path=request_target(self._path))

    def _cut_to_range(self, piece: bytes, position: int) -> bytes:
        """Return the part of a piece that lies in the range: CouchDB cuts no range out of contents it stores packed."""
        if self._start <= position and self._stop is None:
            return piece
        stop = None if self._stop is None else max(0, self._stop - position)  # a negative index would count from behind
        return piece[max(0, self._start - position) : stop]

    def _check_range(self) -> tuple[int, int]:
        stated = self._response.headers.get("content-range", "")
        try:
            first, last = map(int, stated.removeprefix("bytes ").partition("/")[0].split("-"))
        except ValueError:
            raise self._corrupt_error(f"its range is {stated!r}") from None
        if first != self._start or (self._stop is not None and last >= self._stop):
            raise self._corrupt_error(f"bytes from {self._start} on were asked for, and bytes {first} to {last} came")
        return first, last

    def _total_length(self) -> int | None:
        total = self._response.headers.get("content-range", "").rpartition("/")[2]
        return int(total) if total.isdecimal() else None

    def _corrupt_error(self, message: str) -> ProtocolError:
        name, document = self._path[-1], "/".join(self._path[:-1])
        return ProtocolError(f"attachment {name!r} of {document} did not arrive as it is stored: {message}")


async def open_attachment(
    session: Session,
    path: tuple[str, ...],
    start: int = 0,
    stop: int | None = None,
    known_digest: str | None = None,
    rev: str | None = None,
    *,
    resume: bool = False,
) -> Download | None:
    """Request an attachment or a range of it, and return its download; None if its digest is still ``known_digest``.

    ``rev`` is the revision of the document that has the attachment; by default the current one. With ``resume``, the
    download goes on over another connection if one breaks. Raises NotFoundError;
    RangeNotSatisfiableError; ConfigurationError if ``stop`` is not after ``start``.
    """
    headers = {"accept": "*/*", "accept-encoding": "gzip"}  # the bytes as they are stored, which the digest is of
    if start or stop is not None:
        # If CouchDB sends a content packed, it compares the range with the packed length.
        headers |= {"range": _range_header(start, stop), "accept-encoding": "identity"}
    if known_digest is not None:
        headers["if-none-match"] = f'"{known_digest.removeprefix("md5-")}"'
    query = EMPTY if rev is None else {"rev": rev}
    request = Request("GET", path, query, headers, stream=True)
    response = await session.send(request)
    if response.status == 304:
        await response.collect()
        return None
    if resume and response.stream is not None:
        response.stream = ResumedStream(session, request, response, response.stream).pieces()
    return Download(path, response, start, stop)


async def attachment_pieces(session: Session, path: tuple[str, ...], rev: str) -> AsyncGenerator[bytes, None]:
    """Yield the bytes of an attachment of a revision. Raises NotFoundError; ProtocolError if they arrive otherwise."""
    download = await open_attachment(session, path, rev=rev, resume=True)
    if download is not None:
        async with aclosing(download.pieces()) as pieces:
            async for piece in pieces:
                yield piece


def _range_header(start: int, stop: int | None) -> str:
    if start < 0 or (stop is not None and stop <= start):
        raise ConfigurationError(f"there are no bytes from {start} up to {stop}: give 0 <= start < stop")
    return f"bytes={start}-{'' if stop is None else stop - 1}"


def _make_decoder(response: Response, digest: StreamDigest) -> ContentDecoder:
    encoding = response.headers.get("content-encoding", "")
    is_plain = is_stored_plain(response.headers)
    # A proxy that packs or unpacks the content changes the bytes that the digest was made of.
    is_as_stored = is_plain is True or (is_plain is False and encoding == "gzip")
    # Bytes that the store compares with its checksums need no slower digest.
    expected = digest_of(response.headers) if is_as_stored and not response.is_verified else None
    return ContentDecoder(encoding, expected, is_plain=bool(is_plain), digest=digest)


async def _single_piece(body: bytes) -> AsyncGenerator[bytes, None]:
    yield body
