"""What the operator configures, validated once.

`model`    every setting, with its default
`load`     merges and checks command line, environment and file
`parts`    the keys that each class of the host needs
`paths`    makes paths absolute, once
`events`   the policy of an event
`match`    conditions on an event's payload
`limits`   resource limits of a plugin's processes
`restarts` when and how often a plugin is started again
========== ======================================================
=======
=========== ======================================================
`model`     every setting, with its default
`keywords`  the keys as keyword arguments, for type checkers
`load`      merges and checks command line, environment and file
`parts`     the keys that each class of the host needs
`paths`     makes paths absolute, once
`events`    the policy of an event
`match`     conditions on an event's payload
`limits`    resource limits of a plugin's processes
`restarts`  when and how often a plugin is started again
`variables` the variables of the environment, and typos in them
=========== ======================================================
"""
