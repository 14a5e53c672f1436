"""The console's users and their sessions, in a private SQLite file.

A password is kept as its argon2 hash, a session's token as its SHA-256: who reads the file can use
neither.
"""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from threading import Semaphore

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from pipelines.writeback.fields import check_text
from sources.kantata.errors import KantataMisconfigured
from warehouse.errors import ChangeRefused
from warehouse.ledger.trust import normalized_name
from warehouse.private_files import make_private_file, make_private_folder

from .roles import Role

SHORTEST_PASSWORD = 12  # characters
_LONGEST_PASSWORD = 1024
_LONGEST_NAME = 100
SESSION_LIFE = timedelta(hours=12)
IDLE_LIFE = timedelta(hours=2)
_SEEN_EVERY = timedelta(minutes=1)  # a session's last use is written at most so often
_TABLES = """
create table if not exists users (
    name text primary key, shown text not null, role text not null, password text not null,
    created_at text not null
);
create table if not exists sessions (
    token text primary key, name text not null references users (name) on delete cascade,
    created_at text not null, seen_at text not null
);
create table if not exists secret (only_one integer primary key check (only_one = 1), value text);
"""
# Half the library's memory, since a login was the peak of a console, and one more pass. OWASP asks
# for 19 MiB and two passes. A hash that exists keeps the parameters it was made with.
_hasher = PasswordHasher(memory_cost=32 * 1024, time_cost=4, parallelism=1)
_one_at_a_time = Semaphore(1)  # a hash takes its memory


@dataclass(frozen=True, kw_only=True)
class User:
    """A user of the console.

    Args:
        name: The name, as the ledger records it.
        role: What the user may do.
        created_at: When the user was added, UTC.
    """

    name: str
    role: Role
    created_at: datetime


