"""The performance of this machine with this package: the work behind ``vconnect bench``.

`works` lists what is measured, `run` measures it with its own host, and `peer` is the program at
the other end: many small echo plugins in one process. ``benchmarks/`` in the source tree compares
vconnect with other ways of doing the same.
"""
