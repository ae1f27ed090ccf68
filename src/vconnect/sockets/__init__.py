"""The host's Unix sockets, whatever is spoken on them.

================ ======================================================
`private_socket` a Unix socket that only this user can reach, protected by a lock
`listener`       accepts on a private socket, and binds it again if it is deleted
`acceptor`       accepts connections, even if no descriptor is left
`pace`           limits the rate of connections, in all and per process
`credentials`    the process at the other end
================ ======================================================
"""
