"""The model class that users subclass, and the connection that binds models to a server."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from functools import partial
from typing import Any, ClassVar, Literal, Self

from couchmodel._model.attachments.fields import attachment_of
from couchmodel._model.codec.changes import changed_fields, is_changed, rollback
from couchmodel._model.codec.codec import adopt
from couchmodel._model.codec.duplicates import duplicate, snapshot
from couchmodel._model.codec.forms import check_storable, write_field, write_key
from couchmodel._model.query.assignments import assign_names
from couchmodel._model.query.back_links import BackLink
from couchmodel._model.query.patches import assign_patch
from couchmodel._model.query.query import Query
from couchmodel._model.schema import state
from couchmodel._model.schema.attachments import AttachmentField
from couchmodel._model.schema.base import DocumentModel, ModelMeta
from couchmodel._model.schema.declaration import Security, check_settings, declare
from couchmodel._model.schema.expressions.conditions import Condition
from couchmodel._model.schema.fields import Index, is_building_class
from couchmodel._model.schema.kinds import qualified_name
from couchmodel._model.store.binding import bind, database_of, default_url, overriding_database, unbind
from couchmodel._model.store.bulk.chunks import Source
from couchmodel._model.store.bulk.results import OnError, OnProgress, SaveReport
from couchmodel._model.store.edits import refused_merge, save_edited
from couchmodel._model.store.feeds.changes import ChangeFeed
from couchmodel._model.store.plans.guards import guard_notes
from couchmodel._model.store.plans.plan import (
    Plan,
    apply_steps,
    check_together,
    missing_members,
    older_documents,
    plan_model,
    plan_pruning,
)
from couchmodel._model.store.repository import Repository
from couchmodel._model.store.revisions.doubt import OnAccepted, set_on_accepted
from couchmodel._model.store.strictness import be_strict
from couchmodel._model.views.definition import check_views
from couchmodel._wire.messages import Transport
from couchmodel.engine import CouchDB, Database
from couchmodel.errors import ConfigurationError, DocumentError

__all__ = ["Connection", "CouchModel", "connect"]


# The metaclass is named again: a class that names it is neither frozen nor not to checkers (PEP 681), so a subclass may
# be frozen.
class CouchModel(DocumentModel, metaclass=ModelMeta):
    """A typed document.

    Subclass it, name its database, and declare its fields as in any pydantic model::

        class Recipe(CouchModel, database="recipes", indexes=[Index("rating")]):
            title: str
            rating: int = 0

    ``id`` is a new UUID if it is not given. ``rev`` is the revision that the document is stored as; None if it is not
    stored. A model can be built, validated and dumped without a database.
    """

    __verbs__: ClassVar[bool] = True
    """The mark of the class whose methods a field must not hide."""

    # The error of `Recipe.deleted()` says by these names that the method is one of `Recipe.repository()`.
    __repository_names__: ClassVar[frozenset[str]] = frozenset(name for name in dir(Repository) if name[0] != "_")

    def __init_subclass__(
        cls,
        *,
        database: str | None = None,
        indexes: Sequence[Index] | None = None,
        type: str | None = None,
        type_field: str | None = None,
        id: str | None = None,
        security: Security | None = None,
        revs_limit: int | None = None,
        version: int | None = None,
        guard: bool | None = None,
        **options: Any,
    ) -> None:
        """Declare a model. What is not given is inherited.

        ``database`` is the name of its database, ``indexes`` are its Mango indexes. ``type`` marks its documents in a
        database of several models; it is stored in the member ``type_field``, which is ``"type"`` by default. ``id`` is
        a template that makes ids of fields, as ``"book:{slug}"``. ``security`` and ``revs_limit`` are settings of the
        database. ``version`` is the number of the schema, from 1; it is stored with documents of later versions.
        ``guard=True`` lets the database itself refuse documents that break the constraints of the model, also those
        that other programs write. Other options are pydantic's configuration.
        """
        super().__init_subclass__()
        given = {
            "database": database,
            "indexes": indexes,
            "type": type,
            "type_field": type_field,
            "id": id,
            "security": security,
            "revs_limit": revs_limit,
            "version": version,
            "guard": guard,
        }
        cls.__declared__ = declare(cls, {name: value for name, value in given.items() if value is not None}, options)

    @classmethod
    def __pydantic_on_complete__(cls) -> None:
        """Check that the class can be stored, as soon as all its types are known."""
        check_storable(cls)
        if not is_building_class.get():  # a class that waited for the types of its fields
            cls.__check_views__()

    @classmethod
    def __check_views__(cls) -> None:
        check_views(cls)

    @classmethod
    def __write_field__(cls, name: str, value: Any) -> Any:
        return write_field(cls, name, value)

    @classmethod
    def __write_key__(cls, annotation: Any, key: object) -> str:
        return write_key(annotation, key)

    @classmethod
    def repository(cls) -> Repository[Self]:
        """Return the repository of this model in the database it is bound to.

        Raises ConfigurationError if the model is not bound, because no connection is open or it names no database.
        """
        return Repository(cls, database_of(cls, cls.__declared__.database))

    @classmethod
    async def get(cls, id: str, *, rev: str | None = None) -> Self:
        """Load a document by its id; ``rev`` is an old revision of it, which CouchDB keeps until it compacts.

        Raises NotFoundError if it is missing or deleted; DocumentError if it does not fit the model.
        """
        return await cls.repository().get(id, rev=rev)

    @classmethod
    async def get_or_none(cls, id: str) -> Self | None:
        """Load a document by its id, or return None if it is missing or deleted.

        Raises NotFoundError if the database is missing; DocumentError if the document does not fit the model.
        """
        return await cls.repository().get_or_none(id)

    @classmethod
    def find(
        cls, *conditions: Condition | Mapping[str, Any], on_invalid: Literal["raise", "skip", "collect"] = "raise"
    ) -> Query[Self]:
        """Return a query for the documents that meet all the conditions. It is sent when its results are asked for.

        Conditions compare fields of the class, as in ``Recipe.find(Recipe.rating >= 4)``, and are combined with ``&``,
        ``|`` and ``~``. ``on_invalid`` is for documents that do not fit the model: they raise DocumentError, are left
        out, or are left out with their errors in ``query.errors``. Raises QueryError if an argument is not a condition.
        """
        return cls.repository().find(*conditions, on_invalid=on_invalid)

    @classmethod
    async def get_many(cls, ids: Source[str], *, on_progress: OnProgress | None = None) -> list[Self | None]:
        """Load documents by their ids, with one request for a thousand. None stands for a missing or deleted one.

        ``on_progress`` is called with the number of documents that are loaded. Raises NotFoundError if the database is
        missing; DocumentError if a document does not fit the model.
        """
        return await cls.repository().get_many(ids, on_progress=on_progress)

    @classmethod
    async def get_or_create(cls, document: Self) -> Self:
        """Return the stored document of this id; if there is none, store ``document`` and return it."""
        return await cls.repository().get_or_create(document)

    @classmethod
    async def save_all(
        cls, documents: Source[Self], *, on_error: OnError = "raise", on_progress: OnProgress | None = None
    ) -> SaveReport[Self]:
        """Store many documents with few requests; unchanged ones are left out. Return what was stored.

        ``documents`` is an iterable, also an asynchronous one. An iterator is read and sent in chunks of at most a
        thousand documents. ``on_progress`` is called with the number of documents that are done.

        Raises BulkError with an error for each document that was refused; the others are stored then. With
        ``on_error="collect"`` the report has these errors instead. Raises DocumentError, before anything is stored, if
        a document of a collection does not fit its model; ConfigurationError if an object comes twice.
        :meth:`Repository.save_all` has the details.
        """
        return await cls.repository().save_all(documents, on_error=on_error, on_progress=on_progress)

    @classmethod
    def changes(
        cls,
        *conditions: Condition | Mapping[str, Any],
        since: str = "0",
        live: bool = True,
        on_invalid: Literal["raise", "skip"] = "raise",
    ) -> ChangeFeed[Self]:
        """Return the changes of documents of this model after a sequence, the latest of each document.

        ``since`` is the ``seq`` of a change; ``"0"`` is the beginning, ``"now"`` the end. With ``live`` the feed goes
        on until the caller leaves it, else it ends with the changes so far. :meth:`Repository.changes` has the details.
        Raises QueryError if an argument is not a condition.
        """
        return cls.repository().changes(*conditions, since=since, live=live, on_invalid=on_invalid)

    @classmethod
    def edit(cls, id: str) -> AbstractAsyncContextManager[Self]:
        """Return a context that loads a document and saves it at its end; an exception leaves it as it was.

        What others have changed meanwhile is merged field by field: see ``merge`` of :func:`couchmodel.Field`. Edits of
        one document in this process come one after the other.

        Raises NotFoundError if the document is missing; at the end ConflictError, with ``fields``, if a field was
        changed by both sides and has no policy, or if the document was deleted; DocumentError if the merged document
        does not fit its model.
        """
        return cls.repository().edit(id)

    async def update(self, patch: Mapping[str, Any] | None = None, /, **values: Any) -> None:
        """Assign values to fields by their names, and store the document, merged with what others have changed.

        ``patch`` is a JSON merge patch (RFC 7396): it has the names and values of JSON input, and the members of
        embedded models and dictionaries are changed one by one. Nothing is changed if a value does not fit, or if the
        document cannot be stored with it. Raises DocumentError then, and for an unknown field; ConflictError if a field
        clashes; and what :meth:`save` raises.
        """
        # A patch of several fields may break a rule at its last one, so all are undone.
        before = snapshot(self)
        try:
            if patch is not None:
                assign_patch(self, patch)
            assign_names(self, values)
            result = await save_edited(self._find_repository(), self)
        except DocumentError as error:
            # A merge has given the document the stored revision before it failed.
            is_merged = self.rev != before.rev
            adopt(self, before)
            raise (refused_merge(error) if is_merged else error) from None
        await self._find_repository().finish(self, result)

    async def refresh(self) -> None:
        """Load the stored revision into this document, and drop its unsaved changes.

        Raises NotFoundError if the document is missing or deleted.
        """
        await self._find_repository().refresh(self)

    @property
    def is_changed(self) -> bool:
        """True if the document differs from what is stored of it, or is not stored."""
        return is_changed(self)

    def changed_fields(self) -> set[str]:
        """Return the names of the fields that differ from what is stored; all fields if nothing is stored."""
        return changed_fields(self)

    def rollback(self) -> None:
        """Give the fields the values that are stored. Raises ConfigurationError if nothing is stored."""
        rollback(self)

    async def save(self, *, force: bool = False) -> None:
        """Store the document. Sends nothing if nothing has changed since it was loaded or saved.

        With ``force`` it is stored in place of whatever is stored under its id, also of a deletion or of a document
        that does not fit the model. Members that the model does not know, and attachments, are those that are stored.

        Raises ConflictError, with ``base``, ``mine`` and ``theirs``, if another revision is stored by now;
        DocumentError, before anything is stored, if the document does not fit its model.
        """
        await self._find_repository().save(self, force=force)

    def duplicate(self, *, id: str | None = None) -> Self:
        """Return a copy of the document that is not stored, with the given id or a new one. Save it to store it.

        It has the values of all fields. Stored attachments, and members that the model does not know, are not copied.
        :meth:`couchmodel.engine.Document.copy` lets the server copy all that is stored. The id of a model with a
        template for ids is made of the fields when the copy is saved. Raises ConfigurationError if no id is given and
        the model makes none.
        """
        return duplicate(self, id)

    async def delete(self) -> None:
        """Delete the revision that the document was loaded or saved as.

        Raises ConflictError, with ``base``, ``mine`` and ``theirs``, if another revision is stored by now;
        NotFoundError if it is deleted already; ConfigurationError if the document is not stored.
        """
        await self._find_repository().delete(self)

    def _find_repository(self) -> Repository[Self]:
        """Return the repository that the document came from.

        If the document was only built, or if its connection is closed, return the one that the model is bound to.
        """
        repository: Repository[Self] | None = state.repository(self)
        if repository is None:
            return self.repository()
        if repository.session.is_closed:
            # If no connection is open, the closed one says so in its own words when it is used.
            with suppress(ConfigurationError):
                return self.repository()
        return repository

    def __back_link__(self, link: BackLink[Any]) -> Query[Any]:
        return self._find_repository().repository_of(link.model).find(link.link == self)

    def __attachment__(self, field: AttachmentField) -> Any:
        return attachment_of(self, field, self._find_repository)


class Connection(CouchDB):
    """The client of a server, to which models are bound while its context is open."""

    def __init__(self, url: str | Transport, **options: Any) -> None:
        super().__init__(url, **options)
        self._applied: dict[str, type[CouchModel]] = {}

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        bind(self)
        return self

    async def plan(self, *models: type[CouchModel], prune: bool = False) -> Plan:
        """Return the changes that :meth:`apply` would make. It changes nothing.

        The plan notes how many documents an index would leave out, because they were stored before a field was added,
        and how many are of an older version of the schema.
        It also lists the constraints that a guard cannot have, and counts the stored documents that break it. Raises
        ConfigurationError if the models cannot share their databases, or declare different settings of one.
        """
        self._check(models)
        steps, notes = [], []
        for model in models:
            database = self._database_of(model)
            steps += [step.description async for step in plan_model(model, database)]
            notes += [note async for note in missing_members(model, database)]
            notes += [note async for note in older_documents(model, database)]
            notes += [note async for note in guard_notes(model, database)]
        if prune:
            # Pruning spares the indexes of the models that were applied before, as apply does.
            for name, sharing in self._databases({**self._applied, **_by_name(models)}.values()).items():
                steps += [step.description async for step in plan_pruning(sharing, self.database(name))]
        return Plan(steps, notes)

    async def apply(self, *models: type[CouchModel], prune: bool = False) -> None:
        """Create the databases of models if they are missing, and bring settings and indexes to what they declare.

        A second call changes nothing. Guards are in force when it returns. An index that has changed is created beside
        the old one, which other programs may still use. ``prune`` deletes the indexes that no model declares which was
        applied to this connection; those of other programs, which couchmodel did not create, are left alone. Inside
        ``using(database)`` all models are applied to that database.

        Raises ConfigurationError if a model names no database, or if two models share one and their documents could not
        be told apart or their settings differ; UnauthorizedError if the user may not create the database or change its
        indexes.
        """
        self._check(models)
        for model in models:
            await Repository(model, self._database_of(model)).apply()
            self._applied[qualified_name(model)] = model
        if prune:
            for name, sharing in self._databases(self._applied.values()).items():
                await apply_steps(partial(plan_pruning, sharing, self.database(name)))

    def _database_of(self, model: type[CouchModel]) -> Database:
        # ``check_together`` has refused models without a database by now.
        return overriding_database() or self.database(model.__declared__.database or "")

    def _databases(self, models: Iterable[type[CouchModel]]) -> dict[str, list[type[CouchModel]]]:
        """Return the models by the names of their databases."""
        found: dict[str, list[type[CouchModel]]] = {}
        for model in models:
            found.setdefault(self._database_of(model).id, []).append(model)
        return found

    def _check(self, models: Iterable[Any]) -> None:
        for model in models:
            if not isinstance(model, type) or not issubclass(model, CouchModel):
                raise ConfigurationError(f"{model!r} is no model: write plan(Author, Recipe), and the same for apply")
        # A class that was defined again replaces the one that was applied before.
        together = {**self._applied, **_by_name(models)}.values()
        check_together(together, named=overriding_database() is None)
        check_settings(together)

    async def close(self) -> None:
        """Close the connections and files, and unbind the models."""
        # The models are unbound first, so that no other task uses a connection that is closing.
        unbind(self)
        await super().close()


def _by_name(models: Iterable[type[CouchModel]]) -> dict[str, type[CouchModel]]:
    return {qualified_name(model): model for model in models}


def connect(
    url: str | None = None, *, strict: bool = False, on_accepted: OnAccepted = "settle", **options: Any
) -> Connection:
    """Return a connection to a CouchDB, for ``async with``. All models of the process are bound to it while it is open.

    ``url`` is ``http://user:password@host:5984`` or ``https://…`` for a server, ``sqlite:FILE`` for an embedded store
    in a file, ``memory:`` for an embedded store that ends with the process. The default is the value of the environment
    variable ``COUCHMODEL_URL``, else ``sqlite:couchmodel.db``. With ``strict``, a query of a model that no index serves
    raises NoIndexError, where else a warning is logged once. ``on_accepted`` is for writes of models that less than a
    majority of a cluster's nodes have stored: they are settled by reading again, raise AcceptedError, or are ignored.
    ``options`` are those of :class:`couchmodel.engine.CouchDB`. Sends nothing yet. Raises ConfigurationError if the URL
    has no known form.
    """
    connection = Connection(url or default_url(), **options)
    if strict:
        be_strict(connection.session)
    set_on_accepted(connection.session, on_accepted)
    return connection
