"""Authenticate the sender of a request.

The methods are CouchDB's, tried in this order: proxy headers, a JSON Web Token, a cookie, a name with a password.
Hashing a password is slow on purpose. So a correct password is remembered, as a digest under a key that only this
process knows. The digest depends on the stored hash: a new password of the user makes it useless.
"""

import asyncio
import base64
import hashlib
import hmac
import secrets
import threading
import time
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from couchmodel._embedded import limits
from couchmodel._embedded.auth import cookies
from couchmodel._embedded.auth.lockout import Guess, Lockout
from couchmodel._embedded.auth.passwords import admin_line, is_password, parse_admin_line
from couchmodel._embedded.auth.tokens import Tokens
from couchmodel._embedded.auth.users import USERS, UserDocument, hashing_threads, read_user
from couchmodel._embedded.settings import Configuration
from couchmodel._embedded.storage.database import Database
from couchmodel._embedded.storage.meta import read_meta, write_meta
from couchmodel._embedded.storage.store import Store
from couchmodel._wire.messages import Request, decode, encode, is_valid_unicode
from couchmodel._wire.users import ANONYMOUS, User
from couchmodel.errors import BadRequestError, ForbiddenError, UnauthorizedError

__all__ = ["PARTY", "Authentication", "Identity"]

PARTY: Final = User(None, ("_admin",), "default")
"""The user of an anonymous request to a server without administrators: CouchDB's "admin party"."""

INCORRECT: Final = "Name or password is incorrect."
LOCKED: Final = "Account is temporarily locked due to multiple authentication failures"


class Identity(NamedTuple):
    """An authenticated user, and the ``Set-Cookie`` header for the response, if there is a new one."""

    user: User
    cookie: str | None = None


