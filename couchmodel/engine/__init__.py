"""The engine: an asyncio client of CouchDB with databases and documents, over any transport.

Its names are aiocouch's. It knows neither models nor pydantic's schemas, and it is a product of its own.
"""

from couchmodel.engine.attachment import Attachment
from couchmodel.engine.couchdb import CouchDB
from couchmodel.engine.database import Database
from couchmodel.engine.document import Document
from couchmodel.engine.session import Session

__all__ = ["Attachment", "CouchDB", "Database", "Document", "Session"]
