"""Changes of a running host, by command, route or method.

========== ==================================================================================
`packages` installs, upgrades, rolls back, removes and verifies plugins
`versions` which versions a plugin has, and which one is meant
`changes`  what a change did, and the line in the log that says who asked for it
========== ==================================================================================
"""
