"""The Python environments of plugins that declare dependencies: one for each installed version.

========== ==================================================================================
`declared` which dependencies a plugin's directory declares, and where
`locked`   ``_vconnect/requirements.lock``: exactly which files these are
`resolve`  from declared dependencies to a lock file, and to the wheels that it names
`python`   which Python an environment is for, and what is known of it
`installs` puts wheels into a directory, with uv or with pip
`records`  compares what was installed with what the wheels say
`kit`      vconnect itself, for plugins, from the host's own installation
`build`    makes the environment of one version
`keeper`   makes sure that the environment of a version can be used before it is started
`tools`    runs a program with limits, and says in its own words why it failed
========== ==================================================================================

A plugin without dependencies has no environment, at no cost: the host's Python runs it.
"""
