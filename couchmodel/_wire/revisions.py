"""Revisions as CouchDB writes, reads and orders them.

A revision is a generation and a digest. CouchDB stores a digest of 32 hexadecimal digits as 16 raw bytes, and writes
any digest of 16 bytes as hexadecimal digits. It keeps any other digest, such as a replicator or a test may send, as it
is. A :class:`Rev` holds the digest as CouchDB writes it, so equal revisions are equal values here.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypedDict

from couchmodel.errors import BadRequestError

__all__ = ["Rev", "RevisionsMember", "ancestry", "revisions_member"]


class RevisionsMember(TypedDict):
    """The member ``_revisions`` of a document.

    ``start`` is the generation of the revision, ``ids`` the digests of it and its ancestors, newest first.
    """

    start: int
    ids: list[str]


class Rev(NamedTuple):
    """One revision of a document, ``generation-digest``.

    Compare with :attr:`rank`, which is CouchDB's order. The order of the tuples differs for a digest that is no hash.
    """

    generation: int
    digest: str

    @classmethod
    def parse(cls, text: object) -> "Rev":
        """Return the revision that ``text`` names, in CouchDB's spelling.

        Raises BadRequestError if ``text`` is no revision to CouchDB.
        """
        if not isinstance(text, str):
            raise BadRequestError(_INVALID_REV)
        if _USUAL_REV.fullmatch(text):
            generation, _, digest = text.partition("-")
            return cls(int(generation), digest)
        return _parse_unusual(text)

    def __str__(self) -> str:
        return f"{self.generation}-{self.digest}"

    @property
    def rank(self) -> tuple[int, bytes]:
        """The key of CouchDB's order of revisions. The highest leaf of a document that is not deleted wins."""
        return self.generation, digest_bytes(self.digest)


def digest_bytes(digest: str) -> bytes:
    """Return a digest as CouchDB stores it: 16 bytes for 32 hexadecimal digits, or else the text."""
    if _HASH.fullmatch(digest):
        return bytes.fromhex(digest)
    return digest.encode()


def ancestry(document: Mapping[str, Any]) -> list[Rev]:
    """Return the revision of a document and its ancestors, newest first; empty if the document names none.

    ``_revisions`` takes precedence over ``_rev``. CouchDB does not compare them, and does not even read a ``_rev`` that
    comes after ``_revisions``.

    Raises BadRequestError if CouchDB refuses either member.
    """
    path: list[Rev] = []
    for name, value in document.items():
        if name == "_rev" and not path:
            path = [Rev.parse(value)]
        elif name == "_revisions":
            path = _revisions_path(value)
    return path


def revisions_member(path: Sequence[Rev]) -> RevisionsMember:
    """Return the member ``_revisions`` for a revision and its ancestors, newest first."""
    return {"start": path[0].generation, "ids": [rev.digest for rev in path]}


_INVALID_REV = "Invalid rev format"
_USUAL_REV = re.compile(r"[1-9][0-9]*-[0-9a-f]{32}")
_HASH = re.compile(r"[0-9a-f]{32}")
# Erlang reads these as integers, so a sign is allowed. A generation has no minus, for the dash ends it.
_GENERATION = re.compile(r"\+?[0-9]+")
_HEXADECIMAL = re.compile(r"[+-]?[0-9a-fA-F]+")


def _parse_unusual(text: str) -> Rev:
    generation, dash, digest = text.partition("-")
    if not dash or not _GENERATION.fullmatch(generation):
        raise BadRequestError(_INVALID_REV)
    try:
        return Rev(int(generation), _canonical_digest(digest))
    except ValueError as error:
        raise BadRequestError(_INVALID_REV) from error


def _canonical_digest(digest: str) -> str:
    """Return a digest in CouchDB's own spelling.

    Raises ValueError if it has the length of a hash, 32 bytes, and is not hexadecimal.
    """
    if _HASH.fullmatch(digest):
        return digest
    size = len(digest.encode())
    # Sixteen bytes are what CouchDB stores of a hash, so it takes them for one and writes them as 32 digits.
    if size == 16:
        return digest.encode().hex()
    if size != 32:
        return digest
    if not _HEXADECIMAL.fullmatch(digest):
        raise ValueError(digest)
    # A sign makes Erlang's number negative, and its low 128 bits are kept.
    return f"{int(digest, 16) % 2**128:032x}"


def _revisions_path(member: object) -> list[Rev]:
    if not isinstance(member, dict):
        raise _validation("Bad special document member: _revisions")
    start, ids = member.get("start"), member.get("ids")
    if not isinstance(start, int) or isinstance(start, bool):
        raise _validation("_revisions.start isn't an integer.")
    if not isinstance(ids, list):
        raise _validation("_revisions.ids isn't a array.")
    if start and not ids:
        raise _validation("_revisions.ids is empty.")  # CouchDB answers 500, or a conflict
    return [Rev(start - age, _parse_digest(digest)) for age, digest in enumerate(ids)]


def _parse_digest(digest: object) -> str:
    if not isinstance(digest, str):
        raise _validation("RevId isn't a string")
    try:
        return _canonical_digest(digest)
    except ValueError as error:
        raise _validation("RevId isn't a valid hexadecimal") from error


def _validation(reason: str) -> BadRequestError:
    return BadRequestError(reason, code="doc_validation")
