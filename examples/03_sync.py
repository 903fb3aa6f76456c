"""Change two databases independently, synchronize them, and replicate continuously.

    python examples/03_sync.py

One database is in memory. The other is at $COUCHMODEL_URL, or in memory as well.
"""

import asyncio
import os
import secrets

from couchmodel.engine import CouchDB, Database
from couchmodel.sync import follow, synchronize


async def write(database: Database, id: str, **fields: object) -> None:
    """Create a recipe, or change it if it exists."""
    recipe = await database.create(id, exists_ok=True)
    recipe.update(fields)
    await recipe.save()


async def main() -> None:
    """Run the example."""
    name = f"kitchen-{secrets.token_hex(4)}"
    async with CouchDB("memory:") as here, CouchDB(os.environ.get("COUCHMODEL_URL", "memory:")) as there:
        ours, theirs = await here.create(name), await there.create(name)

        await write(ours, "apple_pie", title="Apple pie", by="us")
        await write(theirs, "apple_pie", title="Apple tart", by="them")
        await write(theirs, "soup", title="Onion soup")

        pushed, pulled = await synchronize(ours, theirs)
        print(f"pushed {pushed.docs_written}, pulled {pulled.docs_written}")

        mine, other = await ours["apple_pie"], await theirs["apple_pie"]
        print(f"both databases have the same winner, {mine['title']!r}: {mine.rev == other.rev}")

        async with follow(ours, theirs) as push:
            await write(ours, "bread", title="Bread")
            await push.wait_until_caught_up()
            print("replicated:", (await theirs["bread"])["title"])

        await theirs.delete()


asyncio.run(main())
