"""What is installed: versions side by side, of which one is current.

============ ===============================================================================
`installer`  `PluginInstaller`: from a source to an installed plugin, all or nothing
`offers`     a package that could be installed, and what would be refused about it
`store`      the plugins in ``plugin_dir``: staging, putting in place, recovery
`releases`   which version a start uses, and what came of it; for supervisors
`layout`     the names in ``plugin_dir``, a version and its receipt
`home`       one plugin's directory: its versions, which is current, which are kept
`record`     ``store.json``: what happened to the versions of a plugin
`listing`    what is in ``plugin_dir``, as far as plugins are concerned
`plain`      plain directories, and how they become store directories
`consent`    which permissions a package asks for, and which were granted
`signatures` which signatures a host asks for
`blobs`      packages that clients have sent, until they are installed
`verify`     compares what is installed with what was installed, for a report
`integrity`  whether an installed version is as its receipt says
`lock_file`  ``vconnect.lock``: which package of each plugin was meant
`locks`      locks between processes and hosts that share one ``plugin_dir``
`trees`      directories as a whole: sealed, synced
============ ===============================================================================
"""
