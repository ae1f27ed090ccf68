"""Credentials for private servers: a token in a variable, or a login in the netrc file."""

# They are for the server that the operator named, and for no other. Where they could be read on the
# way they are not sent: only HTTPS and this machine will do. Their values are in no message, and a
# parser's own errors are not repeated, because they quote what they could not read.

from __future__ import annotations

import errno
import logging
import os
import re
import stat
from base64 import b64encode
from collections.abc import Mapping
from netrc import NetrcParseError, netrc
from pathlib import Path

import msgspec
from yarl import URL

from vconnect.durable import open_regular
from vconnect.errors import ConfigError
from vconnect.packages.source import is_loopback
from vconnect.settings.paths import expand_home

_PREFIX = "VCONNECT_TOKEN_"
_DEFAULT_PORTS = {"http": 80, "https": 443}
_ODD = re.compile(r"[^A-Z0-9_]")
# What a header may contain without being taken for another one, or for another encoding.
_TOKEN = re.compile(r"[\x21-\x7e]+")
# Far more than any such file has.
_LARGEST = 1 << 20
# Files of which it was told why they are not used.
_told: set[str] = set()

_log = logging.getLogger(__name__)


class Credentials(msgspec.Struct, frozen=True):
    """What one server is sent so that it lets us in.

    Attributes:
        headers: The headers.
        secrets: What must be in no message.
        advice: What to do if the server refuses all the same.
    """

    headers: dict[str, str] = {}
    secrets: tuple[str, ...] = ()
    advice: str = ""

    def __repr__(self) -> str:
        return f"Credentials(advice={self.advice!r})"  # an exception's frames may show it


#: For every other server.
NONE = Credentials()


def find_credentials(url: URL, environ: Mapping[str, str] = os.environ) -> Credentials:
    """Return the credentials for the server of a URL. Blocks.

    They are those in the URL itself, the token of the server's variable, or its login in the netrc
    file, whichever is there first.

    Raises:
        ValueError: There are some that cannot be sent; the text says which.
    """
    if url.user is not None or url.password is not None:
        secrets = tuple(filter(None, (url.password, url.raw_password)))
        return Credentials({}, secrets, "check the user and the password in the address")
    variable = variable_of(url)
    if url.scheme != "https" and not is_loopback(url.host or ""):
        advice = "it was sent no credentials, because without https anybody could read them"
        return Credentials(advice=advice)
    if token := environ.get(variable, "").strip():
        return _with_token(token, variable)
    login, found = _find_login(url.host or "", environ)
    if login is not None:
        return _with_login(*login, found)
    return Credentials(
        advice=f"it was sent no credentials: {variable} is not set, and {found}; to give a token, "
        f"set {variable} in the environment of the host"
    )


def variable_of(url: URL) -> str:
    """Return the variable with the token of a URL's server.

    >>> variable_of(URL("https://plugins.my-site.example/a.vp"))
    'VCONNECT_TOKEN_PLUGINS_MY_SITE_EXAMPLE'
    >>> variable_of(URL("http://localhost:8080/a.vp"))
    'VCONNECT_TOKEN_LOCALHOST_8080'
    """
    host = _ODD.sub("_", (url.raw_host or "").rstrip(".").upper())
    port = "" if url.port == _DEFAULT_PORTS.get(url.scheme) else f"_{url.port}"
    return f"{_PREFIX}{host}{port}"


def _with_token(token: str, variable: str) -> Credentials:
    if not _TOKEN.fullmatch(token):
        raise ValueError(
            f"the token in {variable} cannot be sent: it contains blanks, line breaks, or "
            "characters that are not ASCII; set it to the token alone"
        )
    return Credentials(
        {"Authorization": f"Bearer {token}"},
        (token,),
        f"check the token in {variable}, which it was sent",
    )


def _with_login(login: str, password: str, file: str) -> Credentials:
    encoded = b64encode(f"{login}:{password}".encode()).decode()
    return Credentials(
        {"Authorization": f"Basic {encoded}"},
        tuple(filter(None, (password, encoded))),
        f"check the login of {login!r} in {file}, which it was sent",
    )


def _find_login(host: str, environ: Mapping[str, str]) -> tuple[tuple[str, str] | None, str]:
    """Find a host's login.

    Returns:
        The login and the password, and the file that they are from; or ``None`` and why there are
        none, in words.
    """
    named = environ.get("NETRC", "")
    try:
        path = expand_home(named or "~/.netrc")
        entries = _read(path)
    except FileNotFoundError:
        return None, f"{path} does not exist"
    except ConfigError:
        return None, "there is no home directory with a netrc file"
    except (OSError, UnicodeError, NetrcParseError) as error:
        why = _why_not_used(error)
        _tell(named or "~/.netrc", why)
        return None, f"{named or '~/.netrc'} is not used: {why}"
    # No "default" entry: it would send a password to every server that is asked for a package.
    found = entries.get(host.lower())
    if found is None:
        return None, f"{path} has no login for {host}"
    return found, str(path)


def _read(path: Path) -> dict[str, tuple[str, str]]:
    """Read the logins by host, from a file that nobody else can read or change."""
    with open_regular(path) as file:
        status = os.fstat(file.fileno())
        if status.st_uid != os.geteuid():
            why = f"it belongs to user {status.st_uid}, and this is user {os.geteuid()}"
            raise PermissionError(errno.EPERM, why)
        mode = stat.S_IMODE(status.st_mode)
        if mode & 0o077:
            why = f"others may read or change it (mode {mode:04o}); use: chmod 600 {path}"
            raise PermissionError(errno.EPERM, why)
        if status.st_size > _LARGEST:
            raise OSError(errno.EFBIG, f"it has {status.st_size} bytes, and {_LARGEST} are allowed")
        # What was checked is what is read, whatever the path leads to by now.
        parsed = netrc(f"/dev/fd/{file.fileno()}")
    parsed.hosts.pop("default", None)
    return {
        name.lower(): (login or "", password or "")
        for name, (login, _, password) in parsed.hosts.items()
    }


def _why_not_used(error: Exception) -> str:
    if isinstance(error, NetrcParseError):
        return f"line {error.lineno} cannot be understood"
    if isinstance(error, UnicodeError):
        return "it is not UTF-8"
    return getattr(error, "strerror", None) or str(error)


def _tell(path: str, why: str) -> None:
    """Log why a file is not used, once in the life of this process."""
    if path not in _told:
        _told.add(path)
        _log.warning("%s is not used for downloads: %s", path, why)
