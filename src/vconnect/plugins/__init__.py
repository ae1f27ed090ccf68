"""What the host knows of its plugins.

============ ============================================================================
`runtime`    the record of one plugin
`summary`    what an operator sees of a plugin
`status`     the states, and the legal transitions between them
`registry`   the plugins by name and alias
`routes`     who gets which event, in which order, under which policy
`order`      what comes before what
`catalog`    installed plugins, plugins from source, and those that attached on their own
`breaker`    the circuit that leaves a failing plugin alone
`restarts`   when a plugin that ended is started again
`crashes`    crash reports and the quarantine
`state_file` what survives the host
============ ============================================================================
"""
