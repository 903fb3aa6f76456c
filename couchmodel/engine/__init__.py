"""An asyncio client for CouchDB: databases and documents as dictionaries, over any transport.

Its names are those of aiocouch. It can be used without models: it knows neither models nor pydantic's schemas.
"""

from couchmodel.engine._io.responses import HTTPResponse
from couchmodel.engine._io.session import Session
from couchmodel.engine._io.uploads import Upload
from couchmodel.engine.attachment import Attachment
from couchmodel.engine.bulk import BulkCreateOperation, BulkOperation, BulkUpdateOperation
from couchmodel.engine.change_events import BaseChangeEvent, ChangedEvent, DeletedEvent
from couchmodel.engine.changes import Changes
from couchmodel.engine.couchdb import CouchDB
from couchmodel.engine.database import Database
from couchmodel.engine.design import DesignDocument
from couchmodel.engine.document import Document
from couchmodel.engine.find import Find
from couchmodel.engine.multipart import IncomingAttachment, IncomingDocument
from couchmodel.engine.partition import Partition
from couchmodel.engine.replication import Replication, ReplicationEnd, Replications, replication_end
from couchmodel.engine.security import SecurityDocument
from couchmodel.engine.users import User, Users
from couchmodel.engine.view import AllDocsView, Page, View, ViewResponse
from couchmodel.errors import (
    BadRequestError,
    ConflictError,
    ExpectationFailedError,
    ForbiddenError,
    NotFoundError,
    PreconditionFailedError,
    ResponseError,
    UnauthorizedError,
    UnsupportedMediaTypeError,
)
from couchmodel.transports import BasicAuth, CookieAuth, Credentials, JWTAuth, Patience, ProxyAuth, RetryPolicy

__all__ = [
    "AllDocsView",
    "Attachment",
    "BadRequestError",
    "BaseChangeEvent",
    "BasicAuth",
    "BulkCreateOperation",
    "BulkOperation",
    "BulkUpdateOperation",
    "ChangedEvent",
    "Changes",
    "ConflictError",
    "CookieAuth",
    "CouchDB",
    "Credentials",
    "Database",
    "DeletedEvent",
    "DesignDocument",
    "Document",
    "ExpectationFailedError",
    "Find",
    "ForbiddenError",
    "HTTPResponse",
    "IncomingAttachment",
    "IncomingDocument",
    "JWTAuth",
    "NotFoundError",
    "Page",
    "Partition",
    "Patience",
    "PreconditionFailedError",
    "ProxyAuth",
    "RemoteResponseError",
    "Replication",
    "ReplicationEnd",
    "Replications",
    "RetryPolicy",
    "SecurityDocument",
    "Session",
    "UnauthorizedError",
    "UnsupportedMediaTypeError",
    "Upload",
    "User",
    "Users",
    "View",
    "ViewResponse",
    "replication_end",
]

RemoteResponseError = ResponseError
"""aiocouch's name for :class:`~couchmodel.errors.ResponseError`, an error answer of any status."""
