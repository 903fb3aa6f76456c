"""The model that users subclass, and the connection that binds it."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, ClassVar, Self

from couchmodel._model.query.query import Query
from couchmodel._model.schema import state
from couchmodel._model.schema.base import DocumentModel
from couchmodel._model.schema.expressions import Condition
from couchmodel._model.schema.fields import AttachmentField, Index
from couchmodel._model.store.attachments import Attachment
from couchmodel._model.store.binding import bind, database_of, default_url, unbind
from couchmodel._model.store.repository import Repository
from couchmodel.engine import CouchDB
from couchmodel.errors import ConfigurationError

__all__ = ["Connection", "CouchModel", "connect"]


class CouchModel(DocumentModel):
    """A typed document.

    Subclass it, name its database, declare its fields as in any pydantic model::

        class Recipe(CouchModel, database="recipes", indexes=[Index("rating")]):
            title: str
            rating: int = 0

    ``id`` is a new UUID where it is not given; ``rev`` is the revision the document is stored as. A model can be built,
    validated and dumped with no database anywhere.
    """

    __database__: ClassVar[str | None] = None
    __indexes__: ClassVar[tuple[Index, ...]] = ()

    def __init_subclass__(
        cls, *, database: str | None = None, indexes: Sequence[Index] | None = None, **options: Any
    ) -> None:
        """``database`` and ``indexes`` are inherited where they are not given; the rest is pydantic's configuration."""
        super().__init_subclass__(**options)
        if database is not None:
            cls.__database__ = database
        if indexes is not None:
            cls.__indexes__ = tuple(indexes)

    @classmethod
    def repository(cls) -> Repository[Self]:
        """The repository of this model in the database it is bound to. Raises ConfigurationError where it is not."""
        return Repository(cls, database_of(cls, cls.__database__))

    @classmethod
    async def get(cls, id: str) -> Self:
        """The document. Raises NotFoundError; DocumentError where it does not fit the model."""
        return await cls.repository().get(id)

    @classmethod
    async def get_or_none(cls, id: str) -> Self | None:
        """The document; None where it is missing or deleted. Raises NotFoundError where its database is missing."""
        return await cls.repository().get_or_none(id)

    @classmethod
    def find(cls, *conditions: Condition | bool) -> Query[Self]:
        """The documents that meet all the conditions; nothing is sent before they are asked for.

        Conditions are made of fields of the class, as in ``Recipe.find(Recipe.rating >= 4)``, and combined with ``&``,
        ``|`` and ``~``. Raises QueryError for what is none.
        """
        return cls.repository().find(*conditions)

    @classmethod
    async def save_all(cls, documents: Iterable[Self]) -> None:
        """Store many documents with few requests. Raises BulkError with an error for each that was refused."""
        await cls.repository().save_all(documents)

    async def save(self) -> None:
        """Store the document: one request, none where nothing has changed since it was loaded or saved.

        Raises ConflictError, with ``base``, ``mine`` and ``theirs``, where it is stored in another revision by now;
        DocumentError where it does not fit its model, and then nothing is stored.
        """
        await self._home().save(self)

    async def delete(self) -> None:
        """Delete the document in the revision it was loaded or saved in. Raises ConflictError, NotFoundError."""
        await self._home().delete(self)

    def _home(self) -> Repository[Self]:
        """Where the document came from; where its model is bound, if it was only built or that connection is closed."""
        home: Repository[Self] | None = state.home(self)
        if home is None:
            return self.repository()
        if home.session.is_closed:
            with suppress(ConfigurationError):
                return self.repository()
        return home

    def __attachment__(self, field: AttachmentField) -> Attachment:
        return Attachment(self, field, self._home())


class Connection(CouchDB):
    """A server that models are bound to while its context is open."""

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        bind(self)
        return self

    async def apply(self, *models: type[CouchModel]) -> None:
        """Create the databases of models where they are missing, and bring their indexes up to date.

        Applying twice changes nothing. Raises UnauthorizedError where only an administrator may do that.
        """
        for model in models:
            if model.__database__ is None:
                raise ConfigurationError(f"{model.__name__} names no database, so there is nothing to apply")
            await Repository(model, self.database(model.__database__)).apply(model.__indexes__)

    async def close(self) -> None:
        """Let go of connections and files, and of the models."""
        unbind(self)
        await super().close()


def connect(url: str | None = None, **options: Any) -> Connection:
    """A connection of this process's models to a CouchDB, for ``async with``.

    ``url`` is ``http://user:password@host:5984`` or ``https://…`` for a server, ``sqlite:FILE`` for an embedded store
    in a file, ``memory:`` for one that is gone with the process. Without one it is the value of the environment
    variable ``COUCHMODEL_URL``, else ``sqlite:couchmodel.db``. ``options`` are those of
    :class:`couchmodel.engine.CouchDB`. Nothing is sent yet. Raises ConfigurationError for a URL of no known form.
    """
    return Connection(url or default_url(), **options)