class Users:
    """The users and sessions in a SQLite file, which is made if it does not exist.

    Args:
        path: The file.
        now: Returns the current time, UTC.

    Raises:
        KantataMisconfigured: If it cannot be used.
    """

    def __init__(self, path: Path, now: Callable[[], datetime]) -> None:
        self._path = path
        self._now = now
        try:
            make_private_folder(path.parent)
            make_private_file(path)
        except OSError as error:
            raise KantataMisconfigured(
                f"cannot create {path} for the console's users: {error.strerror}. Correct the "
                "rights of its folder, or set CONSOLE__USERS to another file"
            ) from None
        with self._connected() as connection:
            connection.executescript(_TABLES)
            connection.execute(
                "insert or ignore into secret values (1, ?)", (secrets.token_hex(32),)
            )
            ((value,),) = connection.execute("select value from secret").fetchall()
        #: From which tokens against forged requests are made.
        self.secret = str(value).encode()

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        """Connect to the file of users; commit what the block does, or nothing."""
        try:
            with closing(sqlite3.connect(self._path, timeout=10)) as connection:
                connection.execute("pragma foreign_keys = on")
                with connection:
                    yield connection
        except sqlite3.DatabaseError as error:
            raise KantataMisconfigured(
                f"cannot use {self._path} for the console's users: {error}. Correct its rights, or "
                "set CONSOLE__USERS to another file"
            ) from None

    def add(self, name: str, role: Role, password: str) -> User:
        """Add a user.

        Raises:
            ChangeRefused: If the name is taken or invalid, or the password too short.
        """
        shown = checked_name(name)
        values = (
            normalized_name(shown), shown, role, hash_password(password), self._now().isoformat(),
        )  # fmt: skip
        try:
            with self._connected() as connection:
                connection.execute("insert into users values (?, ?, ?, ?, ?)", values)
        except KantataMisconfigured:
            if self.find(shown) is None:
                raise
            raise ChangeRefused(
                f"there is a user {shown} already. To give it another role: milestones console "
                f"user remove {shown}, then add it again"
            ) from None
        return self.require(shown)

    def find(self, name: str) -> User | None:
        """Return the user with this name; None if there is none."""
        query = "select shown, role, created_at from users where name = ?"
        with self._connected() as connection:
            row = connection.execute(query, (normalized_name(name),)).fetchone()
        return _user(row) if row else None

    def require(self, name: str) -> User:
        """Return the user with this name, which must be known.

        Raises:
            ChangeRefused: If there is no such user.
        """
        if (user := self.find(name)) is None:
            raise ChangeRefused(f"there is no user {name}. List them: milestones console user list")
        return user

    def all(self) -> list[User]:
        """Return all users by name."""
        query = "select shown, role, created_at from users order by name"
        with self._connected() as connection:
            return [_user(row) for row in connection.execute(query)]

    def remove(self, name: str) -> None:
        """Remove a user; the next request of their sessions is refused.

        Raises:
            ChangeRefused: If there is no such user.
        """
        self.require(name)
        with self._connected() as connection:
            connection.execute("delete from users where name = ?", (normalized_name(name),))

    def set_password(self, name: str, password: str) -> None:
        """Set a user's password, and end their sessions.

        Raises:
            ChangeRefused: If there is no such user, or the password is too short.
        """
        self.require(name)
        key, hashed = normalized_name(name), hash_password(password)
        with self._connected() as connection:
            connection.execute("update users set password = ? where name = ?", (hashed, key))
            connection.execute("delete from sessions where name = ?", (key,))

    def verified(self, name: str, password: str) -> User | None:
        """Return the user with this name and password; None if either is wrong.

        It takes as long for a name that does not exist.
        """
        query = "select password from users where name = ?"
        with self._connected() as connection:
            row = connection.execute(query, (normalized_name(name),)).fetchone()
        hashed = row[0] if row else _hash_of_nobody()
        is_right = _verify(hashed, password[:_LONGEST_PASSWORD])
        return self.find(name) if row and is_right else None

    def start_session(self, user: User) -> str:
        """Start a session of a user; return its token, which is kept nowhere else."""
        token = secrets.token_urlsafe(32)
        now = self._now().isoformat()
        with self._connected() as connection:
            connection.execute(
                "delete from sessions where created_at < ?",
                ((self._now() - SESSION_LIFE).isoformat(),),
            )
            connection.execute(
                "insert into sessions values (?, ?, ?, ?)",
                (_key(token), normalized_name(user.name), now, now),
            )
        return token

    def session_user(self, token: str) -> User | None:
        """Return the user of a session; None if it has ended, or the user was removed."""
        query = (
            "select u.shown, u.role, u.created_at, s.created_at, s.seen_at from sessions s "
            "join users u on u.name = s.name where s.token = ?"
        )
        with self._connected() as connection:
            row = connection.execute(query, (_key(token),)).fetchone()
            if row is None:
                return None
            now = self._now()
            created, seen = (datetime.fromisoformat(text) for text in row[3:])
            if now - created > SESSION_LIFE or now - seen > IDLE_LIFE:
                connection.execute("delete from sessions where token = ?", (_key(token),))
                return None
            if now - seen > _SEEN_EVERY:
                update = "update sessions set seen_at = ? where token = ?"
                connection.execute(update, (now.isoformat(), _key(token)))
        return _user(row[:3])

    def end_session(self, token: str) -> None:
        """End a session."""
        with self._connected() as connection:
            connection.execute("delete from sessions where token = ?", (_key(token),))


def checked_name(name: str) -> str:
    """Return the name of a user with single spaces.

    Raises:
        ChangeRefused: If it is empty, too long or has invisible characters.
    """
    shown = " ".join(check_text("the name", name).split())
    if not shown or len(shown) > _LONGEST_NAME:
        raise ChangeRefused(f"the name of a user has 1 to {_LONGEST_NAME} characters")
    return shown


def hash_password(password: str) -> str:
    """Return the hash of a user's new password.

    Raises:
        ChangeRefused: If it is too short or too long.
    """
    if not SHORTEST_PASSWORD <= len(password) <= _LONGEST_PASSWORD:
        raise ChangeRefused(
            f"the password has {len(password)} characters: use at least {SHORTEST_PASSWORD}, and "
            f"at most {_LONGEST_PASSWORD}"
        )
    with _one_at_a_time:
        return _hasher.hash(password)


def _hash_of_nobody() -> str:
    """Return the hash of a password that no user has."""
    if not _nobody:
        _nobody.append(hash_password(secrets.token_hex(16)))
    return _nobody[0]


_nobody: list[str] = []


def _verify(hashed: str, password: str) -> bool:
    """Return whether a user's password has this hash."""
    try:
        with _one_at_a_time:
            return _hasher.verify(hashed, password)
    except (Argon2Error, InvalidHashError):
        return False


def _key(token: str) -> str:
    """Return the form in which a session's token is kept."""
    return hashlib.sha256(token.encode()).hexdigest()


def _user(row: tuple[str, str, str]) -> User:
    """Return the user in a row."""
    return User(name=row[0], role=Role(row[1]), created_at=datetime.fromisoformat(row[2]))
