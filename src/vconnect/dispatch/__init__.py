"""Events out to plugins, and their calls in.

============ =================================================
`dispatcher` chain, fan-out, one plugin, and notifications
`results`    each plugin's result, and the outcome of all
`protected`  fields that a plugin's replacement may not change
`host_calls` what native plugins ask of the host
============ =================================================
"""
