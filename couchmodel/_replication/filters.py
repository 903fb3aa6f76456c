"""The filter function of a replication, which is in a design document of the source."""

from couchmodel._replication.options import ReplicationOptions
from couchmodel._replication.peer import Peer
from couchmodel.errors import NotFoundError

__all__ = ["filter_code"]


async def filter_code(source: Peer, options: ReplicationOptions) -> str | None:
    """Return the source code of the filter function of a replication; None if it has no filter, or a built-in one.

    Raises NotFoundError, with CouchDB's reason, if there is no such function.
    """
    name = options.filter
    if name is None or name.startswith("_"):
        return None
    design, _, function = name.partition("/")
    try:
        document = await source.design_document(design)
    except NotFoundError as error:
        reason = f"Couldn't open document `_design/{design}` from source database `{source.name}`: {error.code}"
        raise NotFoundError(reason) from error
    code = document.get("filters", {}).get(function)
    if not isinstance(code, str):
        reason = f"Couldn't parse filter code from document {design} on `{source.name}`: there is no {function!r}"
        raise NotFoundError(reason)
    # White space around a function does not change it, nor the id of the replication.
    return code.strip()
