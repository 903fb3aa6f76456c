"""Models with constraints, made at random, and documents that were changed at random so that many of them break these.

    python -m tests.model.guard.constrained --models 2000

compares three judges of each document: the declaration of the guard, its JavaScript, and the model itself. It prints
one line of figures, and fails if two of them disagree where they may not.
"""

import argparse
import copy
import re
import sys
from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Any, Final, Literal
from uuid import uuid4

from pydantic import (
    UUID4,
    AfterValidator,
    AwareDatetime,
    BaseModel,
    Discriminator,
    NaiveDatetime,
    PydanticUserError,
    ValidationError,
)
from pydantic.types import StringConstraints

from couchmodel import ConfigurationError, CouchModel, DocumentError, Field
from couchmodel._embedded.javascript.engine import Scripts
from couchmodel._model.codec import codec
from couchmodel._model.guard.constraints import Constraints, constraints_of
from couchmodel._model.guard.javascript import design_of
from couchmodel._wire.guards import Guard
from couchmodel._wire.messages import decode, encode
from tests.model.stored_form.generated import Generated, Kind, fill

WORDS: Final = [
    "",
    "a",
    "ab",
    "abc-1",
    "A1",
    "ü",
    "😀",
    "a\n",
    "0123",
    "x" * 9,
    "a b",
    "a-b-c",
    "1-",
    "\u0660",
    " a ",
    "-5",
]
PATTERNS: Final = [
    "^[a-z]+$",
    r"^\d{1,4}$",
    "^[a-z0-9]+(-[a-z0-9]+)*$",
    "b|1",
    r"^\w+$",
    "[^a]",
    r"^.{1,3}$",
    "ü",
    r"(?i)^A",
    "a$",
    r"\s",
    r"^a\b",
]


NATURAL: Any = Annotated[int, Field(ge=0)]
SHORT: Any = Annotated[str, Field(max_length=2)]


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int = Field(ge=0, le=9)


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"
    name: str = Field(max_length=3, default="x")


class Node(BaseModel):
    name: str = Field(min_length=1)
    children: list["Node"] = Field(default_factory=list, max_length=2)


def half(value: int) -> int:
    """Return the value, if it is even."""
    if value % 2:
        raise ValueError("it is odd")
    return value


