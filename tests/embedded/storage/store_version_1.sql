-- A store of version 1, as it was written by the couchmodel that knew no other.
PRAGMA application_id = 1131369284;
PRAGMA user_version = 1;
BEGIN TRANSACTION;
CREATE TABLE attachment_use (               -- some stored revision of the document has the blob
    blob INTEGER NOT NULL,
    document INTEGER NOT NULL,
    PRIMARY KEY (blob, document)
) WITHOUT ROWID;
INSERT INTO "attachment_use" VALUES(1,1);
CREATE TABLE blob (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    sha256 BLOB,                            -- of the stored bytes; NULL: still arriving
    encoding TEXT NOT NULL DEFAULT '',
    UNIQUE (sha256, encoding)
);
INSERT INTO "blob" VALUES(1,X'F901EDA57FD86D4239806FD4B76F64036C1C20711267A7BC776AB2AA45069B2A','gzip');
CREATE TABLE chunk (
    blob INTEGER NOT NULL,
    position INTEGER NOT NULL,
    data BLOB NOT NULL,
    UNIQUE (blob, position)
);
INSERT INTO "chunk" VALUES(1,0,X'1F8B0800000000000003CB48CDC9C9070086A6103605000000');
CREATE TABLE database (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT UNIQUE,                       -- NULL: dropped, to be cleared away
    uuid TEXT NOT NULL,
    created INTEGER NOT NULL,               -- seconds since 1970
    update_seq INTEGER NOT NULL DEFAULT 0,
    purge_seq INTEGER NOT NULL DEFAULT 0,
    living INTEGER NOT NULL DEFAULT 0,      -- documents
    deleted INTEGER NOT NULL DEFAULT 0,     -- tombstones
    revs_limit INTEGER NOT NULL DEFAULT 1000,
    purged_infos_limit INTEGER NOT NULL DEFAULT 1000,
    security BLOB                           -- JSON; NULL: CouchDB's default
);
INSERT INTO "database" VALUES(1,'kitchen','542488ed860247698707f7ca08ddadc9',1795237452,4,0,1,1,1000,1000,NULL);
CREATE TABLE document (
    number INTEGER PRIMARY KEY,
    database INTEGER NOT NULL,
    id TEXT NOT NULL,
    seq INTEGER NOT NULL,
    rev TEXT NOT NULL,
    deleted INTEGER NOT NULL,
    attachments BLOB,                       -- JSON, see attachments.py; NULL: none
    body BLOB NOT NULL,                     -- JSON, without the members that begin with an underscore
    tree BLOB NOT NULL,
    UNIQUE (database, id),
    UNIQUE (database, seq)
);
INSERT INTO "document" VALUES(1,1,'pie',2,'2-c9c9dde940611803bb0788cfb6b36913',0,NULL,X'7B227469746C65223A224170706C6520706965227D',X'5B5B312C6E756C6C2C5B226264346165393362623536613366633232313431633331313734393466656532222C226339633964646539343036313138303362623037383863666236623336393133225D2C5B5D2C5B5D5D5D');
INSERT INTO "document" VALUES(2,1,'stew',4,'2-fa4579a94d882961676636ed034e93cd',1,NULL,X'7B7D',X'5B5B312C6E756C6C2C5B226262633361346366613537353136336362613333333861373864306633336431222C226661343537396139346438383239363136373636333665643033346539336364225D2C5B325D2C5B5D5D5D');
CREATE TABLE local_document (
    database INTEGER NOT NULL,
    id TEXT NOT NULL,
    rev INTEGER NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (database, id)
) WITHOUT ROWID;
INSERT INTO "local_document" VALUES(1,'_local/note',1,X'7B226E223A317D');
CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value
) WITHOUT ROWID;
INSERT INTO "meta" VALUES('uuid','5b09738e4bc349a0b64c15022bf76c72');
CREATE TABLE revision (
    document INTEGER NOT NULL,
    rev TEXT NOT NULL,
    deleted INTEGER NOT NULL,
    attachments BLOB,
    body BLOB NOT NULL,
    UNIQUE (document, rev)
);
INSERT INTO "revision" VALUES(1,'1-bd4ae93bb56a3fc22141c3117494fee2',0,X'5B5B226E6F74652E747874222C22746578742F706C61696E222C312C312C22694D61694338777169466C44324E6A4C54656D7643513D3D222C352C22677A6970222C32355D5D',X'7B227469746C65223A22506965227D');
INSERT INTO "revision" VALUES(2,'1-bbc3a4cfa575163cba3338a78d0f33d1',0,NULL,X'7B227469746C65223A2253746577227D');
CREATE INDEX tombstone ON document (database, id) WHERE deleted;
CREATE INDEX arriving ON blob (number) WHERE sha256 IS NULL;
CREATE INDEX attachment_use_by_document ON attachment_use (document);
INSERT INTO "sqlite_sequence" VALUES('database',1);
INSERT INTO "sqlite_sequence" VALUES('blob',1);
COMMIT;
