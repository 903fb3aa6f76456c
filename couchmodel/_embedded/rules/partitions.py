"""Check the ids of documents and the names of partitions in a partitioned database.

A partition has the documents whose ids are the same before the first colon. The rules are those of CouchDB's
``couch_partition.erl``.
"""

from collections.abc import Callable

from couchmodel.errors import BadRequestError

__all__ = ["check_id", "check_partition", "require_partition"]


def require_partition(id: str) -> None:
    """Raise BadRequestError if an id has no partition. Design documents and local documents need none."""
    # Design documents and local documents belong to the whole database.
    if ":" not in id and not id.startswith(("_design/", "_local/")):
        raise BadRequestError("Doc id must be of form partition:id", code="illegal_docid")


def check_id(id: str, check: Callable[[str], object]) -> None:
    """Raise BadRequestError if a document of a partitioned database cannot have the id.

    ``check`` is the check of every document's id; it is also applied to the part after the partition.
    """
    require_partition(id)
    if not id.startswith(("_design/", "_local/")):
        partition, _, rest = id.partition(":")
        check_partition(partition)
        check(rest)


def check_partition(name: str) -> None:
    """Raise BadRequestError if a partition cannot have the name."""
    if not name:
        raise _illegal("Partition must not be empty")
    if name[0] == "_":
        raise _illegal("Partition must not start with an underscore")
    if ":" in name:
        raise _illegal("Partition must not contain a colon")


def _illegal(reason: str) -> BadRequestError:
    return BadRequestError(reason, code="illegal_partition")
