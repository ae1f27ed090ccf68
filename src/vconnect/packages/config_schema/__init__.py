"""``config_schema`` of a manifest: whether it can be used, and whether a configuration fits it.

A schema comes from a package, so it must not be able to do harm. Nothing is fetched: references
stay inside it. What is simple is checked here, within a twentieth of a second. For what is not,
another process is started, which has limits of its own.

========== ====================================================================================
`check`    the questions that others ask
`rules`    the answers: what is wrong with a schema, and where a configuration violates it
`keywords` the keywords of JSON Schema, with a limit on the time and the depth of a check
`apart`    asks the rules in a process of its own
========== ====================================================================================
"""
