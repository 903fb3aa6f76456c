"""Revisions as CouchDB writes, reads and orders them: no I/O, no roles.

A revision is a generation and a digest. CouchDB keeps a digest of 32 hexadecimal digits as 16 raw bytes, and shows
any digest of 16 bytes as hexadecimal digits; whatever else a replicator or a test sends is kept as it came. A
:class:`Rev` holds the digest the way CouchDB shows it, so equal revisions are equal values here.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypedDict

from couchmodel.errors import BadRequestError

__all__ = ["Rev", "RevisionsMember", "ancestry", "revisions_member"]


class RevisionsMember(TypedDict):
    """The member ``_revisions`` of a document: a revision and its ancestors, newest first."""

    start: int
    ids: list[str]


class Rev(NamedTuple):
    """One revision of a document, ``generation-digest``.

    Compare with :attr:`rank`: it is CouchDB's order, and the order of the tuples is not where a digest is no hash.
    """

    generation: int
    digest: str

    @classmethod
    def parse(cls, text: object) -> "Rev":
        """The revision that ``text`` names, in CouchDB's spelling.

        Raises:
            BadRequestError: where CouchDB does not take ``text`` for a revision.
        """
        if not isinstance(text, str):
            raise BadRequestError(_INVALID)
        if _USUAL.fullmatch(text):
            generation, _, digest = text.partition("-")
            return cls(int(generation), digest)
        return _parse_unusual(text)

    def __str__(self) -> str:
        return f"{self.generation}-{self.digest}"

    @property
    def rank(self) -> tuple[int, bytes]:
        """The key of CouchDB's order of revisions; the highest undeleted leaf of a document wins."""
        return self.generation, digest_bytes(self.digest)


def digest_bytes(digest: str) -> bytes:
    """A digest as CouchDB stores it: the bytes of 32 hexadecimal digits, or the text."""
    if _HASH.fullmatch(digest):
        return bytes.fromhex(digest)
    return digest.encode()


def ancestry(document: Mapping[str, Any]) -> list[Rev]:
    """The revision that a document names and its ancestors, newest first; empty where it names none.

    ``_revisions`` outweighs ``_rev``, and CouchDB does not compare them: it does not even read a ``_rev`` that comes
    behind ``_revisions``.

    Raises:
        BadRequestError: where CouchDB refuses either member.
    """
    path: list[Rev] = []
    for name, value in document.items():
        if name == "_rev" and not path:
            path = [Rev.parse(value)]
        elif name == "_revisions":
            path = _revisions_path(value)
    return path


def revisions_member(path: Sequence[Rev]) -> RevisionsMember:
    """The member ``_revisions`` for a revision and its ancestors, newest first."""
    return {"start": path[0].generation, "ids": [rev.digest for rev in path]}


_INVALID = "Invalid rev format"
_USUAL = re.compile(r"[1-9][0-9]*-[0-9a-f]{32}")
_HASH = re.compile(r"[0-9a-f]{32}")
# Erlang's idea of an integer, decimal and hexadecimal: it may have a sign. (No minus: there the digest begins.)
_GENERATION = re.compile(r"\+?[0-9]+")
_HEXADECIMAL = re.compile(r"[+-]?[0-9a-fA-F]+")


def _parse_unusual(text: str) -> Rev:
    generation, dash, digest = text.partition("-")
    if not dash or not _GENERATION.fullmatch(generation):
        raise BadRequestError(_INVALID)
    try:
        return Rev(int(generation), _shown(digest))
    except ValueError as error:
        raise BadRequestError(_INVALID) from error


def _shown(digest: str) -> str:
    """A digest in CouchDB's own spelling; ValueError where it is as long as a hash and none."""
    if _HASH.fullmatch(digest):
        return digest
    size = len(digest.encode())
    if size == 16:
        return digest.encode().hex()
    if size != 32:
        return digest
    if not _HEXADECIMAL.fullmatch(digest):
        raise ValueError(digest)
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
    return [Rev(start - age, _listed(digest)) for age, digest in enumerate(ids)]


def _listed(digest: object) -> str:
    if not isinstance(digest, str):
        raise _validation("RevId isn't a string")
    try:
        return _shown(digest)
    except ValueError as error:
        raise _validation("RevId isn't a valid hexadecimal") from error


def _validation(reason: str) -> BadRequestError:
    return BadRequestError(reason, code="doc_validation")
