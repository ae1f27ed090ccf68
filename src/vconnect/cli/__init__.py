"""The command line: parse, ask, print.

========== ==================================================================================
`main`     the entry point
`root`     ``vconnect`` itself: its options, and the commands below it
`serve`    runs a host in the foreground
`control`  the commands that ask a running host over its administration socket
`logs`     shows what a plugin has printed, and follows it
`projects` begins a plugin project, and makes a package of one
`scaffold` the templates that a project begins with
`bench`    measures this machine
`context`  what every command needs: the configuration, and a client for the running host
`output`   tables for people, JSON for programs
`boundary` from an exception to an exit code
========== ==================================================================================

What is heavy (aiohttp, rich, the host) is imported inside the commands that need it, so that
``vconnect --help`` answers at once.
"""
