"""The position of a consumer in the feed of changes, which is kept in a local document of the database.

CouchDB stores local documents without a look at their revision. So a position is compared, before it is written, with
the one that this consumer has read or written last.
"""

import secrets
from typing import Any
from urllib.parse import quote

from couchmodel._wire.messages import Request, encode
from couchmodel._wire.reasons import NO_DATABASE
from couchmodel.engine import Database
from couchmodel.errors import ConfigurationError, ConflictError, NotFoundError
from couchmodel.types import JSONObject

__all__ = ["Position"]


class Position:
    """The position of one run of a consumer."""

    def __init__(self, database: Database, type: str | None, name: str) -> None:
        """``type`` is that of the documents: models of one database may have consumers of one name.

        Raises ConfigurationError for a name that is no text.
        """
        if not isinstance(name, str) or not name:
            raise ConfigurationError(f"the name of a consumer is a text, such as 'mailer', not {name!r}")
        self._database = database
        self._name = name
        # A type may have a colon. It is quoted, so that no two pairs of type and name have one path.
        self._path = (*database.path, "_local", f"couchmodel-consumer:{quote(type or '', safe='')}:{name}")
        self._run = secrets.token_hex(8)
        self._known: list[JSONObject] = [{}]
        """The contents that this consumer may have stored. A write that got no answer may have been carried out."""

    async def read(self) -> str | None:
        """Return the sequence that is stored; None if there is none."""
        stored = await self._read()
        self._known = [stored]
        found: Any = stored.get("seq")
        return found if isinstance(found, str) else None

    async def begin_now(self) -> str:
        """Store the sequence of the last change of the database, and return it.

        Without this, a consumer that was stopped before its first change would miss the changes until the next start.
        """
        answer = await self._database.session.get((*self._database.path, "_changes"), {"since": "now", "limit": "0"})
        seq: str = answer["last_seq"]
        await self.write(seq)
        return seq

    async def write(self, seq: str) -> None:
        """Store a sequence.

        Raises ConflictError if another consumer of the same name has stored one meanwhile.
        """
        if await self._read() not in self._known:
            raise ConflictError(
                f"another consumer named {self._name!r} has moved the position in {self._database.id!r}",
                hint="give each consumer a name of its own, or run one of them",
            )
        content: JSONObject = {"seq": seq, "run": self._run}
        # The position is known before it is sent: if the answer is lost, it may be stored all the same.
        self._known.append(content)
        await self._database.session.send(Request("PUT", self._path, body=encode(content)))
        self._known = [content]

    async def _read(self) -> JSONObject:
        try:
            stored: JSONObject = await self._database.session.get(self._path)
        except NotFoundError as error:
            if error.reason == NO_DATABASE:
                raise
            return {}
        # The revision of a local document changes with each write, and says nothing of its writer.
        return {name: value for name, value in stored.items() if not name.startswith("_")}
