"""One connection: stream, tables, lane, messages, session, server.

================ ======================================================
`server`         the socket that plugins connect to, and their handshakes
`private_socket` a Unix socket that only this user can reach, protected by a lock
`listener`       accepts on a private socket, and binds it again if it is deleted
`acceptor`       accepts connections, even if no descriptor is left
`waiting_room`   connections before their handshakes: how many there may be
`refusals`       refused connections in the log
`session`        a connection after its handshake
`messages`       the meaning of handshakes, events, answers and calls
`_lane`          compiled: a connection with its events in flight
`_inflight`      compiled: which event an answer belongs to
`_stream`        compiled: a connection that carries objects
`_clock`         compiled: the monotonic clock
================ ======================================================
"""
