"""The front door shows what it exports, and nothing else."""

from types import ModuleType

import couchmodel


def test_exports_are_sorted() -> None:
    assert list(couchmodel.__all__) == sorted(couchmodel.__all__)


def test_exports_are_the_public_names() -> None:
    public = {
        name
        for name, value in vars(couchmodel).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    assert set(couchmodel.__all__) == public
