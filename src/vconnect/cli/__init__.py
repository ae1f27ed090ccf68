"""The command line: parse, ask, print.

========== ==================================================================================
`main`     the entry point
`root`     ``vconnect`` itself: its options and commands
`serve`    runs a host in the foreground
`control`  the commands that query and control a running host over its administration socket
`logs`     shows a plugin's output, and follows it
`projects` creates a plugin project, and a package from one
`scaffold` writes a new project from templates
`signing`  makes keys, and signs packages
`bench`    measures this machine
`context`  what every command needs: the configuration, and a client for the running host
`progress` the progress bar of a download
`output`   tables for people, JSON for programs
`boundary` turns exceptions into exit codes
========== ==================================================================================

Slow imports (aiohttp, rich, the host) happen inside the commands that need them, so that
``vconnect --help`` responds at once.
"""
