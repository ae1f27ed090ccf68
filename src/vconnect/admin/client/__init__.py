"""The client's end.

=============== =============================================================
`client`        `AdminClient`: a method for each route
`connection`    what all of them have in common: errors, timeouts and streams
`responses`     how it reads answers and finds its host
`server_events` how it reads a stream
=============== =============================================================
"""
