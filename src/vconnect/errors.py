"""Every exception that vconnect raises on purpose.

The tree is sorted by who made the mistake, so that a caller can catch by that:

    VConnectError
    ├── ConfigError                 the operator's settings
    │   └── ConfigRefusedError      … or what a plugin does not accept of them
    ├── ManifestError               a package's plugin.json
    ├── InstallError                a package, its source, or the disk that it is written to
    │   ├── ConflictError           … or what is installed already, or is being done
    │   ├── ConsentRequiredError    … or permissions that nobody has granted
    │   └── VerificationError       … or a package that is not the one that was meant
    ├── SignatureError              a key or a signature, or what it was made for
    ├── SocketError                 the host's own socket, directory or lock
    ├── StateError                  the host's state file
    ├── IllegalTransitionError      a bug of ours: a state change that the table does not allow
    ├── NotOpenError                a call on a manager that is not open
    ├── PayloadError                a payload that cannot be sent: not JSON, or too large
    ├── RemoteProtocolError         a peer violated the protocol
    │   └── HandshakeError          … in its first frame
    ├── HostUnreachableError        no host answers at the administration socket
    ├── AdminError                  the host responded to an administration request with an error
    ├── HostCallError               a plugin's call to its host failed
    └── PluginError                 one plugin, which is named
        ├── UnknownPluginError      there is no such plugin
        ├── PluginStartError        its process did not start or complete its handshake
        ├── PluginReplyError        it answered with an error
        ├── PluginTimeoutError      it did not answer before the deadline
        ├── PluginUnavailableError  it is not connected, or its connection ended during the call
        │   ├── PluginStuckError    … because it had stopped answering
        │   └── NotAskedError       the event was not even sent to it
        └── PluginOverloadedError   its queue is full

Messages are lower case and say what was found, what is allowed and what to do.
"""

from __future__ import annotations

import re


class VConnectError(Exception):
    """The base class of all exceptions that vconnect raises on purpose.

    Attributes:
        code: What programs know it by: ``config_error`` for a `ConfigError`, unless it has another.
    """

    code: str = "failed"

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        # What is derived from those has the code of its base, or one of its own.
        if cls.__base__ is VConnectError and "code" not in vars(cls):
            cls.code = re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()


class ConfigError(VConnectError):
    """A setting is invalid. The text names the file or option, the key and what was expected."""


class ConfigRefusedError(ConfigError):
    """A plugin's configuration is not what its schema allows, or the plugin refuses it."""

    code = "config_refused"


class ManifestError(VConnectError):
    """A ``plugin.json`` is missing or invalid. The text names the file and the field."""


class InstallError(VConnectError):
    """A package could not be installed. Nothing of it was left behind."""


class ConflictError(InstallError):
    """What was asked for does not go together with what there is. Nothing was changed."""

    code = "conflict"


class ConsentRequiredError(InstallError):
    """A package asks for permissions that nobody has granted. Nothing of it was kept.

    Args:
        message: The text.
        permissions: Those that it asks for.
    """

    code = "consent_required"

    def __init__(self, message: str, permissions: tuple[str, ...]) -> None:
        super().__init__(message)
        self.permissions = permissions


class VerificationError(InstallError):
    """A package is not the one that was meant. Nothing of it was unpacked, or it was removed."""

    code = "not_verified"


class SignatureError(VConnectError):
    """A key or a signature is invalid, or the signature is not of this file."""


class SocketError(VConnectError):
    """The host's socket, its directory or its lock cannot be acquired."""


class StateError(VConnectError):
    """The host's state file has a newer format. It was left unchanged."""


class IllegalTransitionError(VConnectError):
    """A plugin's state was to be changed along an edge that the transition table does not have."""


class NotOpenError(VConnectError, RuntimeError):
    """A call on a manager that has not been opened, or has been closed."""


class PayloadError(VConnectError, ValueError):
    """A payload cannot be sent: it is not JSON, or larger than a frame may be."""


