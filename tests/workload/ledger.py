"""What a client has written: the state that was acknowledged, and those that may have come about unseen."""

import base64
import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = ["NOTES", "PHOTO", "Kept", "State", "content", "content_type", "document"]

PHOTO = "photo"
NOTES = "notes/größe.txt"
"""The names that attachments have. Text is stored compressed."""


class State(NamedTuple):
    """A document's number, which its client counts up at every write, and the sizes of its attachments."""

    n: int
    files: Mapping[str, int] = {}


def document(owner: str, state: State) -> dict[str, Any]:
    """Return the members of a document in a state. Their length depends on the number."""
    return {"owner": owner, "n": state.n, "text": "pie" * (state.n % 11) ** 3}


def content(name: str, size: int) -> bytes:
    """Return the content of an attachment."""
    word = f"{name} of {size}, ".encode()
    return (word * (size // len(word) + 1))[:size]


def content_type(name: str) -> str:
    """Return the content type of an attachment."""
    return "text/plain" if name == NOTES else "image/png"


class Kept:
    """A document that only one client writes to.

    ``state`` is None where it is not there. ``doubts`` are the states that writes without an answer have brought about,
    if they were carried out. ``torn`` says that it may have a conflict.
    """

    def __init__(self, database: str, id: str, owner: str) -> None:
        self.database = database
        self.id = id
        self.owner = owner
        self.rev: str | None = None
        self.state: State | None = None
        self.doubts: list[State | None] = []
        self.torn = False

    @property
    def possible(self) -> list[State | None]:
        """The states that it may be in."""
        return [self.state, *self.doubts]

    def settle(self, state: State | None, rev: str) -> None:
        """Take note of a write that was acknowledged. No other one can be carried out any more."""
        # A deleted document comes back by a write that names no revision.
        self.state, self.rev, self.doubts = state, None if state is None else rev, []

    def find(self, stored: Mapping[str, Any] | None) -> bool:
        """Take note of how it is stored; whether that is a state that it may be in."""
        for state in self.possible:
            if self._is(stored, state):
                if state is not self.state:
                    self.doubts = []
                self.state = state
                self.rev = None if stored is None else stored["_rev"]
                return True
        return False

    def stubs(self) -> dict[str, Any]:
        """Return the attachments as a write names those that stay."""
        return {name: {"stub": True} for name in self.state.files} if self.state else {}

    def _is(self, stored: Mapping[str, Any] | None, state: State | None) -> bool:
        if stored is None or state is None:
            return stored is None and state is None
        members = {name: value for name, value in stored.items() if name[0] != "_"}
        if members != document(self.owner, state):
            return False
        files = stored.get("_attachments", {})
        return files.keys() == state.files.keys() and all(
            _fits(files[name], content(name, size)) for name, size in state.files.items()
        )


def _fits(about: Mapping[str, Any], content: bytes) -> bool:
    """Whether an attachment is as it was written, by what a document says of it."""
    digest = f"md5-{base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()}"
    # The digest of text is that of what is stored, which is compressed.
    is_text = about["content_type"] == "text/plain"
    return len(content) == about["length"] and (is_text or bool(digest == about["digest"]))
