"""What this machine does with this package: the work of ``vconnect bench``.

`works` says what is done, `run` does it with a host of its own, and `peer` is the program at the
other end: many small echo plugins in one process. For comparisons with other ways of doing the
same there is ``benchmarks/`` in the source tree.
"""
