"""Passwords as CouchDB keeps them: hashed, in the members of a user's document or in the line of an administrator."""

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from typing import Any, Final

from couchmodel._embedded.rules.erlang import erlang_term
from couchmodel.errors import ForbiddenError

__all__ = ["admin_line", "hash_password", "is_password", "parse_admin_line", "with_hash"]

ITERATIONS: Final = 600_000
"""CouchDB 3.5's default: some 150 milliseconds. Nobody waits that long in the event loop."""

MOST_ITERATIONS: Final = 1_000_000_000
"""CouchDB's ``max_iterations``: a hash that takes longer is not computed."""

PRF: Final = "sha256"

_PRFS: Final[Mapping[str, str]] = {"sha": "sha1", **{name: name for name in ("sha224", "sha256", "sha384", "sha512")}}

_MEMBERS: Final = frozenset(
    (
        "derived_key",
        "iterations",
        "password",
        "password_scheme",
        "password_sha",
        "pbkdf2_prf",
        "preserve_salt",
        "salt",
    )
)
"""Members of a document that a new password replaces."""

_LINE: Final = re.compile(r"-pbkdf2(?::(sha\d*))?-([0-9a-f]+),([^,]+),([0-9]+)")
_OLD_LINE: Final = re.compile(r"-hashed-([0-9a-f]+),(.+)")


def hash_password(password: object, *, salt: str | None = None, iterations: int = ITERATIONS) -> dict[str, Any]:
    """The members that keep a password. Raises ForbiddenError where it is no text."""
    if not isinstance(password, str):
        raise ForbiddenError(f"Password value of '{erlang_term(password)}' is invalid.")
    salt = salt or secrets.token_hex(16)
    return {
        "password_scheme": "pbkdf2",
        "pbkdf2_prf": PRF,
        "salt": salt,
        "iterations": iterations,
        "derived_key": _derive(PRF, password.encode(), salt, iterations),
    }


def with_hash(document: Mapping[str, Any]) -> dict[str, Any]:
    """A user's document with its password hashed. Raises ForbiddenError."""
    kept = document.get("salt") if document.get("preserve_salt") is True else None
    hashed = hash_password(document["password"], salt=kept if isinstance(kept, str) else None)
    return {**hashed, **{name: value for name, value in document.items() if name not in _MEMBERS}}


def is_password(password: str, kept: Mapping[str, Any]) -> bool:
    """Whether this is the password that the members keep. Raises ForbiddenError for a hash that nobody computes."""
    scheme, salt = kept.get("password_scheme", "simple"), kept.get("salt", "")
    if not isinstance(salt, str):
        return False
    given = password.encode()
    if scheme == "pbkdf2":
        return _is_derived(given, salt, kept)
    simple = hashlib.sha1(given + salt.encode(), usedforsecurity=False).hexdigest()
    if scheme == "simple+pbkdf2":
        return _is_derived(simple.encode(), salt, kept)
    return scheme == "simple" and _equal(simple, kept.get("password_sha"))


def admin_line(password: str, *, iterations: int = ITERATIONS) -> str:
    """An administrator's password as CouchDB's configuration has it; one that is hashed already stays as it is."""
    if parse_admin_line(password):
        return password
    kept = hash_password(password, iterations=iterations)
    return f"-pbkdf2:{PRF}-{kept['derived_key']},{kept['salt']},{iterations}"


def parse_admin_line(line: str) -> dict[str, Any] | None:
    """The members that an administrator's line stands for; None where it is a password."""
    if found := _LINE.fullmatch(line):
        prf, key, salt, iterations = found.groups()
        kept = {"password_scheme": "pbkdf2", "pbkdf2_prf": prf or "sha", "salt": salt, "derived_key": key}
        return {**kept, "iterations": int(iterations)}
    if found := _OLD_LINE.fullmatch(line):
        return {"password_scheme": "simple", "password_sha": found[1], "salt": found[2]}
    return None


def _is_derived(password: bytes, salt: str, kept: Mapping[str, Any]) -> bool:
    prf, iterations = kept.get("pbkdf2_prf", "sha"), kept.get("iterations", 10_000)
    if prf not in _PRFS:
        raise ForbiddenError("PRF is invalid")
    if type(iterations) is not int or iterations < 1:
        raise ForbiddenError("Iteration count is too low for this server")
    if iterations > MOST_ITERATIONS:
        raise ForbiddenError("Iteration count is too high for this server")
    return _equal(_derive(prf, password, salt, iterations), kept.get("derived_key"))


def _derive(prf: str, password: bytes, salt: str, iterations: int) -> str:
    return hashlib.pbkdf2_hmac(_PRFS[prf], password, salt.encode(), iterations).hex()


def _equal(left: str, right: object) -> bool:
    return isinstance(right, str) and hmac.compare_digest(left.encode(), right.encode())
