"""The types of CouchDB's answers, with the members that this library knows.

Names follow CouchDB's manual. A server may add members, which stay in the dictionary.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NotRequired, TypeAlias, TypedDict

__all__ = [
    "JSON",
    "ActiveTask",
    "BulkRow",
    "ChangeRow",
    "ChangesAnswer",
    "DatabaseInfo",
    "FindAnswer",
    "IndexAnswer",
    "JSONObject",
    "Membership",
    "ReplicationState",
    "RowsAnswer",
    "SchedulerJob",
    "ServerInfo",
    "ViewRow",
    "WriteAnswer",
]

# The type has Sequence and Mapping, because list and dict are invariant: a list[str] is no list[JSON] to a checker.
JSON: TypeAlias = "bool | int | float | str | Sequence[JSON] | Mapping[str, JSON] | None"
"""Any JSON value."""

# The members are of Any, because those of JSON would need a cast before they can be used.
JSONObject: TypeAlias = dict[str, Any]
"""A decoded JSON object with any members, such as a document."""


class ServerInfo(TypedDict):
    """The answer of ``GET /``."""

    couchdb: str
    version: str
    uuid: str
    features: NotRequired[list[str]]
    vendor: NotRequired[dict[str, str]]


class DatabaseInfo(TypedDict):
    """The answer of ``GET /{db}``."""

    db_name: str
    doc_count: int
    doc_del_count: int
    # Sequences of a cluster are opaque: they name the position in each shard.
    update_seq: str
    purge_seq: str
    sizes: dict[str, int]
    props: JSONObject
    compact_running: bool
    # A number of seconds, as text.
    instance_start_time: str


class WriteAnswer(TypedDict):
    """The answer to a write of one document or attachment.

    ``accepted`` is true if its status is 202: less than a majority of a cluster's nodes have stored the write so far.
    """

    ok: bool
    id: str
    rev: str
    accepted: NotRequired[bool]


class BulkRow(TypedDict):
    """One row of ``POST /{db}/_bulk_docs``: either ``ok`` and ``rev``, or ``error`` and ``reason``.

    ``accepted`` is true if less than a majority of a cluster's nodes have stored the document so far.
    """

    id: str
    ok: NotRequired[bool]
    rev: NotRequired[str]
    accepted: NotRequired[bool]
    error: NotRequired[str]
    reason: NotRequired[str]


class ViewRow(TypedDict):
    """One row of ``_all_docs`` or of a view."""

    # A reduced row has no id, and neither has that of a key of _all_docs which no document has.
    id: NotRequired[str]
    key: Any
    value: NotRequired[Any]
    # Null for a deleted document.
    doc: NotRequired[JSONObject | None]
    error: NotRequired[str]


class RowsAnswer(TypedDict):
    """The answer of ``GET /{db}/_all_docs``, or of a view."""

    rows: list[ViewRow]
    # Reduced rows have neither, and the offset is null where keys were asked for.
    total_rows: NotRequired[int]
    offset: NotRequired[int | None]
    update_seq: NotRequired[str]


class FindAnswer(TypedDict):
    """The answer of ``POST /{db}/_find``."""

    docs: list[JSONObject]
    bookmark: str
    warning: NotRequired[str]
    execution_stats: NotRequired[JSONObject]


class IndexAnswer(TypedDict):
    """The answer of ``POST /{db}/_index``. ``result`` is ``"created"`` or ``"exists"``."""

    result: str
    id: str
    name: str


class ChangeRow(TypedDict):
    """One row of ``_changes``."""

    seq: str
    id: str
    changes: list[dict[str, str]]
    deleted: NotRequired[bool]
    doc: NotRequired[JSONObject]


class ChangesAnswer(TypedDict):
    """The answer of ``GET /{db}/_changes`` for the normal feed."""

    results: list[ChangeRow]
    last_seq: str
    pending: int


class ActiveTask(TypedDict):
    """One task of ``GET /_active_tasks``. Further members depend on its ``type``, such as ``replication``."""

    node: str
    pid: str
    type: str
    started_on: int
    updated_on: int
    database: NotRequired[str | None]
    progress: NotRequired[int]


class Membership(TypedDict):
    """The answer of ``GET /_membership``: the nodes that the server is connected to, and the nodes of its cluster."""

    all_nodes: list[str]
    cluster_nodes: list[str]


class ReplicationState(TypedDict):
    """One row of ``GET /_scheduler/docs``: a replication of a document of ``_replicator``.

    ``state`` is ``initializing``, ``pending`` or ``running``, ``completed`` or ``failed`` at the end, and ``crashing``
    or ``error`` while the server waits to try again. ``info`` has the counts of the replication, or its error.
    """

    database: str
    doc_id: str
    state: str
    error_count: int
    info: JSONObject | None
    id: NotRequired[str | None]
    node: NotRequired[str]
    source: NotRequired[str]
    target: NotRequired[str]
    start_time: NotRequired[str]
    last_updated: NotRequired[str]


class SchedulerJob(TypedDict):
    """One row of ``GET /_scheduler/jobs``: a replication that the server runs or is going to run."""

    id: str
    database: str | None
    doc_id: str | None
    source: str
    target: str
    node: str
    start_time: str
    history: list[JSONObject]
    info: JSONObject | None
    pid: str | None
    user: str | None
