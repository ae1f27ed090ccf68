"""Events out to plugins, and calls in from them.

============ ====================================================================
`dispatcher` chain, fan-out, and one plugin
`telling`    notifications, which nobody waits for
`sending`    the calls of the manager, which are refused while it is not open
`delivery`   one event to one plugin: sent or refused, and counted
`tracing`    lets somebody watch events pass
`spans`      spans of OpenTelemetry
`results`    each plugin's result, and the outcome of all
`protected`  fields that a plugin's replacement may not change
`host_calls` calls from native plugins to the host
`accounts`   what the answers of one plugin to another may cost
`origin`     what a function of the application inherits from the call that it serves
============ ====================================================================
"""
