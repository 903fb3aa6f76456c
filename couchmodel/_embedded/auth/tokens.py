"""Verify JSON Web Tokens (RFC 7519) as credentials, with CouchDB's checks and error messages."""

import base64
import binascii
import time
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from typing import Any, Final

from couchmodel._wire.messages import decode
from couchmodel._wire.users import User
from couchmodel.errors import BadRequestError, ConfigurationError, UnauthorizedError

__all__ = ["Tokens"]

ALGORITHMS: Final[Mapping[str, str]] = {
    **{f"HS{size}": "hmac" for size in (256, 384, 512)},
    **{f"RS{size}": "rsa" for size in (256, 384, 512)},
    **{f"ES{size}": "ec" for size in (256, 384, 512)},
}
"""CouchDB's algorithms, and the type of their keys in the configuration."""


class Tokens:
    """A verifier of tokens, with the keys and rules of a server."""

    def __init__(self, keys: Mapping[str, str], required_claims: tuple[str, ...], roles_claim: str) -> None:
        """Read the keys. Their names are as in CouchDB: ``hmac:ID`` in base64, ``rsa:ID`` and ``ec:ID`` in PEM.

        Raises ConfigurationError if a key has another name or cannot be read, or the package ``jwt`` is missing.
        """
        jwt = _import_jwt()
        known = jwt.algorithms.get_default_algorithms()
        self._algorithms = {name: known[name] for name in ALGORITHMS if name in known}
        self._keys: dict[tuple[str, str], Any] = {}
        self._unreadable: tuple[type[Exception], ...] = (ValueError, TypeError, jwt.exceptions.InvalidKeyError)
        for name, text in keys.items():
            self._add_key(name, text)
        self._required = required_claims
        self._roles_claim = roles_claim

    def user(self, token: str) -> User:
        """Verify a token and return its user.

        Raises:
            BadRequestError: if the token is malformed, or its signature is wrong.
            UnauthorizedError: if the token has expired, is not valid yet, or names no user.
        """
        parts = token.split(".")
        if len(parts) != 3:
            raise BadRequestError("Malformed token")
        header, claims = _decode_object(parts[0]), _decode_object(parts[1])
        # The order and the words are those of `jwtf:decode`.
        self._check_header(header)
        # CouchDB checks in this order, which shows in the error of a token with several faults.
        self._check_claims(claims)
        self._verify(header, f"{parts[0]}.{parts[1]}".encode(), _decode_base64(parts[2]))
        if "sub" not in claims:
            raise UnauthorizedError("Token missing sub claim.")
        name = claims["sub"]
        if not isinstance(name, str) or not name:
            raise UnauthorizedError("The sub claim of a token must be a name.")
        return User(name, self._roles(claims), "jwt")

    def _check_header(self, header: dict[str, Any]) -> None:
        if "alg" not in header:
            raise BadRequestError("Missing alg header parameter")
        if not isinstance(header["alg"], str) or header["alg"] not in self._algorithms:
            raise BadRequestError("Invalid alg header parameter")
        if header.get("typ", "JWT") != "JWT":
            raise BadRequestError("Invalid typ header parameter")

    def _check_claims(self, claims: dict[str, Any]) -> None:
        for name in self._required:
            if name not in claims:
                raise BadRequestError(f"Missing {name} claim")
        now = time.time()
        # CouchDB checks these two claims only if they are required. Here they count always: they say how long a token
        # is valid.
        if _number(claims, "exp", now + 1) <= now:
            raise UnauthorizedError("exp not in future")
        if _number(claims, "nbf", now - 1) >= now:
            raise UnauthorizedError("nbf not in past")

    def _verify(self, header: dict[str, Any], message: bytes, signature: bytes) -> None:
        algorithm = header["alg"]
        key = self._keys.get((algorithm, str(header.get("kid", "_default"))))
        if key is None:
            raise BadRequestError("Unknown kid")
        if not self._algorithms[algorithm].verify(message, key, signature):
            raise BadRequestError("Bad HMAC" if ALGORITHMS[algorithm] == "hmac" else "Bad signature")

    def _roles(self, claims: dict[str, Any]) -> tuple[str, ...]:
        roles = claims.get(self._roles_claim, [])
        role_list = [role.strip() for role in roles.split(",")] if isinstance(roles, str) else roles
        if not isinstance(role_list, list) or not all(isinstance(role, str) for role in role_list):
            raise BadRequestError("Malformed token")
        return tuple(filter(None, role_list))

    def _add_key(self, name: str, text: str) -> None:
        """Store a key for each algorithm of its type that accepts it: an elliptic curve belongs to one of them."""
        kind, _, kid = name.partition(":")
        wanted = [algorithm for algorithm, of in ALGORITHMS.items() if of == kind and algorithm in self._algorithms]
        if not wanted or not kid:
            raise ConfigurationError(f"{name!r} names no key: write hmac:ID, rsa:ID or ec:ID")
        if not text.strip():
            raise ConfigurationError(f"the key {name!r} is empty: anybody could sign with it")
        for algorithm in wanted:
            with suppress(*self._unreadable):
                # A configuration file has a PEM text on one line, with `\n` for its line breaks.
                key = base64.b64decode(text, validate=True) if kind == "hmac" else text.replace("\\n", "\n").encode()
                self._keys[algorithm, kid] = self._algorithms[algorithm].prepare_key(key)
        if not any((algorithm, kid) in self._keys for algorithm in wanted):
            raise ConfigurationError(f"the key {name!r} cannot be read")


def _import_jwt() -> Any:
    """Import the package ``jwt``. It is only imported if there are keys, because loading it takes 0.1 seconds."""
    try:
        return import_module("jwt")
    except ImportError:
        raise ConfigurationError("JSON Web Tokens need an extra: pip install 'couchmodel[jwt]'") from None


def _decode_object(part: str) -> dict[str, Any]:
    try:
        value = decode(_decode_base64(part))
    except ValueError:
        raise BadRequestError("Malformed token") from None
    if not isinstance(value, dict):
        raise BadRequestError("Not an object")
    return value


def _decode_base64(part: str) -> bytes:
    try:
        return base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise BadRequestError("Malformed token") from None


def _number(claims: dict[str, Any], name: str, default: float) -> float:
    value = claims.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadRequestError(f"Invalid {name} claim")
    return value
