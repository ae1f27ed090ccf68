"""What an operator sees: the state of plugins, the last minute, and why one does not serve.

============= ===================================================================
`overview`    all plugins, in the order of what needs attention
`summary`     what an operator sees of one plugin
`why`         the cause and the next step, in one line
`reasons`     the questions that `why` asks, and their answers
`last_minute` what has come in the last minute, as differences of counters
`trace`       what became of single events
`happenings`  what happened lately
`feed`        puts news into the ring while somebody follows
`ring`        the newest entries of the stream
`exposition`  metrics for Prometheus
`collector`   the same for an application's own registry
`encoding`    values as JSON, whatever plugins have put into them
`words`       durations, counts and moments, for a person
============= ===================================================================

Nothing here changes anything, and the hot path knows nothing of it.
"""
