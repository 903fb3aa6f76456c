"""How many rows come before a key is right, however the blocks lie in which they are counted."""

import random
from typing import Any

import pytest

from couchmodel._embedded import limits
from tests.embedded.conftest import Client

DESIGN = {"language": "query", "views": {"n": {"map": {"fields": {"n": "asc"}}, "reduce": "_count"}}}


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks that are divided soon."""
    monkeypatch.setattr(limits, "BLOCK_ROWS", 8)


async def write(client: Client, values: dict[str, Any]) -> None:
    """Give documents a number, or delete them."""
    found = await client.json("POST", "/db/_all_docs", {"keys": list(values)})
    revs = {
        row["key"]: row.get("value", {}).get("rev") for row in found["rows"] if not row.get("value", {}).get("deleted")
    }
    docs = [
        {"_id": id, **({"_rev": revs[id]} if revs.get(id) else {}), **({"_deleted": True} if n is None else {"n": n})}
        for id, n in values.items()
    ]
    await client.json("POST", "/db/_bulk_docs", {"docs": docs})


async def ask(client: Client, **parameters: Any) -> dict[str, Any]:
    """What the view answers."""
    answer: dict[str, Any] = await client.json("POST", "/db/_design/by/_view/n", parameters)
    return answer


async def check(client: Client, numbers: dict[str, Any], chance: random.Random) -> None:
    """Compare offsets and counts with the rows themselves."""
    rows = sorted(n for n in numbers.values() if n is not None)
    for _ in range(10):
        low, high = sorted((chance.randrange(-5, 65), chance.randrange(-5, 65)))
        forward = await ask(client, startkey=[low], limit=0, reduce=False)
        assert (forward["total_rows"], forward["offset"]) == (len(rows), sum(n < low for n in rows))
        backward = await ask(client, startkey=[low], limit=0, reduce=False, descending=True)
        assert backward["offset"] == sum(n > low for n in rows)
        inclusive = chance.random() < 0.5
        within = sum(low <= n < high or (inclusive and n == high) for n in rows)
        counted = await ask(client, startkey=[low], endkey=[high], inclusive_end=inclusive)
        assert counted["rows"] == ([{"key": None, "value": within}] if within else [])


@pytest.mark.parametrize("seed", range(3))
async def test_counts_follow_the_rows(client: Client, database: str, seed: int) -> None:
    chance = random.Random(seed)
    await client.ask("PUT", "/db/_design/by", DESIGN)
    numbers: dict[str, Any] = {}
    for _ in range(8):
        ids = {f"{chance.randrange(300):03}" for _ in range(chance.choice((1, 5, 120)))}
        changed = {id: chance.randrange(60) if chance.random() < 0.8 else None for id in ids}
        changed = {id: n for id, n in changed.items() if n is not None or numbers.get(id) is not None}
        await write(client, changed)
        numbers |= changed
        await check(client, numbers, chance)
