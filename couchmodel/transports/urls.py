"""Parsing of the URL of a server."""

from urllib.parse import unquote, urlsplit, urlunsplit

from couchmodel.errors import ConfigurationError

__all__ = ["redact", "split_credentials"]


def redact(url: str) -> str:
    """Return a URL without its credentials.

    If the URL is malformed, leave out everything that may be a part of them.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        return url.rpartition("@")[2]
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"


def split_credentials(url: str) -> tuple[str, tuple[str, str] | None]:
    """Return a URL without its credentials, and the name and the password, or None.

    Raises ConfigurationError for a URL that names no server.
    """
    try:
        parts = urlsplit(url)
        has_port = parts.port != 0
    except ValueError:
        raise ConfigurationError(
            f"the host or the port of {redact(url)!r} is malformed: write http://HOST:PORT"
        ) from None
    if not parts.hostname or not has_port:
        raise ConfigurationError(f"{redact(url)!r} names no server: write http://HOST:PORT")
    # A slash in a password ends the host, so the rest of the password would become part of the path, and of messages.
    if "@" in parts.path:
        raise ConfigurationError(f"{redact(url)!r} has an @ in its path: write the / of a password as %2F")
    if parts.query or parts.fragment:
        raise ConfigurationError(f"{redact(url)!r} has a query or a fragment: write http://HOST:PORT")
    bare = urlunsplit((parts.scheme.lower(), parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))
    if parts.username is None:
        return bare, None
    return bare, (unquote(parts.username), unquote(parts.password or ""))
