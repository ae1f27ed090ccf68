"""One plugin's life, each.

============== =================================================
`supervisor`   the actor that takes orders and carries them out
`roster`       every plugin's supervisor
`launcher`     from a plugin to a running process
`start_slots`  how many plugins may be starting at the same time
`instance`     one generation: a process with its session
`verdict`      why an instance ends, and the state that leaves
`endings`      from an end to its verdict and its crash report
`admission`    who may connect under a plugin's name
`watchdog`     pings, and what it means when none comes back
`monitor`      the look at every process tree, once a second
`reloader`     restarts when a source has changed
`source_watch` whether a source has changed
`changes`      waiting for a condition over shared state
============== =================================================
"""
