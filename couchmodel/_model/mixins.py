"""Base classes that give a model a habit of many models."""

from datetime import UTC, datetime
from typing import Any, ClassVar

from couchmodel._model.model import CouchModel
from couchmodel._model.schema.field_options import Field
from couchmodel._model.schema.hooks import before_save
from couchmodel.errors import ConfigurationError

__all__ = ["SoftDelete", "Timestamps"]


def _now() -> datetime:
    return datetime.now(UTC)


class Timestamps(CouchModel):
    """A document that knows when it was stored for the first time and for the last time, in UTC.

    A save that has nothing to store does not change them. Where two versions are merged, the earliest creation and the
    latest change count.
    """

    created_at: datetime = Field(default_factory=_now, merge="min")
    updated_at: datetime = Field(default_factory=_now, merge="max")

    @before_save
    def _set_timestamps(self) -> None:
        self.updated_at = _now()
        # The default factories of the two fields run at two moments, so the times of a new document would differ.
        if self.rev is None and "created_at" not in self.model_fields_set:
            self.created_at = self.updated_at


class SoftDelete:
    """A document whose deletion keeps it, with remarks.

    This class stands first among the base classes::

        class Item(SoftDelete, CouchModel, database="stock"): ...

        await item.delete(reason="sold out", by="ada")

    Queries, views and counts do not see what was deleted. ``Item.repository().deleted()`` finds it, and
    ``restore(id)`` stores it again.
    """

    # The mark tells this ``delete`` from one that a user has written, which bulk deletions have to call.
    __verbs__: ClassVar[bool] = True
    __keeps_deleted__: ClassVar[bool] = True

    def __init_subclass__(cls, **keywords: Any) -> None:
        """Refuse a class in which another base class comes first, and one that has no other."""
        if keywords and not issubclass(cls, CouchModel):
            advice = f"write class {cls.__name__}(SoftDelete, CouchModel, …)"
            raise ConfigurationError(f"{cls.__name__}: SoftDelete is no model by itself: {advice}")
        super().__init_subclass__(**keywords)
        # Behind a model, this class would lose its ``delete`` to CouchModel's, by Python's order of base classes.
        owner = next(kind for kind in cls.__mro__ if "delete" in vars(kind))
        if owner is CouchModel:
            raise ConfigurationError(
                f"{cls.__name__}: SoftDelete stands first, as in class {cls.__name__}(SoftDelete, CouchModel)"
            )

    async def delete(self, /, **remarks: Any) -> None:
        """Delete the revision that the document was loaded or saved as, and keep what is stored of it.

        ``remarks`` are JSON values, such as a reason or a name. Raises DocumentError for others; ConflictError, with
        ``base``, ``mine`` and ``theirs``, if another revision is stored by now; NotFoundError if it is deleted already;
        ConfigurationError if the document is not stored.
        """
        document: Any = self  # of a model, which this class does not know yet
        await document._find_repository().delete(document, **remarks)  # noqa: SLF001 - this is a part of the model
