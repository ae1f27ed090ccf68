"""What commands print as JSON that is no answer of the host."""

from __future__ import annotations

import msgspec


class ErrorWords(msgspec.Struct, frozen=True, kw_only=True):
    """An error.

    Attributes:
        code: A word for programs, such as ``unknown_plugin``.
        message: What is wrong, in words.
        next: The step to take; empty if there is none.
        status: The status of HTTP; ``None`` if the error is not the host's.
    """

    code: str
    message: str
    next: str = ""
    status: int | None = None


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """What a command prints instead, if it fails.

    Attributes:
        error: The error.
    """

    error: ErrorWords


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """A plugin, of several, with which an order has failed.

    Attributes:
        name: The plugin.
        error: Why.
    """

    name: str
    error: ErrorWords


class LostLines(msgspec.Struct, frozen=True, kw_only=True):
    """A gap in the log of a plugin.

    Attributes:
        plugin: The plugin.
        dropped: How many lines were discarded before they could be shown.
    """

    plugin: str
    dropped: int


class LostEvents(msgspec.Struct, frozen=True, kw_only=True):
    """A gap between events.

    Attributes:
        dropped: How many were too many to show; ``None`` if that is not known.
    """

    dropped: int | None


class SampledEvents(msgspec.Struct, frozen=True, kw_only=True):
    """What is shown is a sample.

    Attributes:
        sampled: How many events plugins got in the last second.
    """

    sampled: int


class LoginUrl(msgspec.Struct, frozen=True, kw_only=True):
    """An address of the dashboard.

    Attributes:
        url: The address, which logs in once.
    """

    url: str


class KeyPair(msgspec.Struct, frozen=True, kw_only=True):
    """A pair of keys that was made.

    Attributes:
        id: Its number, 16 hex digits.
        secret: The file of the secret key.
        public: The file of the public key.
        key: The public key itself.
    """

    id: str
    secret: str
    public: str
    key: str


class Signed(msgspec.Struct, frozen=True, kw_only=True):
    """A file that was signed.

    Attributes:
        file: The file.
        signature: The file with its signature.
        key: The number of the key.
        trusted_comment: What the signature vouches for besides the file.
    """

    file: str
    signature: str
    key: str
    trusted_comment: str


class SignedFiles(msgspec.Struct, frozen=True, kw_only=True):
    """What was signed.

    Attributes:
        signed: The files.
    """

    signed: list[Signed]


class Created(msgspec.Struct, frozen=True, kw_only=True):
    """A project that was created.

    Attributes:
        name: The plugin's canonical name.
        directory: The project's directory.
        files: The files that were written.
    """

    name: str
    directory: str
    files: list[str]


class IndexFault(msgspec.Struct, frozen=True, kw_only=True):
    """Why an index was not written.

    Attributes:
        place: Where it is: a package, or a key in it.
        message: What is wrong.
    """

    place: str
    message: str
