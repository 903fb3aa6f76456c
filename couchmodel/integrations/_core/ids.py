"""Ids that come from outside."""

__all__ = ["reason_against_id"]


def reason_against_id(id: str) -> str | None:
    """Return why no client may use an id; None if it may.

    CouchDB's own documents have ids that begin with an underscore, those of designs among them. An id with a slash, or
    one that is a step in a path, has no address.
    """
    if not id:
        return "an id has at least one character"
    if id.startswith("_"):
        return "ids that begin with an underscore are CouchDB's own"
    if "/" in id or id in (".", ".."):
        return "an id with a slash, and an id of dots, has no address"
    if not id.isprintable() or not _is_unicode(id):
        return "an id has printable characters"
    return None


def _is_unicode(id: str) -> bool:
    try:
        # Half a surrogate pair, which JSON can carry, has no UTF-8.
        id.encode()
    except UnicodeEncodeError:
        return False
    return True
