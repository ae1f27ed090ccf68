"""The client's end.

=============== =======================================
`client`        `AdminClient`: a method for each route
`responses`     how it reads answers and finds its host
`server_events` how it reads a stream
=============== =======================================
"""
