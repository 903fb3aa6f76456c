"""What has gone wrong: problems of one kind are one line with a count."""

from collections import Counter

__all__ = ["Problems", "WrongError"]


class WrongError(Exception):
    """An answer is not as it must be. ``detail`` says more; it does not tell kinds of problems apart."""

    def __init__(self, what: str, detail: str = "") -> None:
        super().__init__(what)
        self.detail = detail


class Problems:
    """A list of problems by their kind, with the first detail of each."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._details: dict[str, str] = {}

    def __len__(self) -> int:
        return self._counts.total()

    def add(self, what: str, detail: str = "") -> None:
        """Take note of a problem."""
        self._counts[what] += 1
        self._details.setdefault(what, detail)

    def __str__(self) -> str:
        return "\n".join(self._line(what, count) for what, count in self._counts.most_common())

    def _line(self, what: str, count: int) -> str:
        detail = self._details[what].strip()
        lines = [f"{count:6,} x {what}", *(f"         {line}" for line in detail.splitlines())]
        return "\n".join(lines)
