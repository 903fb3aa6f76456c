"""Files of any number and size in a database, as in MongoDB's GridFS.

``Bucket`` has the methods of Motor's ``AsyncIOMotorGridFSBucket``, and needs no models::

    bucket = Bucket(database)
    file_id = await bucket.upload_from_stream("song.ogg", Path("song.ogg"))
    await bucket.download_to_stream(file_id, destination)

How a content is stored was chosen by measurement, of 32 MiB in CouchDB 3.5 against one attachment by raw aiohttp:

* Chunks of 255 KiB in documents of their own, as in GridFS: 1.7 to 2.2 times the time up, 2.7 times down. Each
  document costs a request, a revision and a sync of the disk.
* One attachment: the floor itself. But it cannot be resumed, is limited to 1 GiB by CouchDB's default, and its document
  is visible before the upload is complete, unless its length is known.
* Parts of 2 MiB, two at a time: as fast as one attachment up, and also down if two parts are read ahead. Parts of
  8 MiB are no faster, and take four times as much memory.

So a content is cut into parts of 2 MiB, and one that fits into a part is stored with the document of its file, by one
request. A chunk is only how a content is read: any size of it costs the same.

Each part is sent with its MD5 digest, which the server compares. A reader compares it with a CRC-32: the MD5 of 32 MiB
takes 41 ms, which is longer than an embedded store takes to read it, and CRC-32 takes 5 ms. The SHA-256 of the whole
content is stored for those who want to compare files.

``bucket``, ``grid_in``, ``grid_out`` and ``cursor`` are Motor's classes. ``content_writer`` cuts a content into parts,
``content_reader`` joins them, ``storage`` sends the requests, ``layout`` names the documents, ``sweep`` removes what
uploads left.
"""

from couchmodel.bucket.bucket import Bucket
from couchmodel.bucket.cursor import GridOutCursor
from couchmodel.bucket.grid_in import GridIn
from couchmodel.bucket.grid_out import GridOut
from couchmodel.errors import BucketError, CorruptGridFile, FileExists, InvalidOperation, NoFile

__all__ = [
    "AsyncIOMotorGridFSBucket",
    "AsyncIOMotorGridIn",
    "AsyncIOMotorGridOut",
    "AsyncIOMotorGridOutCursor",
    "Bucket",
    "BucketError",
    "CorruptGridFile",
    "FileExists",
    "GridIn",
    "GridOut",
    "GridOutCursor",
    "InvalidOperation",
    "NoFile",
]

AsyncIOMotorGridFSBucket = Bucket
"""Motor's name of :class:`Bucket`."""

AsyncIOMotorGridIn = GridIn
"""Motor's name of :class:`GridIn`."""

AsyncIOMotorGridOut = GridOut
"""Motor's name of :class:`GridOut`."""

AsyncIOMotorGridOutCursor = GridOutCursor
"""Motor's name of :class:`GridOutCursor`."""