class RemoteProtocolError(VConnectError):
    """A peer sent bytes that the protocol does not allow.

    Attributes:
        code: A code of the protocol: ``empty_frame``, ``frame_too_large``, ``bad_json``,
            ``incomplete``, ``not_an_object``, ``bad_answer``, ``bad_reply``.
        head: The first bytes of a payload that is not JSON, which may tell what it is.
    """

    def __init__(self, code: str, message: str, head: bytes = b"") -> None:
        super().__init__(message)
        self.code = code
        self.head = head


class HandshakeError(RemoteProtocolError):
    """A peer's first frame was refused.

    Attributes:
        code: ``nameless``, ``bad_name``, ``bad_handshake``, ``version_mismatch``,
            ``handshake_timeout``, ``stranger``, ``name_taken``, ``stopping``, ``disabled``,
            ``bad_config`` or ``overloaded``.
    """


class HostUnreachableError(VConnectError):
    """No host answers at the administration socket, or the connection was lost."""


class AdminError(VConnectError):
    """The host refused an administration request, or could not carry it out.

    Attributes:
        status: The HTTP status.
        code: The code of the problem (``docs/administration.md``, "Errors").
        detail: What was found and what was expected.
        next: The step to take; empty if the host names none.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        next: str = "",  # noqa: A002 - the name of the problem's member
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.next = next


class HostCallError(VConnectError):
    """A plugin's call to its host was answered with an error, or could not be sent.

    A function that an application registers raises it to choose the reply's error code.

    Attributes:
        code: A code of the protocol (``docs/wire.md``, "Error codes").
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = str(code)  # an application may have numbers


class PluginError(VConnectError):
    """An operation on one plugin failed.

    Attributes:
        plugin: The plugin's canonical name.
        message: The text without the plugin's name.
        code: A code of the protocol (``docs/wire.md``, "Error codes").
    """

    code = "internal"

    def __init__(self, plugin: str, message: str, code: str | None = None) -> None:
        super().__init__(f"{plugin}: {message}")
        self.plugin = plugin
        self.message = message
        if code is not None:
            self.code = code

    def explain(self, words: str) -> None:
        """Add words to the message; called where more is known than where it was raised."""
        if words not in self.message:  # several calls may fail with one error
            self.message = f"{self.message} ({words})"
            self.args = (f"{self.plugin}: {self.message}",)


class UnknownPluginError(PluginError):
    """There is no plugin with this name.

    Attributes:
        did_you_mean: A name that is nearly the same; ``None`` if there is none.
    """

    code = "unknown_plugin"

    def __init__(self, plugin: str, message: str, did_you_mean: str | None = None) -> None:
        super().__init__(plugin, message)
        self.did_you_mean = did_you_mean


class PluginStartError(PluginError):
    """The plugin's process did not start, or did not complete its handshake.

    Attributes:
        is_transient: Whether a later attempt may succeed: the machine was short of a resource, or a
            required plugin is not up yet.
        is_momentary: Whether that may be within milliseconds: its program is still being written.
    """

    code = "start_failed"

    def __init__(
        self,
        plugin: str,
        message: str,
        *,
        is_transient: bool = False,
        is_momentary: bool = False,
    ) -> None:
        super().__init__(plugin, message)
        self.is_transient = is_transient or is_momentary
        self.is_momentary = is_momentary


class PluginReplyError(PluginError):
    """The plugin answered with an error."""


class PluginTimeoutError(PluginError, TimeoutError):
    """The plugin did not answer before the deadline; a late answer is dropped."""

    code = "deadline_exceeded"


class PluginUnavailableError(PluginError):
    """The plugin is not connected, or its connection ended during the call."""

    code = "unavailable"


class PluginStuckError(PluginUnavailableError):
    """The plugin had stopped answering, so its connection was closed."""


class NotAskedError(PluginUnavailableError):
    """The event was not sent to the plugin, which says nothing new about the plugin.

    Attributes:
        reason: Why, in one word; see `vconnect.plugins.passed_over.Reason`.
    """

    def __init__(
        self, plugin: str, message: str, code: str | None = None, *, reason: str = "failed"
    ) -> None:
        super().__init__(plugin, message, code)
        self.reason = reason


class PluginOverloadedError(PluginError):
    """The plugin's queue of waiting events is full."""

    code = "overloaded"
