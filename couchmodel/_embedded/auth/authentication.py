"""Authentication: whom the server takes the sender of a request for.

The ways are CouchDB's, asked in this order: a proxy, a token, a cookie, a name and a password. Hashing a password takes
long, on purpose; one that was right is remembered, as a digest under a key that only this process knows, for as long as
the user's document stays as it is.
"""

import asyncio
import base64
import hashlib
import hmac
import secrets
import threading
import time
from collections.abc import Mapping
from functools import partial
from typing import Any, Final, NamedTuple

from couchmodel._embedded.auth import cookies
from couchmodel._embedded.auth.lockout import Guess, Lockout
from couchmodel._embedded.auth.passwords import admin_line, is_password, parse_admin_line
from couchmodel._embedded.auth.tokens import Tokens
from couchmodel._embedded.auth.users import USERS, UserDocument, hashing, read_user
from couchmodel._embedded.settings import Configuration
from couchmodel._embedded.storage.meta import read_meta, write_meta
from couchmodel._embedded.storage.store import Database, Store
from couchmodel._wire.messages import Request, decode, encode, is_text
from couchmodel._wire.users import NOBODY, User
from couchmodel.errors import BadRequestError, ForbiddenError, UnauthorizedError

__all__ = ["Authentication", "Identity"]

REMEMBERED: Final = 4096
"""Users and passwords that are kept in mind."""

PARTY: Final = User(None, ("_admin",), "default")
"""Anybody, where there are no administrators."""

INCORRECT: Final = "Name or password is incorrect."
LOCKED: Final = "Account is temporarily locked due to multiple authentication failures"


class Identity(NamedTuple):
    """Who somebody is, and the cookie that they are to have from now on, if any."""

    user: User
    cookie: str | None = None


