"""Make, read and verify session cookies: a user name and a time, signed with the server's secret and the user's salt.

The format is that of CouchDB's ``couch_httpd_auth.erl``.
"""

import base64
import hmac
from email.utils import formatdate
from typing import Final, NamedTuple

from couchmodel.errors import BadRequestError

__all__ = ["COOKIE", "Ticket", "is_signed_with", "read_cookie", "set_cookie", "sign"]

COOKIE: Final = "AuthSession"
"""The name of CouchDB's session cookie."""

ALGORITHMS: Final = ("sha256", "sha1")
"""CouchDB's default ``hash_algorithms``: the first one signs, and signatures by any of them are accepted."""


class Ticket(NamedTuple):
    """The contents of a cookie, not yet verified. ``time`` is when it was issued, in seconds since 1970."""

    name: str
    time: int
    signed: bytes
    signature: bytes


def read_cookie(header: str | None) -> Ticket | None:
    """Return the ticket in a ``Cookie`` header, if any. Raises BadRequestError if it is malformed."""
    for part in (header or "").split(";"):
        name, _, value = part.strip().partition("=")
        if name == COOKIE and value:
            return _read(value.strip('"'))
    return None


def sign(name: str, time: int, key: bytes) -> str:
    """Return the value of a cookie. ``time`` is when it is issued, in seconds since 1970."""
    signed = f"{name}:{time:X}".encode()
    signature = hmac.digest(key, signed, ALGORITHMS[0])
    return base64.urlsafe_b64encode(signed + b":" + signature).rstrip(b"=").decode()


def is_signed_with(ticket: Ticket, key: bytes) -> bool:
    """Return True if the ticket was signed with the key."""
    signatures = [hmac.digest(key, ticket.signed, algorithm) for algorithm in ALGORITHMS]
    # compare_digest takes the same time for every wrong signature, so that none can be found byte by byte.
    return any(hmac.compare_digest(signature, ticket.signature) for signature in signatures)


def set_cookie(value: str, now: float, life: int, *, secure: bool = False) -> str:
    """Return the ``Set-Cookie`` header for a cookie that lives ``life`` seconds. An empty value ends the session."""
    # The attributes of `couch_httpd_auth:cookie_auth_cookie`, in mochiweb's order.
    attributes = f"Version=1; Expires={_date(now + life)}; Max-Age={life}; Path=/; HttpOnly"
    return f"{COOKIE}={value}; {attributes}{'; Secure' if secure else ''}"


def _read(value: str) -> Ticket:
    try:
        # The signature is raw bytes, which may contain a colon. A name may not.
        name, time, signature = _decode(value).split(b":", 2)
        return Ticket(name.decode(), int(time, 16), name + b":" + time, signature)
    except ValueError:  # base64 and int raise subclasses of it
        raise BadRequestError("Malformed AuthSession cookie. Please clear your cookies.") from None


def _decode(value: str) -> bytes:
    return base64.b64decode(value + "=" * (-len(value) % 4), altchars=b"-_", validate=True)


def _date(seconds: float) -> str:
    # With hyphens, as mochiweb writes dates in cookies, and in English, whatever the program's locale is.
    date = formatdate(seconds, usegmt=True)
    return f"{date[:7]}-{date[8:11]}-{date[12:]}"
