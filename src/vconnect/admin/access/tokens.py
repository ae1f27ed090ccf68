"""Who may ask over TCP: tokens, one-time codes for the page, and its sessions."""

# Other users of the machine reach loopback ports, so TCP always asks for a token. Tokens lie in
# files that only the host's user can read. What is compared are digests, in constant time. The page
# trades a code, which works once, for a cookie; nothing secret is ever part of an address that a
# log, a proxy or another site gets to see.

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vconnect.admin.http.asked import Role, Who
from vconnect.admin.http.problems import Problem
from vconnect.durable import replace_file
from vconnect.errors import ConfigError

_TOKEN_BYTES = 32
# A code is for the person who has just started the host. Seconds.
_CODE_FOR_S = 60.0
# A session ends so long after its beginning, and so long after its last request. Seconds.
_SESSION_FOR_S = 12 * 3600.0
_IDLE_FOR_S = 8 * 3600.0
_MAX_SESSIONS = 256
# Wrong tokens of one peer within a minute, and how many peers are remembered.
_MAX_FAILURES = 10
_FAILURE_S = 60.0
_MAX_PEERS = 1024


def digest_of(secret: str) -> bytes:
    """Return what is kept and compared of a secret."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()


def read_token(path: Path) -> str:
    """Read a token from a file that only its owner can read.

    Raises:
        ConfigError: It cannot be read, others can read it, or it holds no token.
    """
    try:
        mode = path.stat()
        text = path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"token file {path}: cannot be read: {error}") from None
    if mode.st_mode & 0o077:
        raise ConfigError(
            f"token file {path} can be read by others (mode {mode.st_mode & 0o777:o}); use: "
            f"chmod 600 {path}"
        )
    if mode.st_uid not in (0, os.geteuid()):
        raise ConfigError(f"token file {path} belongs to user {mode.st_uid}, not to this one")
    if len(text) < 16:
        raise ConfigError(
            f"token file {path} holds {len(text)} characters; a token has 16 or more, such as "
            "those of: openssl rand -hex 32"
        )
    return text


def keep_token(path: Path) -> str:
    """Read a token, and make one first if there is none. Blocks.

    Raises:
        ConfigError: See `read_token`; or it cannot be written.
    """
    if not path.exists():
        try:
            replace_file(path, secrets.token_hex(_TOKEN_BYTES).encode() + b"\n")
        except OSError as error:
            raise ConfigError(f"token file {path}: cannot be written: {error}") from None
    return read_token(path)


@dataclass(slots=True)
class _Session:
    name: str
    role: Role
    began: float
    used: float


class Access:
    """Knows the tokens, and the sessions that were begun with them.

    Args:
        tokens: The tokens by role.
        clock: Returns monotonic seconds.
    """

    def __init__(
        self, tokens: dict[Role, str], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._digests: dict[Role, bytes] = {role: digest_of(one) for role, one in tokens.items()}
        self._clock = clock
        self._codes: dict[bytes, float] = {}
        self._sessions: dict[bytes, _Session] = {}
        self._failures: dict[str, deque[float]] = {}

    def by_token(self, token: str, peer: str) -> Who:
        """Return who has a token.

        Raises:
            Problem: ``bad_token``, or ``too_many_tries``.
        """
        asked = digest_of(token)
        found: Role | None = None
        # All are compared, so that the time does not say which one was close.
        for role, digest in self._digests.items():
            if hmac.compare_digest(asked, digest):
                found = role
        if found is None:
            # Only of wrong ones: all users of a machine are one peer on loopback, and one of them
            # must not be able to shut the others out. Tokens are too long to be guessed.
            self._check_tries(peer)
            self._failed(peer)
            raise Problem("bad_token", "the token is not one of this host's")
        return Who(f"the token {found}", found, "tcp")

    def new_code(self) -> str:
        """Make a code that begins one session, within a minute."""
        code = secrets.token_urlsafe(24)
        now = self._clock()
        self._codes = {one: until for one, until in self._codes.items() if until > now}
        self._codes[digest_of(code)] = now + _CODE_FOR_S
        return code

    def begin(self, *, peer: str, token: str | None, code: str | None) -> str:
        """Begin a session with a token or a code, and return its secret.

        Raises:
            Problem: ``bad_token``, or ``too_many_tries``.
        """
        who = self._by_code(code, peer) if code is not None else self.by_token(token or "", peer)
        secret = secrets.token_urlsafe(_TOKEN_BYTES)
        now = self._clock()
        while len(self._sessions) >= _MAX_SESSIONS:
            del self._sessions[min(self._sessions, key=lambda one: self._sessions[one].used)]
        self._sessions[digest_of(secret)] = _Session(who.name, who.role, now, now)
        return secret

    def by_session(self, secret: str) -> Who:
        """Return whose session it is.

        Raises:
            Problem: ``session_ended``.
        """
        session = self._sessions.get(digest_of(secret))
        now = self._clock()
        if session is not None and (
            now - session.began > _SESSION_FOR_S or now - session.used > _IDLE_FOR_S
        ):
            del self._sessions[digest_of(secret)]
            session = None
        if session is None:
            raise Problem("session_ended", "the session has ended, or the host was restarted")
        session.used = now
        return Who(session.name, session.role, "tcp")

    def end(self, secret: str) -> None:
        """End a session."""
        self._sessions.pop(digest_of(secret), None)

    def _by_code(self, code: str, peer: str) -> Who:
        until = self._codes.pop(digest_of(code), 0.0)
        if until <= self._clock():
            self._check_tries(peer)
            self._failed(peer)
            raise Problem(
                "bad_token",
                "the code has been used, or is older than a minute",
                next="print a new address with: vconnect dashboard; or use the host's token",
            )
        return Who("the printed address", "operate", "tcp")

    def _check_tries(self, peer: str) -> None:
        failures = self._failures.get(peer)
        now = self._clock()
        while failures and now - failures[0] > _FAILURE_S:
            failures.popleft()
        if failures and len(failures) >= _MAX_FAILURES:
            wait = max(1, round(_FAILURE_S - (now - failures[0])))
            raise Problem(
                "too_many_tries",
                f"{len(failures)} wrong tokens within a minute",
                headers={"Retry-After": str(wait)},
            )

    def _failed(self, peer: str) -> None:
        if len(self._failures) >= _MAX_PEERS and peer not in self._failures:
            del self._failures[next(iter(self._failures))]
        self._failures.setdefault(peer, deque(maxlen=_MAX_FAILURES)).append(self._clock())
