"""What an operator sees: the state of plugins, the last minute, and why one does not serve.

Nothing here changes anything, and the hot path knows nothing of it.

* ``last_minute``: what has come in the last minute, as differences of counters
* ``summary``: what an operator sees of a plugin
* ``why``: the cause and the next step, in one line
* ``words``: durations, counts and moments, for a person
"""
