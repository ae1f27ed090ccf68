"""Completes the names of plugins in a shell: asks the host, and is silent if there is none."""

from __future__ import annotations

import click

# A shell waits for this at each press of the key. Seconds.
_PATIENCE_S = 0.2


def complete_plugin(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Return the names of the host's plugins that begin with what was typed."""
    try:
        names = _names(context)
    except Exception:  # noqa: BLE001 - the boundary: a shell shows nothing rather than a traceback
        return []
    return [name for name in names if name.startswith(incomplete)]


def _names(context: click.Context) -> list[str]:
    import asyncio

    from vconnect.admin.client.client import AdminClient
    from vconnect.cli.context import State, find_admin_socket

    root = context.find_root()
    admin = context.params.get("admin") or root.params.get("admin")
    path = find_admin_socket(State(admin=admin), None, context.params.get("config"))

    async def ask() -> list[str]:
        async with asyncio.timeout(_PATIENCE_S), AdminClient(path) as client:
            return [plugin.name for plugin in (await client.plugins(sort="name")).plugins]

    return asyncio.run(ask())
