"""One connection: stream, tables, lane, messages, session, server.

============== ======================================================
`server`       the socket that plugins connect to, and their handshakes
`waiting_room` connections before their handshakes: how many there may be
`refusals`     refused connections in the log
`session`      a connection after its handshake
`messages`     the meaning of handshakes, events, answers and calls
`failures`     why an event gets no answer
`_lane`        compiled: a connection with its events in flight
`_fan_out`     compiled: one event to many lanes
`_inflight`    compiled: which event an answer belongs to
`_latency`     compiled: how long events take, and what became of them
`_charged`     compiled: a peer that pays for what it makes the host do
`_stream`      compiled: a connection that carries objects
`_latency`     compiled: how long events take, counted where answers arrive
`_clock`       compiled: the monotonic clock
============== ======================================================
"""
