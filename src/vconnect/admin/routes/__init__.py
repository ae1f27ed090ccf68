"""The routes. Each module has the rows of its part of the table, and their handlers.

========== =====================================================================
`host`     the host itself, its health, metrics and sessions
`siblings` hosts beside this one: the workers of an application
`plugins`  plugins, and orders
`logs`     the logs of several plugins and of the host, as one
`packages` packages
`blobs`    packages that a client sends
`trust`    the keys whose signatures count
`settings` settings, and the configurations of plugins
`events`   events and traces
`stream`   server-sent events
`page`     the files of the dashboard, which are in ``page/`` beside this folder
========== =====================================================================
"""
