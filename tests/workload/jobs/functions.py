"""Functions in JavaScript that check and change documents."""

import random
from typing import Any

from tests.workload.client import Client
from tests.workload.jobs.queries import SCRIPTED

__all__ = ["RULES", "refuse", "rewrite", "rules", "update"]

RULES = "rules"
"""The design document that refuses documents."""


def rules(version: int) -> dict[str, Any]:
    """Return a version of the design document that refuses documents. All of them refuse the same ones."""
    check = f"if (newDoc.forbidden) throw({{forbidden: 'not here: {version}'}});"
    owner = "if (oldDoc && !newDoc._deleted && oldDoc.owner && oldDoc.owner !== newDoc.owner) "
    refuse = "throw({unauthorized: 'it belongs to ' + oldDoc.owner});"
    return {"validate_doc_update": f"function (newDoc, oldDoc, userCtx) {{ {check} {owner}{refuse} }}"}


async def refuse(client: Client) -> None:
    """Write what no function allows."""
    if client.place.has_scripts:
        database = random.choice(client.place.shared)
        await client.ask("POST", database, body={"forbidden": True}, expected=(403,))


async def update(client: Client) -> None:
    """Have an update function write a document."""
    kept = client.choose(there=True)
    if client.place.has_scripts and kept is not None and kept.rev is not None:
        state = client.next_state()
        path = kept.database, "_design", SCRIPTED, "_update", "replace", kept.id
        in_doubt = bool(kept.doubts)
        kept.doubts.append(state)
        # The function is handed the stored document, but returns one with a revision of its own.
        answer = await client.ask(
            "PUT", *path, body=client.body(kept, state), expected=(201, 409) if in_doubt else (201,)
        )
        if answer.status == 409:
            await client.look(kept)
        else:
            kept.settle(state, answer.headers["x-couch-update-newrev"])


async def rewrite(client: Client) -> None:
    """Write another version of the function that refuses documents."""
    if client.place.has_scripts:
        path = random.choice(client.place.shared), "_design", RULES
        rev = (await client.ask("GET", *path)).json()["_rev"]
        await client.ask("PUT", *path, body={"_rev": rev, **rules(random.randrange(5))}, expected=(201, 409))
