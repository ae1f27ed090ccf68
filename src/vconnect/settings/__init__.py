"""What the operator configures, validated once.

============= ==============================================================
`model`       every setting, with its default
`keywords`    the keys as keyword arguments, for type checkers
`load`        merges and checks command line, environment and file
`explain`     what is wrong with a value, and where
`rules`       what must hold between the keys
`dev_plugins` plugins that run from source, as they are written
`source`      where a host's settings come from, to read them again
`parts`       the keys that each class of the host needs
`live`        the settings in force, which may change while the host runs
`effects`     what a change of each key needs
`differences` what has changed between two settings
`edit`        changes a configuration file and keeps its comments
`schema`      the configuration file as JSON Schema, for editors
`paths`       makes paths absolute, once
`events`      the policy of an event
`match`       conditions on an event's payload
`limits`      resource limits of a plugin's processes
`restarts`    when and how often a plugin is started again
`variables`   the variables of the environment, and typos in them
============= ==============================================================
"""
