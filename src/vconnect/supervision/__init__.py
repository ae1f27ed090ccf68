"""The life of each plugin.

=============== =================================================
`supervisor`    the actor that takes orders and carries them out
`orders`        the pending order, and who waits until it is done
`generations`   which instance serves, follows or leaves
`trials`        new versions: tried once, then current or failed
`launcher`      from a plugin to a running process
`config_checks` the configuration against the version's schema
`start_slots`   limits how many plugins start at the same time
`instance`      one generation: a process with its session
`verdict`       why an instance ends, and the resulting state
`endings`       from an end to its verdict and its crash report
`admission`     decides who may connect under a plugin's name
`reconnects`    limits how often a plugin may connect
=============== =================================================
"""
