"""The administration interface: HTTP with JSON bodies over a private Unix socket.

================= ===============================================================
`server`          the host's end: the socket
`app`             the host's end: routes, and what each asks of the manager
`package_routes`  the routes for packages
`settings_routes` the routes for settings and configurations
`asking`          who sends a request
`bodies`          bodies of requests: JSON within limits, turned into structs
`responses`       JSON bodies, and every error in one form
`streams`         responses that show the progress of a download first
`client`          the command line's end
================= ===============================================================

The two ends share no code, only the format that ``docs/administration.md`` describes.
"""
