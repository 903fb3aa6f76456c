"""Typed documents for Apache CouchDB, with or without a server.

Subclass :class:`CouchModel`, :func:`connect`, and ``await Recipe.get("apple_pie")``.
"""

from couchmodel._model.attachments import Attachment
from couchmodel._model.binding import using
from couchmodel._model.expressions import Condition, FieldExpression, Ordering, col
from couchmodel._model.fields import Index, attachment
from couchmodel._model.model import Connection, CouchModel, connect
from couchmodel._model.query import Query
from couchmodel._model.repository import Repository
from couchmodel.errors import (
    AttachmentError,
    BadRequestError,
    BulkError,
    ConfigurationError,
    ConflictError,
    ConnectError,
    CouchModelError,
    DocumentError,
    ForbiddenError,
    NotFoundError,
    PreconditionFailedError,
    ProtocolError,
    QueryError,
    RequestTimeoutError,
    ResponseError,
    ServerError,
    StoreFileError,
    TransportError,
    UnauthorizedError,
)

__all__ = [
    "Attachment",
    "AttachmentError",
    "BadRequestError",
    "BulkError",
    "Condition",
    "ConfigurationError",
    "ConflictError",
    "ConnectError",
    "Connection",
    "CouchModel",
    "CouchModelError",
    "DocumentError",
    "FieldExpression",
    "ForbiddenError",
    "Index",
    "NotFoundError",
    "Ordering",
    "PreconditionFailedError",
    "ProtocolError",
    "Query",
    "QueryError",
    "Repository",
    "RequestTimeoutError",
    "ResponseError",
    "ServerError",
    "StoreFileError",
    "TransportError",
    "UnauthorizedError",
    "attachment",
    "col",
    "connect",
    "using",
]
