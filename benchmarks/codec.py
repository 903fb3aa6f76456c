"""Measure loading and dumping of a typed document against pydantic alone."""

from collections.abc import Iterator

from benchmarks.measure import Row, best_of
from benchmarks.models import Plain, Recipe, recipe
from couchmodel._model.codec import codec


def rows() -> Iterator[Row]:
    """Yield rows for ``load`` against ``model_validate_json``, and for ``dump`` against ``model_dump_json``."""
    document = recipe()
    stored = codec.prepend_members({"_id": document.id, "_rev": "1-" + "a" * 32}, codec.dump(document))
    plain = Plain.model_validate_json(stored.replace(b'"_id"', b'"id"', 1).replace(b'"_rev"', b'"rev"', 1))
    same = plain.model_dump_json().encode()

    floor, ours = best_of(lambda: Plain.model_validate_json(same), lambda: codec.load(Recipe, stored))
    yield Row("load a document", "model_validate_json", floor, ours, 1.15)
    loaded = codec.load(Recipe, stored)
    floor, ours = best_of(plain.model_dump_json, lambda: codec.dump(loaded))
    yield Row("dump a document", "model_dump_json", floor, ours, 1.15)
    # Only for an instant of a whole second does the stored form differ from pydantic's.
    for name in ("created", "updated", "published"):
        setattr(loaded, name, getattr(loaded, name).replace(microsecond=0))
    floor, ours = best_of(plain.model_dump_json, lambda: codec.dump(loaded))
    yield Row("dump, instants of whole seconds", "model_dump_json", floor, ours)
