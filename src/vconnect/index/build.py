"""Makes the index of a directory of packages, which any web server can serve."""

# The index is a function of the packages, of the index before, and of what is asked for. What has
# not changed is not written, so that a copy of it stays valid.

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import msgspec

from vconnect.durable import read_regular, replace_file
from vconnect.errors import ConflictError, InstallError, VConnectError
from vconnect.names import PACKAGE_SUFFIXES, canonical_name
from vconnect.packages.semver import Version
from vconnect.trust.files import SIGNATURE_SUFFIX
from vconnect.trust.keyring import TrustedKey
from vconnect.validation import Fault

from .document import (
    INDEX_NAME,
    MAX_INDEX_BYTES,
    MAX_INDEX_FILES,
    Index,
    IndexedFile,
    IndexedPlugin,
    IndexedVersion,
    decode_index,
    encode_index,
    encode_plugin,
)
from .package import PackageInfo, describe_package, with_signature
from .pages import check_pages, render, write_pages

_MODE = 0o644
#: Signs a file, unless its signature is good: writes one beside it.
Sign = Callable[[Path], object]
_Plugins = dict[str, IndexedPlugin]


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How an index is made.

    Attributes:
        name: What it is called; ``None`` to keep the name.
        expires: From when on it may be an old copy; ``None`` for never, unset to keep that.
        keys: The keys that are trusted; ``None`` to verify no signatures.
        replace: Whether the files of a version may have other bytes than in the index before.
        sign: Signs the index; ``None`` to leave its signature as it is.
    """

    name: str | None = None
    expires: datetime | msgspec.UnsetType | None = msgspec.UNSET
    keys: Mapping[str, TrustedKey] | None = None
    replace: bool = False
    sign: Sign | None = None


class Built(msgspec.Struct, frozen=True, kw_only=True):
    """What was made.

    Attributes:
        index: The index.
        serial: Its number.
        changed: Whether it was written.
        plugins: The number of plugins.
        files: The number of package files.
        unverified: Files with a signature that was not verified.
        faults: Why nothing was written: what is wrong, and where.
    """

    index: str
    serial: int = 0
    changed: bool = False
    plugins: int = 0
    files: int = 0
    unverified: tuple[str, ...] = ()
    faults: tuple[Fault, ...] = ()


def build(directory: Path, options: Options) -> Built:
    """Make the index of the packages below a directory. Blocks.

    With any fault, nothing is written.

    Raises:
        ConflictError: The index is signed, and would be no longer; or a page there is not ours.
        InstallError: The index before cannot be read, or there are too many packages.
        OSError: Reading or writing failed.
    """
    old = _read(directory)
    faults: list[Fault] = []
    packages = list(_describe(directory, options, faults))
    plugins = _assemble(directory, packages, old, faults)
    if old is not None and not options.replace:
        faults += _changed_bytes(old, plugins)
    if faults:
        return Built(index=str(directory / INDEX_NAME), faults=tuple(faults))
    built = _write(directory, old, _with_options(old, options), plugins, options.sign)
    unsure = [one.file for one in packages if one.signed_by and one.signature != "good"]
    return msgspec.structs.replace(built, unverified=tuple(unsure))


def withdraw(
    directory: Path, name: str, version: str, reason: str | None, sign: Sign | None = None
) -> Built:
    """Withdraw a version, so that no range chooses it any more, or take that back. Blocks.

    Args:
        directory: The directory of the index.
        name: The plugin.
        version: The version.
        reason: Why; ``None`` to take it back.
        sign: Signs the index.

    Raises:
        ConflictError: The index is signed, and would be no longer; or a page there is not ours.
        InstallError: There is no such index, plugin or version.
        OSError: Writing failed.
    """
    old = _read(directory)
    if old is None:
        raise InstallError(f"{directory / INDEX_NAME} is not there; use: vconnect index build")
    plugins = {one: old.plugin(one) for one in old.plugins}
    plugin = plugins.get(canonical_name(name))
    if plugin is None:
        raise InstallError(f"{directory / INDEX_NAME} has no plugin {name!r}")
    if version not in (there := [one.version for one in plugin.versions]):
        raise InstallError(f"{name} has no version {version}; there are: {', '.join(there)}")
    versions = tuple(
        msgspec.structs.replace(one, yanked=reason) if one.version == version else one
        for one in plugin.versions
    )
    plugins[canonical_name(name)] = msgspec.structs.replace(plugin, versions=versions)
    return _write(directory, old, old, plugins, sign)


def find_packages(directory: Path) -> Iterator[Path]:
    """Yield the packages below a directory in order, but nothing that is hidden. Blocks.

    Raises:
        OSError: A directory cannot be read.
    """
    for parent, directories, files in os.walk(directory, onerror=_raise):
        directories[:] = sorted(one for one in directories if not one.startswith("."))
        for name in sorted(files):
            if name.endswith(PACKAGE_SUFFIXES) and not name.startswith("."):
                yield Path(parent, name)


def _describe(directory: Path, options: Options, faults: list[Fault]) -> Iterator[PackageInfo]:
    """Yield what each package is; append to ``faults`` what is wrong with the others."""
    keys = options.keys
    if keys is not None:
        # Where it will be served is not known here; which sources a key may sign is up to hosts.
        keys = {number: msgspec.structs.replace(key, sources=()) for number, key in keys.items()}
    for count, path in enumerate(find_packages(directory)):
        if count >= MAX_INDEX_FILES:
            raise InstallError(f"{directory}: has more than {MAX_INDEX_FILES} packages")
        try:
            package = describe_package(path)
            if not package.version:
                faults.append(Fault(str(path), "has no version, so no range can choose it"))
                continue
            package = with_signature(package, keys)
        except VConnectError as error:
            faults.append(Fault(str(path), str(error).removeprefix(f"{path}: ")))
            continue
        if keys is not None and package.signed_by and package.signature != "good":
            words = f"is signed by {package.signed_by}, which the trust file does not have"
            faults.append(Fault(str(path), words))
        # Of a large directory, nobody keeps the names of all files in all packages.
        yield msgspec.structs.replace(package, files=())


def _assemble(
    directory: Path, packages: Iterable[PackageInfo], old: Index | None, faults: list[Fault]
) -> _Plugins:
    """Put packages together by their plugins and versions, the highest version first."""
    found: dict[str, dict[str, list[PackageInfo]]] = {}
    for one in packages:
        found.setdefault(one.name, {}).setdefault(one.version, []).append(one)
    faults += _faults_of_names(found)
    plugins: _Plugins = {}
    for name in sorted(found):
        withdrawn = _withdrawn(old, name)
        ranked = sorted(found[name], key=Version, reverse=True)
        newest = found[name][ranked[0]][0]
        plugins[name] = IndexedPlugin(
            aliases=newest.aliases,
            description=newest.description,
            versions=tuple(
                _version_of(directory, found[name][one], withdrawn.get(one), faults)
                for one in ranked
            ),
        )
    return plugins


def _version_of(
    directory: Path, packages: list[PackageInfo], yanked: str | None, faults: list[Fault]
) -> IndexedVersion:
    first = packages[0]
    files: dict[str, IndexedFile] = {}
    for one in packages:
        if _asked(one) != _asked(first):
            words = f"asks for something else than {first.file}, which is the same version"
            faults.append(Fault(one.file, words))
        file = _file_of(directory, one)
        known = files.setdefault(one.platform, file)
        if known.sha256 != file.sha256:
            faults.append(
                Fault(
                    one.file,
                    f"is another file for {one.name} {one.version} on {one.platform} than "
                    f"{known.url}; give it another version",
                )
            )
    return IndexedVersion(
        version=first.version,
        yanked=yanked,
        interface=first.interface,
        min_host_version=first.min_host_version,
        requires=first.requires,
        permissions=first.permissions,
        files=tuple(files[one] for one in sorted(files)),
    )


def _asked(package: PackageInfo) -> tuple[object, ...]:
    """Return what an index says of a whole version, for all platforms."""
    return package.permissions, package.requires, package.min_host_version, package.interface


def _file_of(directory: Path, package: PackageInfo) -> IndexedFile:
    url = quote(Path(package.file).relative_to(directory).as_posix())
    return IndexedFile(
        platform=package.platform,
        url=url,
        size=package.size,
        sha256=package.sha256,
        tree=package.tree,
        signature=f"{url}{SIGNATURE_SUFFIX}" if package.signed_by else "",
    )


def _faults_of_names(found: Mapping[str, Mapping[str, list[PackageInfo]]]) -> Iterator[Fault]:
    """Yield which packages give their plugin a name that another plugin has."""
    owners = {name: name for name in found}
    for name in sorted(found):
        for package in (one for some in found[name].values() for one in some):
            for alias in package.aliases:
                if (owner := owners.setdefault(alias, name)) != name:
                    words = f"gives the name {alias!r}, which the plugin {owner} has"
                    yield Fault(package.file, words)


def _withdrawn(old: Index | None, name: str) -> dict[str, str]:
    if old is None or name not in old.plugins:
        return {}
    return {one.version: one.yanked for one in old.plugin(name).versions if one.yanked is not None}


def _changed_bytes(old: Index, plugins: _Plugins) -> Iterator[Fault]:
    """Yield the files that have other bytes under the same version than before."""
    for name in old.plugins.keys() & plugins.keys():
        before = _digests(old.plugin(name))
        for key, file in _digests(plugins[name]).items():
            if key in before and before[key].sha256 != file.sha256:
                yield Fault(
                    file.url,
                    f"{name} {key[0]} had sha256 {before[key].sha256}, and now has {file.sha256}; "
                    "give it another version, or insist with --replace",
                )


def _digests(plugin: IndexedPlugin) -> dict[tuple[str, str], IndexedFile]:
    return {
        (version.version, file.platform): file
        for version in plugin.versions
        for file in version.files
    }


def _with_options(old: Index | None, options: Options) -> Index:
    index = old or Index(serial=0)
    if options.name is not None:
        index = msgspec.structs.replace(index, name=options.name)
    if options.expires is not msgspec.UNSET:
        index = msgspec.structs.replace(index, expires=options.expires)
    return index


def _write(
    directory: Path, old: Index | None, index: Index, plugins: _Plugins, sign: Sign | None
) -> Built:
    """Write an index with its pages, if it differs from the one before."""
    path = directory / INDEX_NAME
    signature = path.with_name(path.name + SIGNATURE_SUFFIX)
    encoded = {name: encode_plugin(one) for name, one in plugins.items()}
    index = msgspec.structs.replace(index, plugins=encoded)
    is_changed = old is None or encode_index(index) != encode_index(old)
    if is_changed:
        if sign is None and signature.exists():
            raise ConflictError(
                f"{signature} would not fit any more; sign the index again with --sign"
            )
        index = msgspec.structs.replace(index, serial=index.serial + 1, generated=_now())
    pages = render(index, plugins)
    check_pages(directory, pages)
    if is_changed:
        data = encode_index(index)
        # Killed from here on, the next run signs what it finds without a signature.
        signature.unlink(missing_ok=True)
        replace_file(path, data, _MODE)
    write_pages(directory, pages)
    if sign is not None:
        sign(path)
    files = sum(len(version.files) for one in plugins.values() for version in one.versions)
    return Built(
        index=str(path),
        serial=index.serial,
        changed=is_changed,
        plugins=len(plugins),
        files=files,
    )


def _read(directory: Path) -> Index | None:
    """Read the index that is there; ``None`` if there is none."""
    path = directory / INDEX_NAME
    try:
        return decode_index(read_regular(path, MAX_INDEX_BYTES + 1), str(path))
    except FileNotFoundError:
        return None


def _now() -> datetime:
    # So that a build can be repeated: https://reproducible-builds.org/specs/source-date-epoch/
    if epoch := os.environ.get("SOURCE_DATE_EPOCH"):
        return datetime.fromtimestamp(int(epoch), UTC)
    return datetime.now(UTC).replace(microsecond=0)


def _raise(error: OSError) -> None:
    raise error
