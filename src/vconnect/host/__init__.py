"""One host: the manager that owns everything, ``vconnect serve``, its guardian and systemd.

============== ===============================================================
`manager`      `PluginRuntimeManager`, the only object that owns the others
`orders`       what an operator orders, and sees
`gatekeeper`   who may connect, and which plugin a connection belongs to
`roster`       the supervisors of all plugins
`native`       what only native plugins can be asked
`in_order`     runs actions for plugins, each after those that it depends on
`takeover`     what an older vconnect kept, taken over by this host
`surroundings` what a host inherits, repaired or reported
`serve`        ``vconnect serve``: one manager in the foreground
`signals`      what ends a host, and how
`hang_up`      SIGHUP while a host is being started
`guardian`     the parent process that ends every plugin if the host is killed
`systemd`      readiness, watchdog and socket activation
`summary`      what an operator sees of the host itself
============== ===============================================================
"""
