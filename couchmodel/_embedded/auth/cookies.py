"""The cookie of a session: a name and a time, signed with the server's secret and the user's salt."""

import base64
import hmac
import time as clock
from typing import Final, NamedTuple

from couchmodel.errors import BadRequestError

__all__ = ["COOKIE", "Ticket", "read_cookie", "set_cookie", "sign", "verifies"]

COOKIE: Final = "AuthSession"

ALGORITHMS: Final = ("sha256", "sha1")
"""CouchDB's ``hash_algorithms``: the first signs, and a signature by any of them is taken."""


class Ticket(NamedTuple):
    """What a cookie says, true or not."""

    name: str
    time: int
    signed: bytes
    signature: bytes


def read_cookie(header: str | None) -> Ticket | None:
    """The ticket in a Cookie header, if any. Raises BadRequestError for one that cannot be read."""
    for part in (header or "").split(";"):
        name, _, value = part.strip().partition("=")
        if name == COOKIE and value:
            return _read(value.strip('"'))
    return None


def sign(name: str, time: int, key: bytes) -> str:
    """The value of a cookie that was issued at a time."""
    signed = f"{name}:{time:X}".encode()
    signature = hmac.digest(key, signed, ALGORITHMS[0])
    return base64.urlsafe_b64encode(signed + b":" + signature).rstrip(b"=").decode()


def verifies(ticket: Ticket, key: bytes) -> bool:
    """Whether the ticket was signed with the key."""
    signatures = [hmac.digest(key, ticket.signed, algorithm) for algorithm in ALGORITHMS]
    return any(hmac.compare_digest(signature, ticket.signature) for signature in signatures)


def set_cookie(value: str, now: float, life: int, *, secure: bool = False) -> str:
    """The header that gives a client a cookie; an empty value takes it away."""
    attributes = f"Version=1; Expires={_date(now + life)}; Max-Age={life}; Path=/; HttpOnly"
    return f"{COOKIE}={value}; {attributes}{'; Secure' if secure else ''}"


def _read(value: str) -> Ticket:
    try:
        name, time, signature = _decoded(value).split(b":", 2)
        return Ticket(name.decode(), int(time, 16), name + b":" + time, signature)
    except ValueError:  # what base64 and int raise is one, too
        raise BadRequestError("Malformed AuthSession cookie. Please clear your cookies.") from None


def _decoded(value: str) -> bytes:
    return base64.b64decode(value + "=" * (-len(value) % 4), altchars=b"-_", validate=True)


def _date(seconds: float) -> str:
    return clock.strftime("%a, %d-%b-%Y %H:%M:%S GMT", clock.gmtime(seconds))
