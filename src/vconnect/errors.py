"""Every exception that vconnect raises on purpose.

The tree tells who made the mistake, so that a caller can catch by blame:

    VConnectError
    ├── ConfigError                 the operator's settings
    ├── ManifestError               a package's plugin.json
    ├── InstallError                a package, its source, or the disk it goes to
    ├── SocketError                 the host's own socket, directory or lock
    ├── StateError                  the file that a host remembers things in
    ├── IllegalTransitionError      a bug of ours: a state change that the table forbids
    ├── PayloadError                a payload that cannot be sent: not JSON, or too large
    ├── RemoteProtocolError         a peer broke the wire
    │   └── HandshakeError          … in its first frame
    ├── HostUnreachableError        no host answers at the administration socket
    ├── AdminError                  the host answered an administration request with an error
    ├── HostCallError               a plugin's call to its host failed
    └── PluginError                 one plugin, named
        ├── UnknownPluginError      no such plugin
        ├── PluginStartError        its process would not start or not shake hands
        ├── PluginReplyError        it answered with an error
        ├── PluginTimeoutError      it did not answer before the deadline
        ├── PluginUnavailableError  it is not connected, or went away with the call in flight
        │   └── PluginStuckError    … because it had stopped answering
        └── PluginOverloadedError   its queue is full

Messages are lower case and say what was got, what was allowed and what to do.
"""

from __future__ import annotations


class VConnectError(Exception):
    """Root of everything that vconnect raises on purpose."""


class ConfigError(VConnectError):
    """A setting is wrong; the message names the file or option, the key and what was expected."""


class ManifestError(VConnectError):
    """A ``plugin.json`` is missing or wrong; the message names the file and the field."""


class InstallError(VConnectError):
    """A package could not be installed; nothing of it was left behind."""


class SocketError(VConnectError):
    """The host's socket, its directory or its lock cannot be had."""


class StateError(VConnectError):
    """The host's state file is of a newer version; it was left as it is."""


class IllegalTransitionError(VConnectError):
    """A plugin was moved along an edge that the transition table does not hold."""


class PayloadError(VConnectError, ValueError):
    """A payload of the caller's cannot be sent: it is not JSON, or larger than a frame may be."""


class RemoteProtocolError(VConnectError):
    """A peer sent bytes that the wire does not allow.

    Attributes:
        code: One word of the wire's vocabulary: ``empty_frame``, ``frame_too_large``,
            ``bad_json``, ``incomplete``, ``not_an_object``, ``bad_reply``.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class HandshakeError(RemoteProtocolError):
    """A peer's first frame was refused.

    Attributes:
        code: ``nameless``, ``bad_name``, ``bad_handshake``, ``version_mismatch``,
            ``handshake_timeout``, ``stranger``, ``name_taken``, ``stopping``, ``disabled`` or
            ``bad_config``.
    """


class HostUnreachableError(VConnectError):
    """No host answers at the administration socket, or it went away before it answered."""


class AdminError(VConnectError):
    """The host refused an administration request, or could not do what it asked.

    Attributes:
        status: The HTTP status.
        code: The word of the answer's ``error.code`` (``docs/administration.md``, "Errors").
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class HostCallError(VConnectError):
    """A plugin's call to its host was answered with an error, or could not be made.

    A function that an application registers raises it to choose the code of the reply.

    Attributes:
        code: A code of the wire's vocabulary (``docs/wire.md``, "Error codes").
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class PluginError(VConnectError):
    """Something went wrong with one plugin.

    Attributes:
        plugin: The plugin's canonical name.
        code: A code of the wire's vocabulary (``docs/wire.md``, "Error codes").
    """

    code = "internal"

    def __init__(self, plugin: str, message: str, code: str | None = None) -> None:
        super().__init__(f"{plugin}: {message}")
        self.plugin = plugin
        self.message = message
        if code is not None:
            self.code = code


class UnknownPluginError(PluginError):
    """No plugin has this name."""

    code = "unknown_plugin"


class PluginStartError(PluginError):
    """The plugin's process did not start, or did not complete its handshake.

    Attributes:
        is_transient: Whether a later attempt may succeed: the machine was short of something, or
            a required plugin is not up yet.
    """

    code = "unavailable"

    def __init__(self, plugin: str, message: str, *, is_transient: bool = False) -> None:
        super().__init__(plugin, message)
        self.is_transient = is_transient


class PluginReplyError(PluginError):
    """The plugin answered, and the answer is an error."""


class PluginTimeoutError(PluginError, TimeoutError):
    """The plugin did not answer before the deadline; a late answer is dropped."""

    code = "deadline_exceeded"


class PluginUnavailableError(PluginError):
    """The plugin is not connected, or its connection ended with the call in flight."""

    code = "unavailable"


class PluginStuckError(PluginUnavailableError):
    """The plugin had stopped answering, and its connection was given up."""


class PluginOverloadedError(PluginError):
    """The plugin's queue of waiting events is full."""

    code = "overloaded"
