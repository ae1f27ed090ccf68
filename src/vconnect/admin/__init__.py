"""The administration interface: HTTP with JSON bodies, over a private Unix socket and TCP.

========= ======================================================================
`servers` what requests come through: the socket and the port, aiohttp, and ASGI
`routes`  what can be asked for, and what is done then
`access`  who may ask: tokens, sessions, hosts and origins
`http`    requests, answers and problems, whichever server carries them
`client`  the other end, for programs and for the command line
`answers` what is answered, for both ends
`manager` what all of this uses of the manager
``page/`` the files of the dashboard
========= ======================================================================

The two ends share no code but `answers`; ``docs/administration.md`` describes the format.
"""
