"""Serve a store with ``couchmodel serve``, create two users, and limit a database to users with a role.

    pip install 'couchmodel[cli]' && python examples/05_serve.py

The example starts the server itself.
"""

import asyncio
import os
import secrets
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager

from couchmodel import ForbiddenError
from couchmodel.engine import CookieAuth, CouchDB, SecurityDocument

PASSWORD = secrets.token_urlsafe()


@asynccontextmanager
async def serving() -> AsyncGenerator[str]:
    """Serve a store in memory in another process, and yield its URL."""
    command = ("-m", "couchmodel", "serve", "--port", "0")
    secret = os.environ | {"COUCHMODEL_ADMIN": f"root:{PASSWORD}"}
    server = await asyncio.create_subprocess_exec(sys.executable, *command, env=secret, stdout=PIPE)
    assert server.stdout
    try:
        yield (await server.stdout.readline()).split()[-1].decode()
    finally:
        server.terminate()
        await server.wait()


async def invite(url: str) -> None:
    """Create two users, of whom one has the role ``cook``, and a database for that role."""
    async with CouchDB(url, "root", PASSWORD) as couch:
        await couch.users.create("ada", "pie", roles=["cook"])
        await couch.users.create("bob", "ale")
        async with SecurityDocument(await couch.create("recipes")) as security:
            security.add_member_role("cook")


async def main() -> None:
    async with serving() as url:
        await invite(url)
        async with CouchDB(url, auth=CookieAuth("ada", "pie")) as couch:
            await (await couch.database("recipes").create("apple_pie", data={"title": "Apple pie"})).save()
            async with aclosing(couch.database("recipes").changes(feed="continuous")) as feed:
                print("ada gets the change of", (await anext(feed)).id)
        async with CouchDB(url, "bob", "ale") as couch:
            try:
                await couch.database("recipes").get("apple_pie")
            except ForbiddenError as error:
                print("bob gets the error:", error)


asyncio.run(main())
