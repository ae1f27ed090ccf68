"""The command line: parse, ask, print.

=================== =========================================================================
`main`              the entry point
`root`              ``vconnect`` itself: its options and commands
`lazy`              a group whose commands are imported when they are needed
`commands`          the commands themselves
`scaffold`          writes a new project from templates
`context`           what every command needs: the configuration, and the running host's socket
`probing`           which sockets in a directory are for administration
`interrupts`        what Ctrl-C does while modules are imported
`options`           options that several commands have
`progress`          shows downloads: a bar, or lines of JSON
`showing_plugins`   plugins as tables and lines
`following`         logs of several plugins as one
`watching`          the screen of ``vconnect top``
`terminal_ui`       the screens of ``vconnect ui``
`developing`        one plugin in a host of its own, for ``vconnect dev``
`manual`            the manual page
`moments`           points in time, as people write them
`output`            tables for people, JSON for programs
`forms`             what is printed as JSON and is no answer of the host
`printed`           JSON Schemas of all that is printed as JSON
`printing_settings` the same for changes of settings
`printing_index`    the same for indexes
`boundary`          turns exceptions into one line and an exit code
`exit_codes`        the exit codes of all commands
=================== =========================================================================

Slow imports (aiohttp, rich, the host) happen inside the commands that need them, so that
``vconnect --help`` responds at once.
"""
