"""Base classes that give a model a habit of many models."""

from datetime import UTC, datetime

from couchmodel._model.model import CouchModel
from couchmodel._model.schema.field_options import Field
from couchmodel._model.schema.hooks import before_save

__all__ = ["Timestamps"]


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
        if self.rev is None and "created_at" not in self.model_fields_set:
            self.created_at = self.updated_at
