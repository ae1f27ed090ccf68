"""One host: the manager that owns everything, ``vconnect serve``, its guardian and systemd.

============ ===============================================================
`manager`    `PluginRuntimeManager`, the only object that owns the others
`gatekeeper` who may connect, and to whom a connection belongs
`in_order`   actions for plugins, each after those that it depends on
`serve`      ``vconnect serve``: one manager in the foreground
`signals`    what asks a host to end, and what each request does
`loop`       which event loop a host runs on
`guardian`   the parent process that ends every plugin if the host is killed
`systemd`    readiness, watchdog and socket activation
`summary`    what an operator sees of the host itself
============ ===============================================================
"""
