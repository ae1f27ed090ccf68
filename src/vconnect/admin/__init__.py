"""The administration interface: HTTP with JSON bodies over a private Unix socket.

`server.AdminServer` is the host's end, `client.AdminClient` the command line's. They share no code,
only the format that ``docs/administration.md`` describes.
"""
