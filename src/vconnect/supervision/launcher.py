"""Starts a plugin's process: what to run, and in which environment."""

# The idea: a start either succeeds completely or leaves nothing behind. Directories, secrets and
# the cgroup are created in order and registered for removal; the same list is what is removed when
# the process has ended.
#
# What a plugin may do without (private directories on a full disk, a cgroup on a machine that has
# none) is a warning. What the operator has asked for (limits, a sandbox, secrets) is an error:
# there is no start with less than that.

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from weakref import WeakKeyDictionary

import msgspec

from vconnect.environments.keeper import Environment, Keeper
from vconnect.errors import ConfigError, InstallError, ManifestError, PluginStartError
from vconnect.names import (
    HOST_PID_VARIABLE,
    INTERFACE_VARIABLE,
    NAME_RULE,
    PACKAGE_DIR_VARIABLE,
    PLUGIN_NAME_VARIABLE,
    may_be_named,
)
from vconnect.packages.command import dev_command, host_arguments, production_command
from vconnect.packages.fitness import agree, problem_of_interfaces
from vconnect.packages.manifest import MANIFEST_NAME, Manifest, read_manifest_if_any
from vconnect.plugins.registry import Registry
from vconnect.plugins.restarts import Ended
from vconnect.plugins.runtime import PluginRuntime
from vconnect.plugins.state_file import HostState
from vconnect.plugins.status import PluginStatus, Substate
from vconnect.processes.bubblewrap import Bubblewrap, View
from vconnect.processes.cgroup import Cgroup
from vconnect.processes.cgroup_tree import CgroupTree
from vconnect.processes.directories import (
    DATA_VARIABLE,
    PrivateDirectory,
    data_directory,
    digest_secrets,
)
from vconnect.processes.environment import plugin_environment
from vconnect.processes.landlock import VARIABLES, find_obstacle, landlock_for
from vconnect.processes.process import LaunchSpec, PluginProcess, is_shortage, start_error
from vconnect.processes.seccomp import obstacle_to_filter
from vconnect.safe_paths import find_danger
from vconnect.settings.limits import ResourceLimits
from vconnect.settings.model import PluginPolicy
from vconnect.settings.parts import LaunchSettings
from vconnect.store.layout import InstalledVersion
from vconnect.store.listing import Located, granted_to
from vconnect.store.releases import Releases
from vconnect.threads import in_thread
from vconnect.trust.keyring import Keyring

from .config_checks import ConfigChecks
from .endings import failed_start
from .instance import Instance
from .verdict import Verdict

_log = logging.getLogger(__name__)


