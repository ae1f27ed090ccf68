"""Changes of a running host, by command, route or method.

=============== =============================================================================
`packages`      installs, upgrades, rolls back, removes and verifies plugins
`queries`       what is installed, what indexes have, and what an upgrade would take
`versions`      which versions a plugin has, and which one is meant
`configuration` shows and changes the configurations of plugins
`reload`        brings another configuration file into force
`requirements`  whether the versions of plugins that require each other fit
`removal`       removes plugins with all of their versions
`service`       brings what was installed into service
`rows`          rows about packages
`turns`         changes of one plugin come one after the other
`changes`       what a change did, and the line in the log that says who asked for it
=============== =============================================================================
"""
