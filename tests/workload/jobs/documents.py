"""Documents: written, read, deleted, purged, alone and together; conflicts."""

import base64
import random
import secrets

from tests.workload.client import Client
from tests.workload.ledger import PHOTO, Kept, content, document
from tests.workload.problems import WrongError

__all__ = ["be_late", "conflict", "delete", "purge", "read", "read_many", "write", "write_local", "write_many"]

_PASSING = 20
"""Purged documents that are remembered."""


async def write(client: Client) -> None:
    """Create a document, or change it; its attachments stay or go."""
    kept = client.choose()
    if kept is not None:
        files = kept.state.files if kept.state and random.random() < 0.8 else {}
        state = client.next_state(files)
        await client.write(kept, state, "PUT", body=client.body(kept, state))


async def read(client: Client) -> None:
    """Read a document."""
    kept = client.choose()
    if kept is not None:
        await client.look(kept)


async def delete(client: Client) -> None:
    """Delete a document."""
    kept = client.choose(there=True, whole=True)
    if kept is not None and kept.rev is not None:
        await client.write(kept, None, "DELETE", query={"rev": kept.rev})


async def write_many(client: Client) -> None:
    """Change all documents in a database together."""
    database = random.choice(client.kept).database
    some = [kept for kept in client.kept if kept.database == database]
    states = [client.next_state(kept.state.files if kept.state else {}) for kept in some]
    bodies = [client.body(kept, state) for kept, state in zip(some, states, strict=True)]
    in_doubt = [bool(kept.doubts) for kept in some]
    for kept, state in zip(some, states, strict=True):
        kept.doubts.append(state)
    rows = (await client.ask("POST", database, "_bulk_docs", body={"docs": bodies})).json()
    for kept, state, row, doubtful in zip(some, states, rows, in_doubt, strict=True):
        if "rev" in row:
            kept.settle(state, row["rev"])
        elif row["error"] == "conflict" and doubtful:
            await client.look(kept)
        else:
            raise WrongError(f"_bulk_docs refuses a document: {row['error']}", str(row))


async def read_many(client: Client) -> None:
    """Read all documents in a database together, in one of the ways that there are."""
    database = random.choice(client.kept).database
    ids = [kept.id for kept in client.kept if kept.database == database]
    if random.random() < 0.5:
        answer = await client.ask("POST", database, "_all_docs", body={"keys": ids}, query={"include_docs": "true"})
        found = [row["doc"] for row in answer.json()["rows"] if row.get("doc")]
    else:
        answer = await client.ask("POST", database, "_bulk_get", body={"docs": [{"id": id} for id in ids]})
        # It has all leaves: those of conflicts, too, living or deleted.
        leaves = [leaf.get("ok") for row in answer.json()["results"] for leaf in row["docs"]]
        found = [leaf for leaf in leaves if leaf and not leaf.get("_deleted") and leaf["n"] > 0]
    client.compare(database, {stored["_id"]: stored["n"] for stored in found}, "what is read together")


async def conflict(client: Client) -> None:
    """Bring a conflict about, see it, and resolve it. The other revision has the older generation, so it loses."""
    kept = client.choose(there=True, whole=True)
    if kept is None or kept.rev is None or kept.rev.startswith("1-"):
        return
    rev = f"1-{secrets.token_hex(16)}"
    kept.torn = True
    other = {"_id": kept.id, "_rev": rev, "owner": client.name, "n": -1}
    await client.ask("POST", kept.database, "_bulk_docs", body={"docs": [other], "new_edits": False})
    stored = (await client.ask("GET", kept.database, kept.id, query={"conflicts": "true"})).json()
    if stored.get("_conflicts") != [rev]:
        raise WrongError("a conflict is not seen", f"{kept.id}: {rev} is not in {stored}")
    await client.ask("DELETE", kept.database, kept.id, query={"rev": rev})
    kept.torn = False
    await client.look(kept)


async def be_late(client: Client) -> None:
    """Write with a revision that is none of the document's: that is a conflict."""
    kept = client.choose(there=True)
    if kept is not None:
        body = {"_rev": f"1-{secrets.token_hex(16)}", "owner": client.name}
        await client.ask("PUT", kept.database, kept.id, body=body, expected=(409,))


async def purge(client: Client) -> None:
    """Write a document with an attachment and purge it. Its owner is another, so that nobody else counts it."""
    database = random.choice(client.place.shared)
    state = client.next_state({PHOTO: 10})
    kept = Kept(database, f"{client.name}-passing-{state.n}", f"{client.name}-passing")
    client.passing = [*client.passing[-_PASSING:], kept]
    photo = {"data": base64.b64encode(content(PHOTO, 10)).decode(), "content_type": "image/png"}
    await client.write(kept, state, "PUT", body={**document(kept.owner, state), "_attachments": {PHOTO: photo}})
    kept.doubts.append(None)
    await client.ask("POST", database, "_purge", body={kept.id: [kept.rev]})
    kept.state, kept.doubts = None, []
    await client.look(kept)


async def write_local(client: Client) -> None:
    """Write a local document and read it."""
    path = random.choice(client.place.shared), "_local", client.name
    answer = await client.ask("GET", *path, expected=(200, 404))
    rev = {"_rev": answer.json()["_rev"]} if answer.status == 200 else {}
    number = random.random()
    await client.ask("PUT", *path, body={"number": number, **rev})
    if (await client.ask("GET", *path)).json()["number"] != number:
        raise WrongError("a local document is not as it was written")
