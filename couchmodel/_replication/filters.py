"""The function by which a source sorts out what is replicated, where it is one of a design document."""

from couchmodel._replication.options import Options
from couchmodel._replication.peer import Peer
from couchmodel.errors import NotFoundError

__all__ = ["filter_code"]


async def filter_code(source: Peer, options: Options) -> str | None:
    """The source of the filter function of a replication; None where there is none, or it is built in.

    Raises NotFoundError where there is no such function, in CouchDB's words.
    """
    name = options.filter
    if name is None or name.startswith("_"):
        return None
    design, _, function = name.partition("/")
    try:
        document = await source.design(design)
    except NotFoundError as error:
        reason = f"Couldn't open document `_design/{design}` from source database `{source.name}`: {error.code}"
        raise NotFoundError(reason) from error
    code = document.get("filters", {}).get(function)
    if not isinstance(code, str):
        reason = f"Couldn't parse filter code from document {design} on `{source.name}`: there is no {function!r}"
        raise NotFoundError(reason)
    return code.strip()