class Authentication:
    """The users and administrators of a server, and the methods of authentication."""

    def __init__(self, store: Store, configuration: Configuration) -> None:
        """Read the configuration. Raises ConfigurationError if a key for tokens cannot be read."""
        self.configuration = configuration
        self.is_exposed = False
        """True if other machines can reach the server."""
        self.admins: dict[str, str] = {}
        self._store = store
        self._token_verifier = _make_token_verifier(configuration)
        self._lockout = Lockout()
        self._secret = (configuration.secret or "").encode()
        # Made anew in each process and never stored, so the digests of passwords mean nothing outside of it.
        self._key = secrets.token_bytes(32)
        self._is_open = False
        self._opening = threading.Lock()
        self._users: dict[str, tuple[object, UserDocument | None]] = {}
        self._passwords: dict[bytes, object] = {}

    @property
    def handlers(self) -> list[str]:
        """The methods of authentication that are enabled, by CouchDB's names."""
        proxy = [] if self.configuration.proxy_secret is None else ["proxy"]
        return [*proxy, *(["jwt"] if self._token_verifier else []), "cookie", "default"]

    async def open(self) -> None:
        """Read the stored administrators, and hash the passwords of configured ones. Further calls do nothing."""
        if self._is_open:
            return
        await self._store.open()
        stored = decode(await self._store.read(read_meta, "admins") or b"{}")
        await asyncio.get_running_loop().run_in_executor(hashing_threads(), self._hash_admins, stored)

    def _hash_admins(self, stored: dict[str, str]) -> None:
        with self._opening:  # several first requests can come at the same time
            if not self._is_open:
                lines = {name: admin_line(password) for name, password in self.configuration.admins.items()}
                self.admins = {**stored, **lines}
                self.configuration.admins = {}  # forget the plain passwords
                self._is_open = True

    # --- Requests and sessions

    async def identify(self, request: Request, peer: str) -> Identity:
        """Authenticate a request by its headers. ``peer`` is the address of the client.

        Raises:
            UnauthorizedError: if a password is wrong, a token has expired, or a user is required and none is given.
            ForbiddenError: if the user is locked out after too many wrong passwords.
            BadRequestError: if the credentials are malformed, or a token's signature is wrong.
        """
        if not self._is_open:
            await self.open()
        headers = request.headers
        if self.configuration.proxy_secret is not None and (user := self._by_proxy(headers)):
            return Identity(user)
        authorization = headers.get("authorization", "")
        if self._token_verifier is not None and authorization.startswith("Bearer "):
            return Identity(self._token_verifier.user(authorization[7:].strip()))
        if "cookie" in headers and (identity := await self._by_cookie(headers["cookie"])):
            return identity
        if authorization.startswith("Basic ") and (user := await self._by_password(authorization, peer)):
            return Identity(user)
        return Identity(self._anonymous(request))

    async def log_in(self, name: str, password: str, peer: str = "") -> Identity:
        """Authenticate a user by name and password, and begin a session.

        Raises UnauthorizedError if name or password is wrong, ForbiddenError if the user is locked out.
        """
        await self.open()
        user = await self._user(name)
        if not await self._check(name, password, user, peer) or user is None:
            raise UnauthorizedError(INCORRECT)
        await self._ensure_secret()
        return Identity(User(name, user.roles, "cookie"), self._cookie(name, user))

    def removal_cookie(self) -> str:
        """Return the ``Set-Cookie`` header that ends a session: it removes the client's cookie."""
        return self._set_cookie("", time.time())

    # --- Administrators

    async def set_admin(self, name: str, password: str) -> None:
        """Add an administrator, or change the password of one. It is stored, so that it outlives the process."""
        self.admins[name] = await self._hash(password)
        await self._store_admins()

    async def remove_admin(self, name: str) -> None:
        """Remove an administrator.

        Raises ForbiddenError if it is the last one and other machines reach the server, since a server without
        administrators treats every client as one.
        """
        if self.is_exposed and len(self.admins) == 1:
            raise ForbiddenError("Others reach this server, so it needs an administrator: make another one first.")
        del self.admins[name]
        await self._store_admins()

    async def _store_admins(self) -> None:
        self._users.clear()
        await self._store.write(write_meta, "admins", encode(self.admins))

    # --- Methods of authentication

    def _by_proxy(self, headers: Mapping[str, str]) -> User | None:
        name = headers.get("x-auth-couchdb-username")
        if name is None:
            return None
        role_list = headers.get("x-auth-couchdb-roles", "")
        if not is_valid_unicode(name + role_list):
            raise BadRequestError("What a proxy says has to be UTF-8.")
        if secret := (self.configuration.proxy_secret or "").encode():
            token = headers.get("x-auth-couchdb-token", "").encode(errors="replace")
            # CouchDB's proof is the HMAC of the name under the server's secret (`x_auth_token`).
            proofs = [hmac.digest(secret, name.encode(), kind).hex().encode() for kind in cookies.ALGORITHMS]
            if not any(hmac.compare_digest(proof, token) for proof in proofs):
                return None
        roles = (role.strip() for role in role_list.split(","))
        return User(name, tuple(filter(None, roles)), "proxy")

    async def _by_cookie(self, header: str) -> Identity | None:
        ticket = cookies.read_cookie(header)
        if ticket is None:
            return None
        if not self._secret:
            self._secret = await self._store.read(read_meta, "secret")
        user = await self._user(ticket.name) if self._secret else None
        life = self.configuration.session_timeout
        if user is None or not cookies.is_signed_with(ticket, self._signing_key(user)):
            return None
        left = ticket.time + life - time.time()
        if left <= 0:
            return None
        # A cookie is renewed after a tenth of its life, as in CouchDB, so that a client that goes on is not logged out.
        cookie = self._cookie(ticket.name, user) if left < life * 0.9 else None
        return Identity(User(ticket.name, user.roles, "cookie"), cookie)

    async def _by_password(self, authorization: str, peer: str) -> User | None:
        name, colon, password = _decode_basic(authorization).partition(":")
        # CouchDB takes the name and password `_` for no credentials at all.
        if not colon or (name, password) == ("_", "_"):
            return None
        user = await self._user(name)
        if user is None or not await self._check(name, password, user, peer):
            raise UnauthorizedError(INCORRECT)
        return User(name, user.roles, "default")

    def _anonymous(self, request: Request) -> User:
        logs_in = request.method == "POST" and request.path == ("_session",)
        if self.configuration.require_valid_user and not logs_in:
            raise UnauthorizedError("Authentication required.")
        return ANONYMOUS if self.admins else PARTY

    # --- Passwords

    async def _check(self, name: str, password: str, user: UserDocument | None, peer: str) -> bool:
        if user is None:
            return False  # not counted: guesses at made-up names would push real users out of the lockout's memory
        guess = Guess(peer, name, str(user.kept.get("salt", "")))
        self._refuse_guessing(guess)
        return await self._is_password(password, user, guess)

    def _refuse_guessing(self, guess: Guess) -> None:
        if self.configuration.lockout and self._lockout.is_locked_out(guess):
            raise ForbiddenError(LOCKED)

    async def _is_password(self, password: str, user: UserDocument, guess: Guess) -> bool:
        kept = user.kept
        # The digest includes the stored hash, so that it is no longer valid when the user's password changes.
        hash_and_password = f"{kept.get('derived_key') or kept.get('password_sha')}:{password}"
        digest = hashlib.blake2b(hash_and_password.encode(), key=self._key, digest_size=32).digest()
        if digest in self._passwords:
            return True
        loop = asyncio.get_running_loop()
        # Many requests with one password can come together. The first to run hashes it for those that wait.
        return await loop.run_in_executor(hashing_threads(), self._compare, digest, password, kept, guess)

    # Runs on a hashing thread. Single operations of a dictionary are atomic, so the threads share it without a lock.
    def _compare(self, digest: bytes, password: str, kept: dict[str, Any], guess: Guess) -> bool:
        if digest not in self._passwords:
            self._refuse_guessing(guess)  # again, because others can have failed while this one waited
            if not is_password(password, kept):
                self._lockout.note(guess)
                return False
            _remember(self._passwords, digest, None)
        return True

    # --- Users

    async def _user(self, name: str) -> UserDocument | None:
        """Return a user's roles and password hash, or None. An administrator's hash is that of the settings."""
        database = self._store.databases.get(USERS)
        state = _database_state(database)
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
        configuration = self.configuration
        return cookies.set_cookie(value, now, configuration.session_timeout, secure=configuration.secure_cookies)

    def _signing_key(self, user: UserDocument) -> bytes:
        return self._secret + str(user.kept.get("salt", "")).encode()

    async def _ensure_secret(self) -> None:
        """Read the secret that signs cookies, or make and store one, so that sessions outlive the process."""
        if not self._secret:
            secret = secrets.token_hex(16).encode()
            self._secret = await self._store.write(
                lambda connection: write_meta(connection, "secret", secret, keep=True)
            )

    async def _hash(self, password: str) -> str:
        return await asyncio.get_running_loop().run_in_executor(hashing_threads(), admin_line, password)


def _database_state(database: Database | None) -> object:
    """Return a value that stays equal until the database changes."""
    return None if database is None else (database.number, database.change_count)


def _make_token_verifier(configuration: Configuration) -> Tokens | None:
    keys = configuration.jwt_keys
    if not keys:
        return None
    return Tokens(keys, configuration.jwt_required_claims, configuration.jwt_roles_claim)


def _decode_basic(authorization: str) -> str:
    try:
        return base64.b64decode(authorization[6:].strip(), validate=True).decode()
    except ValueError:
        raise BadRequestError("Authorization header has invalid base64 value") from None


def _remember(known: dict[Any, Any], key: object, value: object) -> None:
    # A dictionary keeps the order of insertion, so the oldest entry goes first. `pop` has a default because another
    # thread may have removed it.
    while len(known) >= limits.REMEMBERED_PASSWORDS:
        known.pop(next(iter(known)), None)
    known[key] = value
