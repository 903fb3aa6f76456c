"""A process that writes to a store in every way until it is killed: ``python writing_child.py FILE NAME``.

It prints a line for all that was acknowledged: see ``killing.Told``.
"""

import asyncio
import random
import sys
from typing import Any

from couchmodel._embedded.router import Router
from couchmodel._embedded.store import Store
from couchmodel._wire.messages import JSON_TYPE, Request, Response, encode
from couchmodel._wire.multipart import Part, Related
from tests.embedded.killing import COPY, DESIGN, PURGED, SCRIPT


class Writer:
    """One of several tasks that write at the same time, each to documents of its own."""

    def __init__(self, router: Router, name: str) -> None:
        self.router = router
        self.name = name
        self.revs: dict[str, str] = {}

    async def ask(self, method: str, *path: str, body: Any = None, kind: str = JSON_TYPE, **query: str) -> Response:
        return await self.ask_server(method, "db", *path, body=body, kind=kind, **query)

    async def ask_server(
        self, method: str, *path: str, body: Any = None, kind: str = JSON_TYPE, **query: str
    ) -> Response:
        raw = body if body is None or isinstance(body, bytes) or hasattr(body, "__aiter__") else encode(body)
        answer = await self.router.answer(Request(method, path, query, {"content-type": kind}, raw))
        await answer.collect()
        return answer

    def note(self, row: Any, *, deleted: bool = False) -> None:
        """Tell of a write that was acknowledged."""
        print("written", row["id"], row["rev"], flush=True)
        if deleted:
            self.revs.pop(row["id"], None)
        else:
            self.revs[row["id"]] = row["rev"]

    def some(self) -> tuple[str, str] | None:
        return random.choice([*self.revs.items()]) if self.revs else None

    async def put(self, n: int) -> None:
        document = {"n": n, "text": "x" * random.choice((10, 2000, 20_000))}
        self.note((await self.ask("PUT", f"{self.name}-{n}", body=document)).json())

    async def update(self, n: int) -> None:
        if found := self.some():
            self.note((await self.ask("PUT", found[0], body={"n": n}, rev=found[1])).json())

    async def delete(self, n: int) -> None:
        if found := self.some():
            self.note((await self.ask("DELETE", found[0], rev=found[1])).json(), deleted=True)

    async def bulk(self, n: int) -> None:
        documents = [{"_id": f"{self.name}-{n}-{m}", "n": m} for m in range(random.choice((3, 300)))]
        for row in (await self.ask("POST", "_bulk_docs", body={"docs": documents})).json():
            self.note(row)

    async def conflict(self, n: int) -> None:
        if found := self.some():
            document = {"_id": found[0], "_rev": f"1-{n:032x}", "n": -1}
            answer = await self.ask("POST", "_bulk_docs", body={"docs": [document], "new_edits": False})
            if answer.status == 201:
                print("written", found[0], document["_rev"], flush=True)

    async def attach(self, n: int) -> None:
        async def pieces() -> Any:
            for _ in range(random.choice((1, 40))):
                yield bytes([n % 5]) * 100_000

        self.note((await self.ask("PUT", f"{self.name}-{n}", "file", body=pieces())).json())

    async def upload(self, n: int) -> None:
        """A document with two attachments in one body, one of them too large to wait in memory."""
        contents = [bytes([n % 5 + 1]) * size for size in (70_000, random.choice((10, 3_000_000)))]
        parts = [Part(name, "image/png", len(content)) for name, content in zip("ab", contents, strict=True)]
        follow = {part.name: {"follows": True, "length": part.length, "content_type": "image/png"} for part in parts}
        related = Related(encode({"n": n, "_attachments": follow}), parts)

        async def pieces() -> Any:
            yield related.head
            for part, content in zip(parts, contents, strict=True):
                yield related.frame(part)
                for start in range(0, len(content), 100_000):
                    yield content[start : start + 100_000]
            yield related.tail

        self.note((await self.ask("PUT", f"{self.name}-{n}", body=pieces(), kind=related.content_type)).json())

    async def purge(self, n: int) -> None:
        id = f"{self.name}-{n}-{PURGED}"
        rev = (await self.ask("PUT", id, body={"n": n, "_attachments": {"a": {"data": "AAAA"}}})).json()["rev"]
        print("written", id, rev, flush=True)
        await self.query(n)
        print("purging", id, flush=True)
        await self.ask("POST", "_purge", body={id: [rev]})
        print("purged", id, flush=True)

    async def copy(self, n: int) -> None:
        ids = [*self.revs][-50:]
        if ids:
            print("copying", f"{self.name}-{n}", ",".join(ids), flush=True)
            asked = {"source": "db", "target": COPY, "create_target": True, "doc_ids": ids}
            if (await self.ask_server("POST", "_replicate", body=asked)).status == 200:
                print("copied", f"{self.name}-{n}", flush=True)

    async def query(self, n: int) -> None:
        """Queries, which build the indexes."""
        await self.ask("GET", "_design", DESIGN, "_view", "by-n", limit="1")
        await self.ask("GET", "_design", SCRIPT, "_view", "by-n", group_level="1")
        await self.ask("POST", "_find", body={"selector": {"n": n}, "sort": ["n"], "limit": 1})

    async def compact(self, n: int) -> None:
        await self.ask("POST", "_compact")


WAYS = [
    Writer.put,
    Writer.put,
    Writer.update,
    Writer.update,
    Writer.delete,
    Writer.bulk,
    Writer.conflict,
    Writer.attach,
    Writer.upload,
    Writer.purge,
    Writer.copy,
    Writer.query,
    Writer.compact,
]


async def main(path: str, name: str) -> None:
    router = Router(Store(path))

    async def work(writer: Writer) -> None:
        for n in range(1_000_000):
            await random.choice(WAYS)(writer, n)

    await asyncio.gather(*(work(Writer(router, f"{name}-{task}")) for task in range(4)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
