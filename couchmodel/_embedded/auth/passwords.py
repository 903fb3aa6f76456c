"""Hash and check passwords in CouchDB's formats.

A hash is stored in the members of a user's document, or in an administrator's line of the configuration.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from typing import Any, Final

from couchmodel._embedded import limits
from couchmodel._embedded.rules.erlang import erlang_term
from couchmodel.errors import ForbiddenError

__all__ = ["admin_line", "hash_password", "is_password", "parse_admin_line", "with_hash"]

PRF: Final = "sha256"
"""The pseudorandom function of PBKDF2 (RFC 8018) for new hashes, by CouchDB's name."""

_PRFS: Final[Mapping[str, str]] = {"sha": "sha1", **{name: name for name in ("sha224", "sha256", "sha384", "sha512")}}
"""The names that ``hashlib`` has for CouchDB's pseudorandom functions."""

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
"""The members of a user's document that a new password replaces."""

_LINE: Final = re.compile(r"-pbkdf2(?::(sha\d*))?-([0-9a-f]+),([^,]+),([0-9]+)")
_OLD_LINE: Final = re.compile(r"-hashed-([0-9a-f]+),(.+)")


def hash_password(
    password: object, *, salt: str | None = None, iterations: int = limits.PASSWORD_ROUNDS
) -> dict[str, Any]:
    """Hash a password and return the members that store it. Raises ForbiddenError if it is not a string."""
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
    """Return a user's document with the hash instead of the password. Raises ForbiddenError if it is not a string."""
    kept = document.get("salt") if document.get("preserve_salt") is True else None
    hashed = hash_password(document["password"], salt=kept if isinstance(kept, str) else None)
    return {**hashed, **{name: value for name, value in document.items() if name not in _MEMBERS}}


def is_password(password: str, kept: Mapping[str, Any]) -> bool:
    """Return True if a password is the one whose hash is in the members ``kept``.

    Raises ForbiddenError if the hash has an unknown function, or an iteration count outside of the limits.
    """
    scheme, salt = kept.get("password_scheme", "simple"), kept.get("salt", "")
    if not isinstance(salt, str):
        return False
    given = password.encode()
    if scheme == "pbkdf2":
        return _is_derived(given, salt, kept)
    # CouchDB's old scheme, and the first step of `simple+pbkdf2`, which hashes the old hash.
    simple = hashlib.sha1(given + salt.encode(), usedforsecurity=False).hexdigest()
    if scheme == "simple+pbkdf2":
        return _is_derived(simple.encode(), salt, kept)
    return scheme == "simple" and _equal(simple, kept.get("password_sha"))


def admin_line(password: str, *, iterations: int = limits.PASSWORD_ROUNDS) -> str:
    """Return an administrator's password as a line of CouchDB's configuration. A hashed password stays as it is."""
    if parse_admin_line(password):
        return password
    kept = hash_password(password, iterations=iterations)
    return f"-pbkdf2:{PRF}-{kept['derived_key']},{kept['salt']},{iterations}"


def parse_admin_line(line: str) -> dict[str, Any] | None:
    """Return the members of the hash in an administrator's line; None if the line is a plain password."""
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
    if iterations > limits.MOST_PASSWORD_ROUNDS:
        raise ForbiddenError("Iteration count is too high for this server")
    return _equal(_derive(prf, password, salt, iterations), kept.get("derived_key"))


def _derive(prf: str, password: bytes, salt: str, iterations: int) -> str:
    return hashlib.pbkdf2_hmac(_PRFS[prf], password, salt.encode(), iterations).hex()


def _equal(left: str, right: object) -> bool:
    return isinstance(right, str) and hmac.compare_digest(left.encode(), right.encode())
