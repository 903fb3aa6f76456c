"""The results of views: rows, groups and statistics."""

from dataclasses import dataclass
from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict

__all__ = ["Group", "Stats", "ViewRow"]

K_co = TypeVar("K_co", covariant=True)
V_co = TypeVar("V_co", covariant=True)
R_co = TypeVar("R_co", covariant=True)


@dataclass(frozen=True, slots=True)
class ViewRow(Generic[K_co, V_co]):
    """A row of a view: the id of the document that it is of, its key and its value."""

    id: str
    key: K_co
    value: V_co


@dataclass(frozen=True, slots=True)
class Group(Generic[K_co, R_co]):
    """A group of rows with one key, or with one beginning of their keys, and the value that they are reduced to."""

    key: K_co
    value: R_co


class Stats(BaseModel):
    """The statistics of ``reduce="_stats"``.

    They are those of ``count`` numbers: their sum, the least and the greatest, and the sum of their squares.
    """

    model_config = ConfigDict(frozen=True)

    sum: float
    count: int
    min: float
    max: float
    sumsqr: float

    @property
    def mean(self) -> float:
        """The arithmetic mean of the numbers."""
        return self.sum / self.count