class Authentication:
    """The users and administrators of a server, and the ways to be recognised as one of them."""

    def __init__(self, store: Store, configuration: Configuration) -> None:
        """Raises ConfigurationError for a key for tokens that cannot be read."""
        self.configuration = configuration
        self.is_exposed = False
        """Whether others than this machine's own programs come."""
        self.admins: dict[str, str] = {}
        self._store = store
        self._tokens = _tokens(configuration)
        self._lockout = Lockout()
        self._secret = (configuration.secret or "").encode()
        self._key = secrets.token_bytes(32)
        self._is_open = False
        self._opening = threading.Lock()
        self._users: dict[str, tuple[object, UserDocument | None]] = {}
        self._passwords: dict[bytes, object] = {}

    @property
    def handlers(self) -> list[str]:
        """The ways that are open, by CouchDB's names."""
        proxy = [] if self.configuration.proxy_secret is None else ["proxy"]
        return [*proxy, *(["jwt"] if self._tokens else []), "cookie", "default"]

    async def open(self) -> None:
        """Read what is stored, and hash the passwords of administrators. Further calls do nothing."""
        if self._is_open:
            return
        await self._store.open()
        stored = decode(await self._store.read(partial(read_meta, "admins")) or b"{}")
        await asyncio.get_running_loop().run_in_executor(hashing(), self._hash_admins, stored)

    def _hash_admins(self, stored: dict[str, str]) -> None:
        with self._opening:  # many may come at once
            if not self._is_open:
                lines = {name: admin_line(password) for name, password in self.configuration.admins.items()}
                self.admins = {**stored, **lines}
                self.configuration.admins = {}  # the passwords are needed no more
                self._is_open = True

    # --- recognising

    async def identify(self, request: Request) -> Identity:
        """Whose request it is, by its headers.

        Raises:
            UnauthorizedError: a password is wrong, a token is not valid any more, or strangers are not let in.
            ForbiddenError: there were too many wrong ones.
            BadRequestError: what should say who it is cannot be read.
        """
        if not self._is_open:
            await self.open()
        headers = request.headers
        if self.configuration.proxy_secret is not None and (user := self._by_proxy(headers)):
            return Identity(user)
        authorization = headers.get("authorization", "")
        if self._tokens is not None and authorization.startswith("Bearer "):
            return Identity(self._tokens.user(authorization[7:].strip()))
        if "cookie" in headers and (identity := await self._by_cookie(headers["cookie"])):
            return identity
        if authorization.startswith("Basic ") and (user := await self._by_password(authorization, request.peer)):
            return Identity(user)
        return Identity(self._stranger(request))

    async def log_in(self, name: str, password: str, peer: str = "") -> Identity:
        """The user of that name and password, with the cookie of a new session.

        Raises UnauthorizedError where it is not theirs, ForbiddenError after too many tries.
        """
        await self.open()
        user = await self._user(name)
        if not await self._check(name, password, user, peer) or user is None:
            raise UnauthorizedError(INCORRECT)
        await self._ensure_secret()
        return Identity(User(name, user.roles, "cookie"), self._cookie(name, user))

    def no_cookie(self) -> str:
        """The header that ends a session at the client's."""
        return self._set_cookie("", time.time())

    # --- administrators

    async def set_admin(self, name: str, password: str) -> None:
        """Give somebody a password and make them an administrator, also of the store when it is opened again."""
        self.admins[name] = await self._hashed(password)
        await self._keep_admins()

    async def remove_admin(self, name: str) -> None:
        """Make somebody no administrator any more.

        Raises ForbiddenError for the last one, where everybody who comes would then be one.
        """
        if self.is_exposed and len(self.admins) == 1:
            raise ForbiddenError("Others reach this server, so it needs an administrator: make another one first.")
        del self.admins[name]
        await self._keep_admins()

    async def _keep_admins(self) -> None:
        self._users.clear()
        await self._store.write(partial(write_meta, "admins", encode(self.admins)))

    # --- the ways

    def _by_proxy(self, headers: Mapping[str, str]) -> User | None:
        name = headers.get("x-auth-couchdb-username")
        if name is None:
            return None
        listed = headers.get("x-auth-couchdb-roles", "")
        if not is_text(name + listed):
            raise BadRequestError("What a proxy says has to be UTF-8.")
        if secret := (self.configuration.proxy_secret or "").encode():
            token = headers.get("x-auth-couchdb-token", "").encode(errors="replace")
            proofs = [hmac.digest(secret, name.encode(), kind).hex().encode() for kind in cookies.ALGORITHMS]
            if not any(hmac.compare_digest(proof, token) for proof in proofs):
                return None
        roles = (role.strip() for role in listed.split(","))
        return User(name, tuple(filter(None, roles)), "proxy")

    async def _by_cookie(self, header: str) -> Identity | None:
        ticket = cookies.read_cookie(header)
        if ticket is None:
            return None
        if not self._secret:
            self._secret = await self._store.read(partial(read_meta, "secret"))
        user = await self._user(ticket.name) if self._secret else None
        life = self.configuration.session_timeout
        if user is None or not cookies.verifies(ticket, self._signing_key(user)):
            return None
        left = ticket.time + life - time.time()
        if left <= 0:
            return None
        cookie = self._cookie(ticket.name, user) if left < life * 0.9 else None
        return Identity(User(ticket.name, user.roles, "cookie"), cookie)

    async def _by_password(self, authorization: str, peer: str) -> User | None:
        name, colon, password = _decoded(authorization).partition(":")
        if not colon or (name, password) == ("_", "_"):
            return None
        user = await self._user(name)
        if user is None or not await self._check(name, password, user, peer):
            raise UnauthorizedError(INCORRECT)
        return User(name, user.roles, "default")

    def _stranger(self, request: Request) -> User:
        logs_in = request.method == "POST" and request.path == ("_session",)
        if self.configuration.require_valid_user and not logs_in:
            raise UnauthorizedError("Authentication required.")
        return NOBODY if self.admins else PARTY

    # --- passwords

    async def _check(self, name: str, password: str, user: UserDocument | None, peer: str) -> bool:
        if user is None:
            return False  # and nothing is noted: any number of names would push out those that were guessed at
        guess = Guess(peer, name, str(user.kept.get("salt", "")))
        self._refuse_guessing(guess)
        return await self._is_password(password, user, guess)

    def _refuse_guessing(self, guess: Guess) -> None:
        if self.configuration.lockout and self._lockout.is_locked_out(guess):
            raise ForbiddenError(LOCKED)

    async def _is_password(self, password: str, user: UserDocument, guess: Guess) -> bool:
        kept = user.kept
        # The hash stands in it, so that another password of the user is another digest.
        told = f"{kept.get('derived_key') or kept.get('password_sha')}:{password}"
        digest = hashlib.blake2b(told.encode(), key=self._key, digest_size=32).digest()
        if digest in self._passwords:
            return True
        loop = asyncio.get_running_loop()
        # Many may ask with the same password at once: the first on the thread hashes for all that follow.
        return await loop.run_in_executor(hashing(), self._compare, digest, password, kept, guess)

    def _compare(self, digest: bytes, password: str, kept: dict[str, Any], guess: Guess) -> bool:
        if digest not in self._passwords:
            self._refuse_guessing(guess)  # again, for those that failed while this one waited
            if not is_password(password, kept):
                self._lockout.note(guess)
                return False
            _remember(self._passwords, digest, None)
        return True

    # --- what is known of users

    async def _user(self, name: str) -> UserDocument | None:
        """What keeps somebody's password, and their roles: as an administrator, and as a user."""
        database = self._store.databases.get(USERS)
        state = _state(database)
        known = self._users.get(name)
        if known is not None and known[0] == state:
            return known[1]
        user = await read_user(self._store, name)
        if name in self.admins:
            kept = parse_admin_line(self.admins[name]) or {}
            user = UserDocument(("_admin", *(user.roles if user else ())), kept)
        _remember(self._users, name, (state, user))
        return user

    def _cookie(self, name: str, user: UserDocument) -> str:
        now = time.time()
        value = cookies.sign(name, int(now), self._signing_key(user))
        return self._set_cookie(value, now)

    def _set_cookie(self, value: str, now: float) -> str:
        settled = self.configuration
        return cookies.set_cookie(value, now, settled.session_timeout, secure=settled.secure_cookies)

    def _signing_key(self, user: UserDocument) -> bytes:
        return self._secret + str(user.kept.get("salt", "")).encode()

    async def _ensure_secret(self) -> None:
        """A secret that is made once is kept, so that sessions outlive the process."""
        if not self._secret:
            made = secrets.token_hex(16).encode()
            self._secret = await self._store.write(partial(write_meta, "secret", made, keep=True))

    async def _hashed(self, password: str) -> str:
        return await asyncio.get_running_loop().run_in_executor(hashing(), admin_line, password)


def _state(database: Database | None) -> object:
    """Something that is equal for as long as a database stands still."""
    return None if database is None else (database.number, database.changes)


def _tokens(configuration: Configuration) -> Tokens | None:
    keys = configuration.jwt_keys
    if not keys:
        return None
    return Tokens(keys, configuration.jwt_required_claims, configuration.jwt_roles_claim)


def _decoded(authorization: str) -> str:
    try:
        return base64.b64decode(authorization[6:].strip(), validate=True).decode()
    except ValueError:
        raise BadRequestError("Authorization header has invalid base64 value") from None


def _remember(known: dict[Any, Any], key: object, value: object) -> None:
    while len(known) >= REMEMBERED:
        known.pop(next(iter(known)), None)
    known[key] = value
