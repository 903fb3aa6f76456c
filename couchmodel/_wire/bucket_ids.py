"""The ids of the documents that buckets store. Models of the same database leave these documents out."""

from typing import Final

from couchmodel.types import JSONObject

__all__ = ["BUCKET_MEMBERS", "BUCKET_PREFIX", "OUTSIDE_BUCKETS"]

BUCKET_PREFIX: Final = "couchmodel.bucket:"
"""The beginning of the ids of all documents of buckets. In a partitioned database it is their partition."""

BUCKET_MEMBERS: Final = "bucket_"
"""The beginning of the names of all members of these documents, but for CouchDB's own."""

OUTSIDE_BUCKETS: Final[JSONObject] = {"_id": {"$not": {"$gte": BUCKET_PREFIX, "$lt": f"{BUCKET_PREFIX[:-1]};"}}}
"""The selector of all other documents. An index can answer it without the documents, as rows have ids."""
