"""The administration interface: HTTP with JSON bodies over a private Unix socket.

`server.AdminServer` is the host's end, `client.AdminClient` the command line's. They share no
code but the words on the wire, which ``docs/administration.md`` describes.
"""
