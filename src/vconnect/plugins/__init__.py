"""What the host knows of its plugins.

=============== ============================================================================
`runtime`       the record of one plugin
`status`        the states, and the legal transitions between them
`registry`      the plugins by name and alias
`routes`        which plugins get an event, in which order, under which policy
`catalog`       installed plugins, plugins from source, and those that attached on their own
`tables`        whose the tables of the settings are
`configuration` nested tables, and what was set in them while the host runs
`breaker`       the circuit breaker, which stops calls to a failing plugin
`deadlines`     tells what a plugin does not answer in time
`restarts`      when a plugin that ended is started again
`latency`       what became of events, and how long they took
`passed_over`   events that a plugin did not get although it wants them
`moments`       the clock of "the last minute"
`crashes`       crash reports and the quarantine
`latency`       what the rows of events mean: outcomes and quantiles
`passed_over`   events that a plugin did not get, and why
`moments`       the clock of the last minute
`state_file`    what survives the host
=============== ============================================================================
"""
