"""The front door shows what it exports, and nothing else."""

from types import ModuleType

import couchmodel
from couchmodel import errors


def test_exports_are_sorted() -> None:
    assert list(couchmodel.__all__) == sorted(couchmodel.__all__)


def test_exports_are_the_public_names() -> None:
    public = {
        name
        for name, value in vars(couchmodel).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    assert set(couchmodel.__all__) == public


def test_every_error_is_among_the_exports() -> None:
    raised = {name for name in errors.__all__ if isinstance(getattr(errors, name), type)}
    assert raised <= set(couchmodel.__all__)
