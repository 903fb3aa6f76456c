"""Typed documents for Apache CouchDB, with or without a server.

Subclass :class:`CouchModel`, open a connection with :func:`connect`, and ``await Recipe.get("apple_pie")``.
"""

from couchmodel._model.attachments.base import AttachmentBase
from couchmodel._model.attachments.codecs import AttachmentCodec
from couchmodel._model.attachments.fields import Attachment, Attachments, JSONAttachment, TextAttachment
from couchmodel._model.attachments.files import File
from couchmodel._model.attachments.images import ImageAttachment
from couchmodel._model.attachments.info import AttachmentInfo
from couchmodel._model.mixins import SoftDelete, Timestamps
from couchmodel._model.model import Connection, CouchModel, connect
from couchmodel._model.query.back_links import BackLink
from couchmodel._model.query.pages import Page
from couchmodel._model.query.query import Explanation, Query
from couchmodel._model.schema.attachments import attachment
from couchmodel._model.schema.declaration import Security
from couchmodel._model.schema.expressions.conditions import Condition
from couchmodel._model.schema.expressions.field_expressions import FieldExpression, ListExpression, col
from couchmodel._model.schema.expressions.mapped import Mapped
from couchmodel._model.schema.expressions.places import Assignment, Ordering
from couchmodel._model.schema.field_options import Field
from couchmodel._model.schema.fields import Index
from couchmodel._model.schema.hooks import (
    after_delete,
    after_load,
    after_save,
    before_delete,
    before_insert,
    before_save,
)
from couchmodel._model.schema.links.link import Link, Links
from couchmodel._model.schema.members.versions import upgrade
from couchmodel._model.store.binding import using
from couchmodel._model.store.bulk.results import BulkResult, Delete, DeleteReport, SaveReport
from couchmodel._model.store.deletions.purges import ForgetReport
from couchmodel._model.store.deletions.tombstones import Tombstone
from couchmodel._model.store.feeds.changes import Change, ChangeFeed
from couchmodel._model.store.migration import MigrationReport
from couchmodel._model.store.plans.plan import Plan
from couchmodel._model.store.repository import Repository
from couchmodel._model.store.revisions.doubt import SaveResult
from couchmodel._model.views.results import Group, Stats, ViewRow
from couchmodel._model.views.view import View
from couchmodel.errors import (
    AcceptedError,
    AttachmentError,
    BadRequestError,
    BucketError,
    BulkError,
    ConfigurationError,
    ConflictError,
    ConnectError,
    ContentTooLargeError,
    CorruptGridFile,
    CouchModelError,
    DocumentError,
    ExpectationFailedError,
    FileExists,
    ForbiddenError,
    InvalidOperation,
    MethodNotAllowedError,
    MultipleFoundError,
    NoFile,
    NoIndexError,
    NotAcceptableError,
    NotFoundError,
    PreconditionFailedError,
    ProtocolError,
    QueryError,
    RangeNotSatisfiableError,
    ReplicationError,
    RequestTimeoutError,
    ResponseError,
    ServerError,
    StorageFullError,
    StoreFileError,
    TLSError,
    TooManyRequestsError,
    TransportError,
    UnauthorizedError,
    UnavailableError,
    UnsupportedError,
    UnsupportedMediaTypeError,
)

__all__ = [
    "AcceptedError",
    "Assignment",
    "Attachment",
    "AttachmentBase",
    "AttachmentCodec",
    "AttachmentError",
    "AttachmentInfo",
    "Attachments",
    "BackLink",
    "BadRequestError",
    "BucketError",
    "BulkError",
    "BulkResult",
    "Change",
    "ChangeFeed",
    "Condition",
    "ConfigurationError",
    "ConflictError",
    "ConnectError",
    "Connection",
    "ContentTooLargeError",
    "CorruptGridFile",
    "CouchModel",
    "CouchModelError",
    "Delete",
    "DeleteReport",
    "DocumentError",
    "ExpectationFailedError",
    "Explanation",
    "Field",
    "FieldExpression",
    "File",
    "FileExists",
    "ForbiddenError",
    "ForgetReport",
    "Group",
    "ImageAttachment",
    "Index",
    "InvalidOperation",
    "JSONAttachment",
    "Link",
    "Links",
    "ListExpression",
    "Mapped",
    "MethodNotAllowedError",
    "MigrationReport",
    "MultipleFoundError",
    "NoFile",
    "NoIndexError",
    "NotAcceptableError",
    "NotFoundError",
    "Ordering",
    "Page",
    "Plan",
    "PreconditionFailedError",
    "ProtocolError",
    "Query",
    "QueryError",
    "RangeNotSatisfiableError",
    "ReplicationError",
    "Repository",
    "RequestTimeoutError",
    "ResponseError",
    "SaveReport",
    "SaveResult",
    "Security",
    "ServerError",
    "SoftDelete",
    "Stats",
    "StorageFullError",
    "StoreFileError",
    "TLSError",
    "TextAttachment",
    "Timestamps",
    "Tombstone",
    "TooManyRequestsError",
    "TransportError",
    "UnauthorizedError",
    "UnavailableError",
    "UnsupportedError",
    "UnsupportedMediaTypeError",
    "View",
    "ViewRow",
    "after_delete",
    "after_load",
    "after_save",
    "attachment",
    "before_delete",
    "before_insert",
    "before_save",
    "col",
    "connect",
    "upgrade",
    "using",
]