class Launcher:
    """Starts processes for all supervisors of a host.

    Args:
        settings: Arguments, environment, confinement.
        registry: Knows the plugins that a plugin requires.
        state: Records each process, in case this host is killed.
        cgroups: Provides a cgroup for each process, if there are any.
        releases: Knows the installed versions.
        environments: Knows the environments of plugins with dependencies.
    """

    def __init__(
        self,
        settings: LaunchSettings,
        registry: Registry,
        state: HostState,
        cgroups: CgroupTree,
        releases: Releases,
        environments: Keeper,
    ) -> None:
        self._environments = environments
        self._settings = settings
        self._registry = registry
        self._socket_path = settings.socket_path
        self._state = state
        self._cgroups = cgroups
        self._releases = releases
        self._bubblewrap = Bubblewrap()
        self._configs = ConfigChecks()
        # Why a plugin's files could not be carried, until `begin` has reported it.
        self._uncarried: dict[str, OSError] = {}
        # What tells the secrets that a process was given from others.
        self._secrets: WeakKeyDictionary[PluginProcess, bytes] = WeakKeyDictionary()
        # What failed starts have left, being removed.
        self._removals: set[asyncio.Task[None]] = set()

    def is_prepared(self, plugin: PluginRuntime) -> bool:
        """Return whether `begin` can be called now; otherwise call `prepare` first."""
        if plugin.policy.sandbox == "bwrap" and not self._bubblewrap.is_probed:
            return False
        if not self._configs.is_prepared(plugin):
            return False
        if not self._has_environments(plugin):
            return False
        return plugin.name in self._uncarried or not self._must_carry(plugin)

    async def prepare(self, plugin: PluginRuntime) -> None:
        """Do what `begin` needs and what would block the event loop for too long."""
        if plugin.policy.sandbox == "bwrap" and not self._bubblewrap.is_probed:
            await self._bubblewrap.probe()
        if not self._configs.is_prepared(plugin):
            await self._configs.prepare(plugin)
        await self._prepare_environments(plugin)
        if self._must_carry(plugin):
            assert plugin.home is not None, "an external plugin is never launched"
            try:
                await self._releases.carry(plugin.name, plugin.home)
            except OSError as error:
                self._uncarried[plugin.name] = error

    def _has_environments(self, plugin: PluginRuntime) -> bool:
        """Return whether what may be started next has its environment, if it needs one."""
        if plugin.dev and plugin.home is not None:
            return self._environments.is_source_ready(plugin.name, plugin.home)
        versions = filter(None, (plugin.current_version, plugin.next_version))
        return all(self._environments.is_ready(one.directory, one.package) for one in versions)

    async def _prepare_environments(self, plugin: PluginRuntime) -> None:
        if plugin.dev and plugin.home is not None:
            await self._environments.prepare_source(plugin.name, plugin.home)
            return
        for one in filter(None, (plugin.current_version, plugin.next_version)):
            await self._environments.prepare(plugin.name, one.directory, one.package)

    def _environment_of(self, plugin: PluginRuntime, located: Located) -> Environment | None:
        """Return the environment of what is started.

        Raises:
            PluginStartError: It cannot be used, and could not be made.
        """
        try:
            if plugin.dev:
                return self._environments.of_source(plugin.name, located.path)
            version = located.version
            return self._environments.of(version.directory) if version is not None else None
        except InstallError as error:
            raise PluginStartError(plugin.name, str(error)) from None

    def _must_carry(self, plugin: PluginRuntime) -> bool:
        """Return whether the plugin has files in what was its working directory until now."""
        if plugin.dev or plugin.home is None:
            return False
        return self._releases.must_carry(plugin.home)

    def begin(
        self,
        plugin: PluginRuntime,
        wake: asyncio.Event,
        located: Located | None = None,
        trial: InstalledVersion | None = None,
    ) -> Instance | Verdict:
        """Start a generation of a plugin. Blocks for about a millisecond.

        Args:
            plugin: The plugin, with its generation already counted.
            wake: Set when the process exits.
            located: What `look` has just found; by default it is looked up here.
            trial: The version to start, if it is not the current one.

        Returns:
            The instance, or the verdict if it could not be started.
        """
        # An uninstalled plugin's supervisor may still have an order, and the name may be reused.
        if self._registry.exact(plugin.name) is not plugin:
            return Verdict(PluginStatus.ERROR, Substate.SPAWN_FAILED, "it is no longer installed")
        try:
            located = self._locate(plugin, located, trial)
            manifest = self._read_manifest(plugin, located)
            began = time.monotonic()
            process = self._launch(plugin, located, manifest)
            plugin.spawn_s = time.monotonic() - began
        except ManifestError as error:
            if is_shortage(error):
                return failed_start(Substate.SPAWN_FAILED, str(error), Ended.TRANSIENT)
            return failed_start(Substate.BAD_MANIFEST, str(error), Ended.PERMANENT)
        except ConfigError as error:
            return failed_start(Substate.BAD_CONFIG, str(error), Ended.PERMANENT)
        except PluginStartError as error:
            return failed_start(Substate.SPAWN_FAILED, error.message, _kind(error))
        process.exited.add_done_callback(lambda _: wake.set())
        instance = Instance(plugin.generation, process, located.path, manifest, trial)
        instance.interface = self._interface(manifest)
        # A plugin that runs from source may have to be compiled first.
        timeout = self._settings.handshake_timeout
        instance.expect(self._settings.dev_handshake_timeout if plugin.dev else timeout)
        return instance

    def why_not_yet(self, plugin: PluginRuntime, located: Located) -> str:
        """Return which plugin that is required is not there; empty if a start may succeed."""
        try:
            manifest = read_manifest_if_any(located.path / MANIFEST_NAME)
            self._registry.check_requirements(plugin, manifest)
        except PluginStartError as error:
            return error.message if error.is_transient else ""
        except ManifestError:
            return ""  # the start says so
        return ""

    def adopt(self, plugin: PluginRuntime, instance: Instance) -> None:
        """Show a plugin as the version that one of its instances runs: names, order, directory."""
        # While a successor gets ready, the plugin is still what the serving process is.
        is_known = (plugin.path, plugin.manifest) == (instance.package, instance.manifest)
        if instance.process is not None and not is_known:
            plugin.crashes.release()  # this version may handle what the other one could not
            self._registry.learn(plugin, instance.manifest, instance.package)

    def has_old_secrets(self, plugin: PluginRuntime, files: Mapping[str, str]) -> bool:
        """Return whether a plugin runs with other secrets than some files have now. Blocks.

        Args:
            plugin: The plugin.
            files: The files by the names of the secrets.

        Raises:
            OSError: One of them cannot be read.
        """
        if plugin.process is None or not files:
            return False
        return self._secrets.get(plugin.process) != digest_secrets(files)

    def look(self, plugin: PluginRuntime) -> Located | None:
        """Find out what is installed now: others change it too. Blocks for a few small reads.

        What is found is also set in the plugin, see `PluginRuntime.located`.

        Returns:
            The current version; ``None`` if it cannot be used, which `begin` will report.
        """
        try:
            return self._current(plugin)
        except PluginStartError:
            return None

    def _current(self, plugin: PluginRuntime) -> Located:
        """Resolve the current version, and set it and the next one in the plugin.

        Raises:
            PluginStartError: The current version cannot be used.
        """
        assert plugin.home is not None, "an external plugin is never launched"
        if plugin.dev:
            return Located(plugin.home, None)
        try:
            located = self._releases.locate(plugin.home)
            waiting = self._releases.next_version(located)
        except InstallError as error:
            raise PluginStartError(plugin.name, str(error)) from None
        plugin.located(located.path, located.version, waiting)
        return located

    def _locate(
        self, plugin: PluginRuntime, found: Located | None, version: InstalledVersion | None
    ) -> Located:
        """Resolve the version to start, once: everything of this start comes from one directory."""
        assert plugin.home is not None, "an external plugin is never launched"
        if plugin.conflict:
            raise ManifestError(f"{plugin.home}: {plugin.conflict}")
        if error := self._uncarried.pop(plugin.name, None):
            problem = f"cannot carry its files to its data directory: {error.strerror}"
            raise start_error(plugin.name, problem, error)
        if not plugin.dev and not may_be_named(plugin.name):
            raise ManifestError(f"{plugin.home}: is not a valid plugin name; expected {NAME_RULE}")
        if version is not None:
            return Located(version.package, version)
        return found or self._current(plugin)

    def _read_manifest(self, plugin: PluginRuntime, located: Located) -> Manifest | None:
        """Read the manifest again: the package may have been replaced, or its author edited it."""
        self._check_signer(plugin, located.version)
        file = located.path / MANIFEST_NAME
        manifest = read_manifest_if_any(file)
        if manifest is not None:
            manifest = granted_to(manifest, located.version)
        self._check_interfaces(plugin, manifest)
        self._registry.check_order(plugin, manifest)
        self._registry.check_requirements(plugin, manifest)
        self._configs.check(plugin, manifest, file)
        return manifest

    def _check_interfaces(self, plugin: PluginRuntime, manifest: Manifest | None) -> None:
        """Refuse a plugin that is written for other events than those of this host."""
        wanted = manifest.interfaces if manifest is not None else ()
        if problem := problem_of_interfaces(
            self._settings.interfaces, wanted, is_required=self._settings.require_interface
        ):
            raise PluginStartError(plugin.name, problem)

    def _interface(self, manifest: Manifest | None) -> str:
        """Return which interface a plugin and this host have agreed on; of several, each."""
        wanted = manifest.interfaces if manifest is not None else ()
        return " ".join(agree(self._settings.interfaces, wanted))

    def _check_signer(self, plugin: PluginRuntime, version: InstalledVersion | None) -> None:
        """Say so, or refuse, if the key that has signed a version was revoked."""
        if version is None or not version.signer or not self._settings.trust_file:
            return
        try:
            problem = Keyring(Path(self._settings.trust_file)).problem_of(version.signer)
        except ConfigError as error:
            _log.warning("plugin %s: its signer cannot be looked up: %s", plugin.name, error)
            return
        if not problem:
            return
        words = f"its version {version.version} is signed by {problem}"
        if self._settings.on_revoked == "hold":
            raise PluginStartError(plugin.name, f"{words}; it is held (on_revoked)")
        _log.warning("plugin %s: %s; it serves on (on_revoked)", plugin.name, words)

    def _launch(
        self, plugin: PluginRuntime, located: Located, manifest: Manifest | None
    ) -> PluginProcess:
        # Whatever has been created is removed if the start fails, and otherwise when the process
        # has ended.
        leftovers = ExitStack()
        try:
            private = self._make_private(plugin, leftovers)
            spec = self._spec(plugin, located, manifest, private)
            if located.version is not None:
                held = self._hold(plugin, located.version)
                leftovers.callback(os.close, held)
                spec = msgspec.structs.replace(spec, held=held)
            cgroup = self._make_cgroup(plugin)
            if cgroup is not None:
                leftovers.callback(cgroup.end)
                spec = msgspec.structs.replace(spec, cgroup=cgroup)
            process = PluginProcess.spawn(spec, plugin.log, leftovers)
        except BaseException:
            self._remove_later(leftovers)
            raise
        if private is not None:
            self._secrets[process] = private.secrets_digest
        # Recorded right after the spawn: a host that is killed in between leaves it unrecorded.
        self._state.started(plugin.name, process.pid, plugin.generation)
        plugin.log.note("info", f"generation {plugin.generation} has started (pid {process.pid})")
        # Only once the whole session is gone: until then the next host may have to end it.
        process.released.add_done_callback(lambda _: self._state.ended(process.pid))
        return process

    def _hold(self, plugin: PluginRuntime, version: InstalledVersion) -> int:
        """Keep the version's files for as long as a process of this start lives."""
        try:
            return self._releases.acquire(version)
        except OSError as error:
            problem = f"cannot use {version.directory}: {error.strerror}"
            raise start_error(plugin.name, problem, error) from None

    def _remove_later(self, leftovers: ExitStack) -> None:
        """Remove what a failed start has created, in a thread: a cgroup may take its time."""
        work = in_thread(None, leftovers.close)
        removal = asyncio.create_task(work, name="vconnect leftovers of a start")
        self._removals.add(removal)
        removal.add_done_callback(self._removals.discard)

    async def close(self) -> None:
        """Wait until nothing of failed starts is left."""
        await asyncio.gather(*self._removals)

    def _make_private(self, plugin: PluginRuntime, leftovers: ExitStack) -> PrivateDirectory | None:
        """Create the plugin's private directories; return ``None`` if that fails but is optional.

        A disk that is full or read-only must not keep a plugin from serving, unless it has secrets
        or a sandbox.
        """
        secrets = plugin.policy.secrets
        must_have = bool(secrets) or plugin.policy.sandbox in ("landlock", "bwrap")
        try:
            state = self._settings.state_directory
            private = PrivateDirectory(plugin.name, state, with_secrets=must_have)
        except OSError as error:
            _go_without("its private directories", plugin.name, error, must_have=must_have)
            return None
        leftovers.callback(private.remove)
        private.add_secrets(plugin.name, secrets)
        return private

    def _make_cgroup(self, plugin: PluginRuntime) -> Cgroup | None:
        """Create the cgroup of this start; return ``None`` if that fails but is optional."""
        limits = plugin.policy.tree_limits
        if problem := self._cgroups.problem_with(limits):
            raise PluginStartError(plugin.name, f"plugins.options.{plugin.name}.{problem}")
        try:
            return self._cgroups.make(plugin.name, plugin.generation, limits)
        except OSError as error:
            # Limits that the operator has set must hold, or the plugin must not run.
            must_have = bool(limits.controllers()) or self._settings.cgroup == "on"
            _go_without("its cgroup", plugin.name, error, must_have=must_have)
            return None

    def _spec(
        self,
        plugin: PluginRuntime,
        located: Located,
        manifest: Manifest | None,
        private: PrivateDirectory | None,
    ) -> LaunchSpec:
        settings = self._settings
        # Some limits do not exist on every system, which must not go unnoticed.
        limits = plugin.policy.limits
        if problem := limits.problem():
            raise PluginStartError(plugin.name, f"plugins.options.{plugin.name}.{problem}")
        environment = self._environment_of(plugin, located)
        if plugin.dev:
            command = dev_command(plugin.name, located.path)
            if environment is not None and command[0] == sys.executable:
                command[0] = str(environment.programs / "python")
            _log.info("starting dev plugin %s with %s", plugin.name, _shown(command))
        else:
            command = production_command(plugin.name, located.path, manifest)
            self._check_program(plugin, Path(command[0]))
        arguments = host_arguments(self._socket_path, settings.debug, settings.log_level)
        # After the operator's variables, which must not replace these.
        own = {
            HOST_PID_VARIABLE: str(os.getpid()),
            PLUGIN_NAME_VARIABLE: plugin.name,
            PACKAGE_DIR_VARIABLE: str(located.path),
        }
        if interface := self._interface(manifest):
            own[INTERFACE_VARIABLE] = interface
        directory = self._working_directory(plugin, located)
        if private is not None:
            own |= private.environment
        elif located.version is not None:
            own[DATA_VARIABLE] = str(directory)
        spec = LaunchSpec(
            plugin=plugin.name,
            argv=(*command, *arguments),
            directory=directory,
            limits=limits,
            environment=plugin_environment(
                os.environ,
                self._defaults(located) | settings.env | own,
                inherit=settings.inherit_env,
                dev=plugin.dev,
                programs=environment.programs if environment is not None else None,
            ),
        )
        readable = environment.readable if environment is not None else ()
        return self._confined(spec, plugin.policy, located.path, private, readable)

    def _check_program(self, plugin: PluginRuntime, program: Path) -> None:
        """Refuse a program that another user can replace. The host has checked ``plugin_dir``."""
        assert plugin.home is not None, "an external plugin is never launched"
        danger = find_danger(program, below=plugin.home.parent.absolute())
        if not danger:
            return
        if not self._settings.insecure_paths:
            raise PluginStartError(
                plugin.name,
                f"{danger}, who would decide what this host runs; take the right from them, or set "
                "insecure_paths = true (--insecure-paths)",
            )
        _log.warning("plugin %s is not safe: %s (insecure_paths)", plugin.name, danger)

    def _defaults(self, located: Located) -> dict[str, str]:
        """Return the variables that the operator may set otherwise."""
        if located.version is None:
            return {}
        # Or Python would write into the package, which it may if the host is root's.
        return {"PYTHONDONTWRITEBYTECODE": "1"}

    def _working_directory(self, plugin: PluginRuntime, located: Located) -> Path:
        """Return the data directory, for a version from the store; others work where they are."""
        if located.version is not None:
            data = data_directory(plugin.name, self._settings.state_directory)
            # It may be there although nothing can be created now, as on a full disk.
            if not data.is_dir():
                raise PluginStartError(
                    plugin.name,
                    f"it works in its data directory, but {data} does not exist and cannot be "
                    "created; set state_dir to a directory that the host can write",
                )
            return data
        if not plugin.dev and plugin.generation == 1:
            _log.info(
                "plugin %s works inside its package directory; its files are carried to its data "
                "directory at the first start after a package of it is installed",
                plugin.name,
            )
        return located.path

    def _confined(
        self,
        spec: LaunchSpec,
        policy: PluginPolicy,
        package: Path,
        private: PrivateDirectory | None,
        readable: tuple[Path, ...],
    ) -> LaunchSpec:
        """Apply the sandbox that the operator configured; if that is impossible, fail."""
        if policy.sandbox == "off":
            if policy.sandbox_seccomp:
                raise PluginStartError(
                    spec.plugin,
                    'sandbox_seccomp needs a sandbox: set sandbox to "nnp", "landlock" or "bwrap"',
                )
            return spec
        if sys.platform != "linux":
            raise PluginStartError(spec.plugin, f"sandbox = {policy.sandbox!r} requires Linux")
        if policy.sandbox_seccomp and (obstacle := obstacle_to_filter()):
            raise PluginStartError(spec.plugin, f"sandbox_seccomp: {obstacle}")
        spec = msgspec.structs.replace(spec, is_filtered=policy.sandbox_seccomp)
        if policy.sandbox == "nnp":
            return msgspec.structs.replace(spec, no_new_privs=True)
        assert private is not None, "a sandbox requires it, see `_make_private`"
        view = View(
            package=package,
            directory=spec.directory,
            socket=Path(self._socket_path),
            secrets=private.secrets,
            writable=(private.data, private.tmp),
            readable=(*readable, *map(Path, policy.sandbox_read)),
            network=policy.sandbox_network,
            is_filtered=policy.sandbox_seccomp,
        )
        # The user's home is not visible in the sandbox, and programs expect one.
        environment = spec.environment | {"HOME": str(private.data)}
        if policy.sandbox == "landlock":
            if obstacle := find_obstacle(view):
                raise PluginStartError(spec.plugin, f'sandbox = "landlock": {obstacle}')
            return msgspec.structs.replace(
                spec,
                no_new_privs=True,
                landlock=landlock_for(view),
                environment=VARIABLES | environment,
            )
        try:
            argv = self._bubblewrap.wrap(spec.plugin, spec.argv, view, spec.limits)
        except OSError as error:
            problem = f'sandbox = "bwrap": cannot test it: {error.strerror}'
            raise start_error(spec.plugin, problem, error) from None
        # Inside, the host's PID does not exist, so the SDK would take the host for dead. It is not
        # needed either: the kernel ends the sandbox when the host dies.
        environment.pop(HOST_PID_VARIABLE)
        # `prlimit` sets the limits inside, see `Bubblewrap.wrap`.
        return msgspec.structs.replace(
            spec,
            argv=argv,
            environment=environment,
            limits=ResourceLimits(),
            is_wrapped=True,
        )


def _kind(error: PluginStartError) -> Ended:
    if error.is_momentary:
        return Ended.MOMENTARY
    return Ended.TRANSIENT if error.is_transient or is_shortage(error) else Ended.PERMANENT


def _go_without(what: str, plugin: str, error: OSError, *, must_have: bool) -> None:
    """Let a plugin start without something that is optional for it.

    Raises:
        PluginStartError: It is not optional.
    """
    problem = f"{what}: {error.filename}: {error.strerror}"
    if must_have:
        raise start_error(plugin, f"cannot create {problem}", error) from None
    _log.warning("plugin %s starts without %s", plugin, problem)


def _shown(command: list[str]) -> str:
    """Return the tool, such as ``cargo run``, without the arguments that would obscure it."""
    return " ".join(command[:2])
