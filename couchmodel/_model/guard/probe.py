"""The probe of a guard: a deletion that it refuses, which shows that it is in force.

A design document that has just been stored is not in force at once: CouchDB takes up to 25 ms. A deletion of a document
that was never there disturbs nobody in the meantime, in which it would be stored.
"""

import secrets
from typing import Any, Final

from couchmodel._wire.guards import PROBE_PREFIX, probe_of
from couchmodel.errors import ForbiddenError
from couchmodel.types import JSONObject

__all__ = ["is_answer_of", "probe_for"]

_DELETED: Final = {"_deleted": True}


def probe_for(declaration: JSONObject) -> tuple[str, dict[str, Any]]:
    """Return the id and the content of a new probe for the guard of this declaration.

    The id has a colon, since a partitioned database takes no other ids.
    """
    return f"{PROBE_PREFIX}{probe_of(declaration)}:{secrets.token_hex(4)}", dict(_DELETED)


def is_answer_of(declaration: JSONObject, error: ForbiddenError) -> bool:
    """Return True if the guard of this declaration has refused its probe, and not another function of the database."""
    return error.reason == f"{PROBE_PREFIX}{probe_of(declaration)} is in force"
