"""Conditional requests (RFC 9110, section 13): entity tags are the revisions of documents."""

import re
from collections.abc import Mapping
from typing import Final

from couchmodel.integrations._core.problems import ProblemError

__all__ = ["check_if_match", "entity_tag", "is_unchanged", "matches", "require_if_match"]

_TAG: Final = re.compile(r'(W/)?"([^"]*)"')


def entity_tag(text: str | None) -> str:
    """Return the entity tag of a revision."""
    return f'"{text}"'


def is_unchanged(headers: Mapping[str, str], tag: str | None) -> bool:
    """Return True if ``If-None-Match`` names the tag, so that the client has what it asks for."""
    # If-None-Match compares weakly and If-Match strongly (RFC 9110, sections 13.1.1 and 13.1.2).
    return matches(headers.get("if-none-match"), tag, weak=True)


def check_if_match(headers: Mapping[str, str], tag: str | None) -> bool:
    """Return True if ``If-Match`` names the tag, or if there is no such header; False if it names others only."""
    header = headers.get("if-match")
    return header is None or matches(header, tag)


def require_if_match(headers: Mapping[str, str]) -> None:
    """Raise ProblemError 428 if a request has no ``If-Match``."""
    if "if-match" not in headers:
        raise ProblemError(428, "Send the entity tag that you have read, in the header If-Match.")


def matches(header: str | None, tag: str | None, *, weak: bool = False) -> bool:
    """Return True if a header of entity tags names a tag. A weak tag names only what may be compared weakly."""
    if header is None or tag is None:
        return False
    if header.strip() == "*":
        return True
    # A proxy that packs an answer makes its tag a weak one.
    return any(found[2] == tag and (weak or not found[1]) for found in _TAG.finditer(header))
