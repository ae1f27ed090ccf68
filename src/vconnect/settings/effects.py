"""What a change of each key needs while the host runs: one row for every key."""

from __future__ import annotations

from typing import Literal

#: ``now``: it applies from the next call, start or end on. ``next connection``: it applies to
#: connections that begin later. ``restart``: the plugin's process is replaced, without a gap.
#: ``asked``: the plugin is asked; one that cannot be is replaced. ``plugins``: plugins are added or
#: removed. ``host``: only another host will have it.
Effect = Literal["now", "next connection", "restart", "asked", "plugins", "host"]


def _rows(**keys: str) -> dict[str, Effect]:
    effects: dict[str, Effect] = {
        "now": "now",
        "connection": "next connection",
        "restart": "restart",
        "asked": "asked",
        "plugins": "plugins",
        "host": "host",
    }
    return {key: effects[kind] for kind, names in keys.items() for key in names.split()}


#: The keys of ``[plugins]``.
EFFECTS = _rows(
    now="""
        events options event_timeout chain_timeout breaker_failures breaker_cooldown max_calls
        slow_ms
        memory_limit_bytes handshake_timeout dev_handshake_timeout start_timeout drain_timeout
        interrupt_timeout stop_timeout restart restart_delay restart_max_delay restart_reset_after
        crash_limit crash_window after_crash_loop crash_hold start_concurrency watch allow_external
        max_external allow_insecure_http max_package_bytes keep_versions consent
        require_signature on_revoked sources verify_at_start interfaces require_interface
        python python_index python_sdk_wheels
        log_lines_per_second
        log_bytes_per_second
    """,
    connection="""
        heartbeat heartbeat_misses max_queued max_notified max_queued_bytes max_abandoned
        stuck_after max_answer_bytes max_answer_values max_answer_keys
    """,
    restart="""
        debug log_level env inherit_env window sandbox sandbox_network sandbox_seccomp sandbox_read
    """,
    asked="config",
    plugins="dev_plugins install",
    host="""
        plugin_dir socket_path admin_path http http_token_file http_view_token_file http_no_token
        http_hosts behind_proxy host_name metrics_public otel metrics_buckets
        state_dir lock_file trust_file uvloop guardian cgroup cgroup_dir
        insecure_paths max_frame_bytes max_total_queued_bytes log_lines log_dir log_file_bytes
        log_files
    """,
)

#: The keys of ``[plugins.options.NAME]``.
OPTION_EFFECTS = _rows(
    now="""
        timeout breaker_failures breaker_cooldown withdraw restart after_crash_loop on_disconnect
        required exclusive memory_limit_bytes watch_ignore watch_also events python
    """,
    connection="max_answer_bytes max_queued_bytes",
    restart="""
        window limits tree_limits secrets sandbox sandbox_network sandbox_seccomp sandbox_read
    """,
)