class Constrained(Generated):
    """A source of models with constraints, from one seed."""

    def _plain(self) -> list[Callable[[], Kind]]:
        pick, number = self.random.choice, self.random.randint
        numbers = lambda: pick([0, 1, -1, 5, 6, 2**53 + 2, 2**60, number(-20, 20)])  # noqa: E731
        doubles = lambda: pick([0.0, 0.5, 0.25, 0.1, 0.3, 5.0, -1.5, 1e20, number(-50, 50) / 10])  # noqa: E731
        instants = lambda: datetime(2026, number(1, 12), number(1, 28), 5, 6, 7, pick([0, 5]), UTC)  # noqa: E731
        constrained: list[Callable[[], Kind]] = [
            lambda: Kind(Annotated[int, Field(**self._bounds())], numbers),
            lambda: Kind(Annotated[int, Field(multiple_of=pick([2, 3, 7]))], lambda: number(-5, 5) * 42),
            lambda: Kind(Annotated[int, Field(lt=2**60, gt=-(2**60))], numbers),
            lambda: Kind(Annotated[float, Field(**self._bounds())], doubles),
            lambda: Kind(Annotated[float, Field(multiple_of=0.1)], doubles),
            lambda: Kind(Annotated[str, Field(**self._lengths())], lambda: pick(WORDS)),
            lambda: Kind(Annotated[str, Field(pattern=pick(PATTERNS), **self._lengths())], lambda: pick(WORDS)),
            lambda: Kind(Annotated[str, Field(pattern=re.compile("^[a-z]+$"))], lambda: pick(WORDS)),
            lambda: Kind(Annotated[str, StringConstraints(strip_whitespace=True, to_lower=True)], lambda: pick(WORDS)),
            lambda: Kind(Annotated[bytes, Field(**self._lengths())], lambda: self.random.randbytes(number(0, 4))),
            lambda: Kind(Annotated[list[int], Field(**self._lengths())], lambda: [1] * number(0, 4)),
            lambda: Kind(Annotated[set[str], Field(**self._lengths())], lambda: set(WORDS[: number(0, 4)])),
            lambda: Kind(Annotated[dict[str, int], Field(**self._lengths())], lambda: {"a": 1, "b": 2}),
            lambda: Kind(
                dict[Annotated[str, Field(max_length=2)], Annotated[int, Field(ge=0)]], lambda: {"a": 1, "b": 2}
            ),
            lambda: Kind(tuple[int, Annotated[str, Field(max_length=2)]], lambda: (number(0, 9), pick(WORDS))),
            lambda: Kind(tuple[int, ...], lambda: (1,) * number(0, 3)),
            lambda: Kind(
                Annotated[Decimal, Field(decimal_places=2, gt=0, lt=100)], lambda: Decimal(number(1, 9999)) / 100
            ),
            lambda: Kind(Annotated[Decimal, Field(ge=1)], lambda: Decimal(number(1, 999))),
            lambda: Kind(Annotated[date, Field(gt=date(2026, 2, 1))], lambda: date(2026, number(1, 12), 3)),
            lambda: Kind(Annotated[AwareDatetime, Field(ge=datetime(2026, 3, 1, tzinfo=UTC))], instants),
            lambda: Kind(AwareDatetime, instants),
            lambda: Kind(NaiveDatetime, lambda: datetime(2026, number(1, 12), 1, 5, 6, 7)),  # noqa: DTZ001 - it has no zone
            lambda: Kind(datetime, instants),
            lambda: Kind(Annotated[time, Field(lt=time(12))], lambda: time(number(0, 23), 5)),
            lambda: Kind(Annotated[timedelta, Field(ge=timedelta(0))], lambda: timedelta(seconds=number(-3, 9))),
            lambda: Kind(UUID4, uuid4),
            lambda: Kind(Literal["sweet", "salty", 1, True] | None, lambda: pick(["sweet", 1, True, None])),
            lambda: Kind(Annotated[int, AfterValidator(half)], lambda: number(0, 9)),
            lambda: Kind(
                Annotated[Cat | Dog, Discriminator("kind")], lambda: pick([Cat(kind="cat", lives=number(0, 9)), Dog()])
            ),
            lambda: Kind(Cat | Dog, lambda: pick([Cat(kind="cat", lives=number(0, 9)), Dog()])),
            lambda: Kind(Node, lambda: Node(name="a", children=[Node(name="b"), Node(name="c", children=[])])),
            lambda: Kind(NATURAL | SHORT | None, lambda: pick([1, "a"])),
        ]
        return [*constrained, *super()._plain()]

    def _bounds(self) -> dict[str, Any]:
        low, high = self.random.randint(-5, 2), self.random.randint(3, 8)
        return {self.random.choice(["ge", "gt"]): low, self.random.choice(["le", "lt"]): high}

    def _lengths(self) -> dict[str, Any]:
        return self.random.choice([{}, {"min_length": 1}, {"max_length": 3}, {"min_length": 1, "max_length": 2}])

    # --- changes of documents

    def change(self, document: Any) -> Any:
        """Return a document that differs from this one in one place."""
        changed = copy.deepcopy(document)
        holders = list(_holders(changed))
        holder = self.random.choice(holders)
        keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
        key = self.random.choice(keys) if keys else None
        match self.random.randint(0, 4):
            case 0 if key is not None:
                del holder[key]
            case 1 if isinstance(holder, list):
                holder.insert(0, self._any_value())
            case 1:
                holder[self.random.choice(["", "a", "b", "long name", "2026-01-01"])] = self._any_value()
            case 2 if key is not None and isinstance(holder[key], str) and holder[key]:
                at = self.random.randrange(len(holder[key]))
                holder[key] = holder[key][:at] + self.random.choice("09Z-:.aé😀 \n") + holder[key][at + 1 :]
            case _ if key is not None:
                holder[key] = self._any_value()
        return changed

    def _any_value(self) -> Any:
        number = self.random.randint(-12, 12)
        numbers = [number, number / 4, number / 10, float(number), 2**53 + 1, -(2**60), 2**60, 2**200, 10**22, -0.0]
        texts = [
            *WORDS,
            "2026-02-30",
            "2026-02-28",
            "2024-02-29",
            "2026-02-28T05:06:07.000001Z",
            "12:30:00",
            "cat",
            "dog",
        ]
        others: list[Any] = [None, True, False, [], {}, [1, "a"], {"kind": "cat", "lives": 3}, {"kind": "dog"}]
        return self.random.choice([*numbers, *texts, *others])


