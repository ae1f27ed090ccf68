"""``vconnect check``: all that is wrong with a file or directory, before it is used.

=============== ============================================================================
`path`          what a path is, and who looks at it
`report`        what was found
`plugin`        the files of a plugin and its manifest, packed or not
`package`       a package
`directory`     a plugin's source directory
`configuration` a configuration file
`doctor`        the machine, and what a host finds on it
=============== ============================================================================

Nothing is started, and nothing is unpacked outside a temporary directory.
"""
