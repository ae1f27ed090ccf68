"""The administration interface: HTTP with JSON bodies, over a private Unix socket and TCP.

================= ===============================================================
`server`          the host's end: the socket and the port
`embedding`       the interface as a part of another aiohttp application
`asgi`            the same for ASGI, so that FastAPI can mount it
`face`            turns requests of aiohttp into ours, and our answers back
`administration`  what all of these share: the table of routes
`application`     carries a request out: finds its route, checks it, catches errors
`asked`           a request and its answer, whichever server carries them
`table`           the routes: what there is, who may ask, what it takes and gives
`guard`           hosts, origins, content types, and who sends a request
`access`          tokens, one-time codes, and sessions of the page
`address`         ``HOST:PORT``
`audit`           who has changed what
`problems`        errors as problem documents, each with a code and the next step
`bodies`          bodies and queries within limits, turned into structs
`encoding`        answers in JSON
`orders`          orders that a client may give again, or look up later
`progress`        answers that show the progress of a download first
`stream`          server-sent events
`openapi`         the description of the interface, made from the table
`host_routes`     the routes for the host itself, its health, metrics and sessions
`plugin_routes`   the routes for plugins and orders
`event_routes`    the routes for events and traces
`package_routes`  the routes for packages
`settings_routes` the routes for settings and configurations
`page_routes`     the files of the dashboard, which are in ``page/``
`siblings`        hosts beside this one: the workers of an application
`manager`         what all of this uses of the manager
`answers`         what it answers with, for both ends
`client`          the other end
`responses`       how that reads answers and finds its host
`server_events`   how it reads a stream
================= ===============================================================

The two ends share no code, only the format that ``docs/administration.md`` describes.
"""
