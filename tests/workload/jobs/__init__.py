"""What a client may do. Each job is a function of a client that raises WrongError where an answer is wrong."""

from collections.abc import Awaitable, Callable

from tests.workload.client import Client
from tests.workload.jobs import attachments, databases, disconnects, documents, feeds, functions, queries, replications

__all__ = ["JOBS", "Job"]

Job = Callable[[Client], Awaitable[None]]

JOBS: dict[Job, int] = {
    documents.write: 12,
    documents.read: 12,
    documents.delete: 3,
    documents.write_many: 5,
    documents.read_many: 4,
    documents.conflict: 2,
    documents.be_late: 2,
    documents.purge: 2,
    documents.write_local: 2,
    attachments.upload: 3,
    attachments.upload_together: 2,
    attachments.upload_inline: 2,
    attachments.download: 4,
    attachments.download_range: 3,
    attachments.delete: 2,
    queries.find: 4,
    queries.make_index: 2,
    queries.read_view: 6,
    queries.reduce_view: 3,
    queries.rewrite_view: 1,
    functions.refuse: 2,
    functions.update: 2,
    functions.rewrite: 1,
    feeds.read_changes: 3,
    feeds.wait: 2,
    feeds.follow: 2,
    replications.replicate: 2,
    replications.run_by_document: 1,
    databases.drop: 1,
    databases.use_fleeting: 6,
    databases.compact: 1,
    databases.look_around: 4,
    disconnects.go_away: 6,
}
"""Every job, and how often it is done in proportion to the others."""
