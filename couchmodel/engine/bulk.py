"""Many documents in one request: ``_bulk_docs``."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from couchmodel._wire.messages import Request
from couchmodel.engine.session import Session
from couchmodel.errors import CouchModelError, response_error
from couchmodel.types import BulkRow

__all__ = ["refusal", "write_documents"]

_DOCUMENTS: Final = 1_000
_BYTES: Final = 4 * 1024 * 1024
"""How much one request holds at the most. CouchDB takes 8 MB a document and 4 GiB a request unless told otherwise;
smaller requests keep the server's memory and ours within bounds and cost a thousandth more."""

_STATUS: Final = {"conflict": 409, "forbidden": 403, "unauthorized": 401}


async def write_documents(session: Session, database: tuple[str, ...], bodies: Sequence[bytes]) -> list[BulkRow]:
    """CouchDB's row for each document, given as JSON texts with their ``_id`` and ``_rev``, in their order."""
    rows: list[BulkRow] = []
    for part in _parts(bodies):
        body = b'{"docs":[' + b",".join(part) + b"]}"
        rows += await session.json(Request("POST", (*database, "_bulk_docs"), body=body))
    return rows


def refusal(row: BulkRow, path: str) -> CouchModelError:
    """The error that a row of the answer stands for, which has no ``rev``."""
    code = row.get("error", "unknown_error")
    return response_error(_STATUS.get(code, 500), code, row.get("reason", ""), method="POST", path=path)


def _parts(bodies: Iterable[bytes]) -> Iterator[list[bytes]]:
    part: list[bytes] = []
    size = 0
    for body in bodies:
        if part and (len(part) == _DOCUMENTS or size + len(body) > _BYTES):
            yield part
            part, size = [], 0
        part.append(body)
        size += len(body)
    if part:
        yield part
