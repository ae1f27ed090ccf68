"""One connection: stream, tables, lane, messages, session, server.

================ ======================================================
`server`         the socket that plugins connect to, and its handshakes
`private_socket` a Unix socket of this user alone, held by a lock
`session`        a connection after its handshake
`messages`       what handshakes, events, answers and calls mean
`_lane`          compiled: a connection with its events in flight
`_inflight`      compiled: which event an answer belongs to
`_stream`        compiled: a connection that carries objects
`_clock`         compiled: the monotonic clock
================ ======================================================
"""
