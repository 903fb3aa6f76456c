"""Measure loading and dumping of typed documents against pydantic alone."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator

from pydantic import TypeAdapter

from benchmarks.measure import Row, best_of
from benchmarks.models import Plain, Recipe, recipe
from couchmodel._model.codec import codec

_MANY = 1_000

_TIME_IMPORT = "import time; {before}; start = time.perf_counter(); import {module}; print(time.perf_counter() - start)"


def rows() -> Iterator[Row]:
    """Yield rows for loading and dumping against pydantic's own, and one for the import."""
    document = recipe()
    stored = codec.prepend_members({"_id": document.id, "_rev": "1-" + "a" * 32}, codec.dump(document))
    plain = Plain.model_validate_json(stored.replace(b'"_id"', b'"id"', 1).replace(b'"_rev"', b'"rev"', 1))
    text = plain.model_dump_json().encode()

    floor, ours = best_of(lambda: Plain.model_validate_json(text), lambda: codec.load(Recipe, stored))
    yield Row("load a document", "model_validate_json", floor, ours, 1.05)
    floor, ours = best_of(
        lambda: [Plain.model_validate_json(text) for _ in range(_MANY)],
        lambda: [codec.load(Recipe, stored) for _ in range(_MANY)],
        rounds=20,
        calls=1,
    )
    yield Row("load 1,000 documents", "model_validate_json each", floor, ours, 1.4)
    many = b"[" + b",".join([text] * _MANY) + b"]"
    adapter = TypeAdapter(list[Plain])
    floor, ours = best_of(
        lambda: adapter.validate_json(many),
        lambda: [codec.load(Recipe, stored) for _ in range(_MANY)],
        rounds=20,
        calls=1,
    )
    yield Row("load 1,000 documents", "validate_json of a list", floor, ours)
    loaded = codec.load(Recipe, stored)
    floor, ours = best_of(plain.model_dump_json, lambda: codec.dump(loaded))
    yield Row("dump a document", "model_dump_json", floor, ours, 1.05)
    floor, ours = best_of(plain.model_dump_json, lambda: loaded.is_changed)
    yield Row("is_changed of a loaded document", "model_dump_json", floor, ours, 1.1)
    floor, ours = best_of(lambda: _load_and_dump(text), lambda: codec.load(Recipe, stored).is_changed)
    yield Row("load a document, is_changed", "validate_json, dump_json", floor, ours)
    changed = codec.load(Recipe, stored)
    changed.text = "Sprinkle with cinnamon."
    floor, ours = best_of(plain.model_dump_json, lambda: changed.is_changed)
    yield Row("is_changed of a changed document", "model_dump_json", floor, ours, 1.1)
    changed.text, changed.updated = loaded.text, loaded.updated.replace(microsecond=0)
    floor, ours = best_of(plain.model_dump_json, lambda: changed.is_changed)
    yield Row("is_changed, another instant", "model_dump_json", floor, ours, 1.1)
    # Only for an instant of a whole second does the stored form differ from pydantic's.
    for name in ("created", "updated", "published"):
        setattr(loaded, name, getattr(loaded, name).replace(microsecond=0))
    floor, ours = best_of(plain.model_dump_json, lambda: codec.dump(loaded))
    yield Row("dump, instants of whole seconds", "model_dump_json", floor, ours, 1.3)
    before = "import pydantic, pydantic.main, aiohttp.client\nfrom pydantic import BaseModel"
    yield Row(
        "import couchmodel",
        "import pydantic and aiohttp",
        _import("pydantic, aiohttp.client"),
        _import("couchmodel", before),
    )


def _load_and_dump(text: bytes) -> str:
    return Plain.model_validate_json(text).model_dump_json()


def _import(module: str, before: str = "pass") -> float:
    """Return the microseconds that an import takes in a new interpreter: the best of ten."""
    program = _TIME_IMPORT.format(module=module, before=before).replace("; start", "\nstart")
    command = [sys.executable, "-c", program]
    with tempfile.TemporaryDirectory() as folder:
        # The first run compiles all modules, even where the environment forbids to keep what was compiled.
        kept = {**os.environ, "PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": folder}
        runs = [subprocess.run(command, capture_output=True, check=True, env=kept) for _ in range(10)]  # noqa: S603 - our own
    return min(float(run.stdout) for run in runs) * 1e6