def _holders(value: Any) -> Any:
    if isinstance(value, (dict, list)):
        yield value
        for each in value.values() if isinstance(value, dict) else value:
            yield from _holders(each)


class JavaScriptGuard:
    """The function of a guard, run by the engine of the embedded store."""

    def __init__(self, constraints: Constraints, scripts: Scripts) -> None:
        self._context = scripts.open(("validate_doc_update",), encode(design_of(constraints.declaration)))

    def find_breaches(self, documents: list[Any]) -> list[str | None]:
        """Return what the function says of each document; None if it passes."""
        text = b",".join(b"[%b,null]" % encode(document) for document in documents)
        answers = self._context.run("call", b"validate", b'[["validate_doc_update"],[%b],"[{},{}]"]' % text).split(
            b"\n"
        )
        verdicts = [decode(answer) for answer in answers]
        return [
            verdict["thrown"]["forbidden"] if "thrown" in verdict else str(verdict) if verdict else None
            for verdict in verdicts
        ]


def judge(model: type[CouchModel], document: Any) -> tuple[bool, bool]:
    """Return whether the model can read a document, and whether it would have stored it so."""
    try:
        loaded = codec.load(model, encode(document))
        again = {**decode(codec.dump(loaded)), "_id": document["_id"]}
    except DocumentError:
        return False, False
    return True, all(name in document and _same(document[name], value) for name, value in again.items())


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(value, other[name]) for name, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return isinstance(one, bool) is isinstance(other, bool) and bool(one == other)


def compare(source: Constrained, scripts: Scripts, counts: Counter[str]) -> list[str]:
    """Make a model and documents, and return the disagreements of the judges."""
    model = source.model()
    constraints = constraints_of(model)
    documents = []
    for _ in range(4):
        try:
            body = codec.body_to_send(fill(model))
        except (ValidationError, TypeError, DocumentError):
            continue
        stored = {**decode(body or b"{}"), "_id": "a"}
        documents += [stored, *(source.change(stored) for _ in range(6))]
        documents += [source.change(each) for each in documents[-3:]]
    documents = [{**each, "_id": "a"} for each in documents]
    if not documents:
        return []
    guard = Guard(constraints.declaration)
    faults = []
    for document, said in zip(documents, JavaScriptGuard(constraints, scripts).find_breaches(documents), strict=True):
        found = guard.find_breach("a", document)
        is_read, is_stored_form = judge(model, document)
        counts["refused" if found else "passed"] += 1
        where = f"{found!r}, {said!r}: {document}"
        is_ordered = "'is': 'map'" not in str(constraints)  # names that are digits come first in JavaScript
        if found != said and (is_ordered or None in (found, said)):
            faults.append(f"the declaration and the JavaScript disagree: {where}")
        if found is not None and is_stored_form and guard.concerns(document):
            faults.append(f"the guard is stricter than the model: {where}")
        if found is None and not is_read and guard.concerns(document):
            counts["laxer"] += 1
            if not constraints.missing:
                faults.append(f"the guard is laxer than the model, and does not say so: {where}")
    return faults


def run(models: int, seed: int) -> tuple[Counter[str], list[str]]:
    """Compare the judges for many models. Return the counts of verdicts, and the disagreements."""
    counts: Counter[str] = Counter()
    faults: list[str] = []
    scripts = Scripts()
    try:
        for n in range(seed, seed + models):
            try:
                faults += (f"seed {n}: {fault}" for fault in compare(Constrained(n), scripts, counts))
            except (ConfigurationError, ValidationError, PydanticUserError, TypeError, NameError):
                counts["impossible"] += 1
    finally:
        scripts.close()
    return counts, faults


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    counts, faults = run(options.models, options.seed)
    print(f"{options.models} models: {', '.join(f'{count} {word}' for word, count in sorted(counts.items()))}")
    for text in faults[:20]:
        print(text)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
