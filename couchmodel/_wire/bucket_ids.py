"""The ids of the documents of buckets, which models of the same database do not see."""

from typing import Final

from couchmodel.types import JSONObject

__all__ = ["BUCKET_PREFIX", "OUTSIDE_BUCKETS"]

BUCKET_PREFIX: Final = "couchmodel.bucket:"
"""The beginning of the ids of all documents of buckets. In a partitioned database it is their partition."""

OUTSIDE_BUCKETS: Final[JSONObject] = {"_id": {"$not": {"$gte": BUCKET_PREFIX, "$lt": f"{BUCKET_PREFIX[:-1]};"}}}
"""The selector of all other documents. An index can answer it without the documents, as rows have ids."""
