"""Partitions: the documents of a partitioned database whose ids are the same before the first colon."""

from collections.abc import Callable

from couchmodel.errors import BadRequestError

__all__ = ["check_access", "check_id", "check_partition"]


def check_access(id: str) -> None:
    """Raise BadRequestError where no partition can have a document of that id. Design and local ones are in none."""
    if ":" not in id and not id.startswith(("_design/", "_local/")):
        raise BadRequestError("Doc id must be of form partition:id", code="illegal_docid")


def check_id(id: str, check: Callable[[str], object]) -> None:
    """Raise BadRequestError for an id that no document of a partitioned database may have.

    ``check`` is what holds for every document; here it also holds for what follows the partition.
    """
    check_access(id)
    if not id.startswith(("_design/", "_local/")):
        partition, _, rest = id.partition(":")
        check_partition(partition)
        check(rest)


def check_partition(name: str) -> None:
    """Raise BadRequestError for a name that no partition may have."""
    if not name:
        raise _illegal("Partition must not be empty")
    if name[0] == "_":
        raise _illegal("Partition must not start with an underscore")
    if ":" in name:
        raise _illegal("Partition must not contain a colon")


def _illegal(reason: str) -> BadRequestError:
    return BadRequestError(reason, code="illegal_partition")
