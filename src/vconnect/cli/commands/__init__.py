"""The commands.

========== ================================================================================
`serve`    runs a host in the foreground
`control`  queries and controls a running host over its administration socket
`packages` installs, upgrades, rolls back, removes and verifies plugins of a running host
`index`    makes an index of packages, and looks plugins up
`settings` reloads the configuration, and changes that of a plugin
`logs`     shows a plugin's output, and follows it
`projects` creates a plugin project, and a package from one
`trust`    whose signatures count
`signing`  makes keys, and signs packages
`checking` says what is wrong with a file before it is used; prints schemas for editors
`bench`    measures this machine
========== ================================================================================
"""
