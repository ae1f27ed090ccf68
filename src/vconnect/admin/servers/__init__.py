"""The servers that requests come through. All of them serve the same table of routes.

================ =================================================================
`server`         the socket and the port of a host
`embedding`      the interface as a part of another aiohttp application
`asgi`           the same for ASGI, so that FastAPI can mount it
`face`           turns requests of aiohttp into ours, and our answers back
`administration` what all of these share: the table of routes
`application`    carries a request out: finds its route, checks it, catches errors
================ =================================================================
"""
