"""Count and sum expenses with two views: a declarative one, and one in JavaScript.

    pip install 'couchmodel[js]' && python examples/04_views.py

The documents are stored at $COUCHMODEL_URL, else in ./couchmodel.db.
"""

import asyncio
import secrets
from datetime import date

from couchmodel import CouchModel, connect, using
from couchmodel.engine import Database


class Expense(CouchModel):
    day: date
    category: str
    cents: int


COUNTED = {"categories": {"map": {"fields": {"category": "asc"}}, "reduce": "_count"}}

SPENT = "function (doc) { emit([doc.category, doc.day.slice(0, 7)], doc.cents); }"


async def declare(database: Database) -> None:
    """Create the views. Each language needs a design document of its own."""
    counted = await database.design_doc("counted", exists_ok=True)
    counted.update(language="query", views=COUNTED)
    await counted.save()
    spending = await database.design_doc("spending", exists_ok=True)
    await spending.create_view("months", SPENT, "_sum", exists_ok=True)


async def main() -> None:
    async with connect() as couch:
        database = await couch.create(f"expenses-{secrets.token_hex(4)}")
        await declare(database)
        with using(database):
            kinds = ("food", "rent", "fun")
            days = [date(2026, 1 + n // 7, 1 + n) for n in range(20)]
            await Expense.save_all([Expense(day=day, category=kinds[day.day % 3], cents=99 * day.day) for day in days])

        async for (category,), count in database.view("counted", "categories").aitems(group=True):
            print(f"{category:<12} {count:>6} times")

        months = database.view("spending", "months")
        async for (category, month), cents in months.aitems(group=True, startkey=["food"], endkey=["food", {}]):
            print(f"{category} {month} {cents / 100:>6.2f}")

        page = await months.page(2, reduce=False, include_docs=True, startkey=["rent"])
        print("the first rent:", *(Expense.model_validate(row.get("doc")).day for row in page.rows))

        await database.delete()


asyncio.run(main())
