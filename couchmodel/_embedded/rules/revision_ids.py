"""Compute CouchDB's revision ids, so that equal content has the same revision here and on a server.

The digest of a revision is the MD5 hash of an Erlang term in Erlang's external format (``couch_db:new_revid``): a list
of the tombstone flag, the generation and digest of the previous revision, the body, and the attachments.
"""

import hashlib
from collections.abc import Sequence
from typing import Final

from couchmodel._embedded import limits
from couchmodel._embedded.rules.erlang_binary import NIL, Atom, write_term
from couchmodel._wire.revisions import digest_bytes

__all__ = ["revision_id"]

_LIST_OF_FIVE: Final = b"\x83l\0\0\0\5"
"""The version of the external format, and the header of a list of five."""

_UNDEFINED_FIELDS: Final = (Atom("undefined"),) * 3
"""The name, content type and hash of an attachment whose fields CouchDB no longer has."""


def revision_id(
    deleted: bool,
    generation: int,
    previous: str | None,
    body: object,
    attachments: Sequence[tuple[str, str, bytes]],
    *,
    revives: bool = False,
) -> str:
    """Return the digest of a new revision.

    ``generation`` and ``previous`` are the generation and digest of its parent, 0 and None if there is none.
    ``body`` is the document without its special members. ``attachments`` are name, content type and MD5 hash of each,
    in the order of the document; the hash of an attachment that is stored compressed is that of its compressed bytes.
    ``revives`` is True if the revision follows a deletion. Then only the number of attachments counts, because CouchDB
    computes the revision id again after it wrote the attachments, and no longer has their fields.
    """
    out = [_FIRST_HEADS[deleted] if previous is None else _head(deleted, generation, digest_bytes(previous))]
    write_term(body, out)
    if attachments:
        # CouchDB hashes the attachments in reverse order.
        write_term([_UNDEFINED_FIELDS if revives else attachment for attachment in reversed(attachments)], out)
    else:
        out.append(NIL)
    out.append(NIL)
    return _digest(out)


def _head(deleted: bool, generation: int, previous: bytes | int) -> bytes:
    """Return the term up to the body."""
    out = [_LIST_OF_FIVE]
    for value in (deleted, generation, previous):
        write_term(value, out)
    return b"".join(out)


_FIRST_HEADS: Final = {deleted: _head(deleted, 0, 0) for deleted in (False, True)}
"""The heads of first revisions. They have the number 0 in place of the parent's digest."""


def _digest(parts: list[bytes]) -> str:
    """Return the hash of the parts. Many parts are hashed in steps: other threads wait while they are joined or freed.

    The parts are consumed then.
    """
    if len(parts) <= limits.HASHED_PARTS:
        return hashlib.md5(b"".join(parts), usedforsecurity=False).hexdigest()
    digest = hashlib.md5(usedforsecurity=False)
    parts.reverse()
    while parts:
        piece = parts[: -limits.HASHED_PARTS - 1 : -1]
        del parts[-limits.HASHED_PARTS :]
        digest.update(b"".join(piece))
    return digest.hexdigest()
