"""Whole databases: created, dropped, compacted, and asked about."""

import random
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from tests.workload.client import Client
from tests.workload.jobs.queries import DECLARED, views

__all__ = ["compact", "drop", "look_around", "use_fleeting"]

Use = Callable[[], Awaitable[Any]]


async def drop(client: Client) -> None:
    """Drop the client's own database, or create it."""
    there, client.has_private = client.has_private, None
    if there is False:
        await client.ask("PUT", client.private, expected=(201,))
    else:
        await client.ask("DELETE", client.private, expected=(200,) if there else (200, 404))
    client.has_private = there is False


async def compact(client: Client) -> None:
    """Compact a database, or clear away what old views have left."""
    database = random.choice((*client.place.shared, *([client.private] if client.has_private else ())))
    await client.ask("POST", database, random.choice(("_compact", "_view_cleanup")), body={})


async def use_fleeting(client: Client) -> None:
    """Use a database that another client may drop at this moment: so it may be missing, and documents in conflict."""
    name = random.choice(client.place.fleeting)
    await random.choice([*_document_uses(client, name), *_query_uses(client, name)])()


def _document_uses(client: Client, name: str) -> list[Use]:
    id = f"d{random.randrange(20)}"
    docs = [{"n": n, "owner": client.name} for n in range(50)]
    photo = {"content-type": "image/png"}
    return [
        partial(client.ask, "PUT", name, expected=(201, 412)),
        partial(client.ask, "DELETE", name, expected=(200, 404)),
        partial(client.ask, "PUT", name, id, body={"n": 1}, expected=(201, 404, 409)),
        partial(client.ask, "POST", name, "_bulk_docs", body={"docs": docs}, expected=(201, 404)),
        partial(
            client.ask,
            "PUT",
            name,
            f"{id}-photo",
            "photo",
            body=bytes(100_000),
            headers=photo,
            expected=(201, 404, 409),
        ),
        partial(client.ask, "POST", name, "_compact", body={}, expected=(202, 404)),
    ]


def _query_uses(client: Client, name: str) -> list[Use]:
    design = name, "_design", DECLARED
    index = {"index": {"fields": ["n"]}, "ddoc": "n", "name": "n"}
    poll = {"feed": "longpoll", "timeout": "500", "since": "now"}
    return [
        partial(client.ask, "POST", name, "_find", body={"selector": {"n": 1}}, expected=(200, 404)),
        partial(client.ask, "PUT", *design, body=views(DECLARED, random.randrange(3)), expected=(201, 404, 409)),
        partial(client.ask, "GET", *design, "_view", "by-owner", expected=(200, 404)),
        partial(client.ask, "GET", name, "_changes", query=poll, expected=(200, 404), timed=False),
        partial(client.ask, "POST", name, "_index", body=index, expected=(200, 404, 409)),
    ]


async def look_around(client: Client) -> None:
    """Ask what there is."""
    database = random.choice(client.place.shared)
    path: tuple[str, ...] = random.choice(
        (
            (),
            ("_all_dbs",),
            ("_active_tasks",),
            ("_up",),
            ("_scheduler", "jobs"),
            (database,),
            (database, "_design_docs"),
            (database, "_index"),
            (database, "_security"),
            (database, "_design", DECLARED, "_info"),
            (database, "_all_docs"),
            (database, "_changes"),
        )
    )
    await client.ask("GET", *path)
