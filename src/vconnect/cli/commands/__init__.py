"""The commands.

============== =======================================================================
`bench`        measures the performance of this machine
`checking`     what is wrong with a file, before it is used
`completion`   the names of plugins, completed in a shell
`control`      orders to a running host: start, stop, restart, emit and others
`dashboard`    an address of the page that logs in once
`dependencies` the options of ``vconnect pack`` for the dependencies of Python plugins
`dev`          runs one plugin while it is being written
`doctor`       checks the machine, and the host if one runs
`index`        makes indexes, and looks plugins up in them
`logs`         shows what plugins print, and follows it
`man`          the manual page, made from the commands themselves
`packages`     changes which plugins and versions a running host has
`projects`     from an empty directory to a package
`serve`        runs the host in the foreground
`settings`     reload, and the configurations of plugins
`showing`      list, status, why
`signing`      makes keys, and signs packages
`tail`         shows events as they pass
`top`          the plugins, again and again
`trust`        whose signatures count here
`ui`           plugins, logs and orders on the whole terminal
============== =======================================================================
"""
