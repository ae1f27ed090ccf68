"""What plugins print, and how the host writes it down.

============= ==========================================================================
`plugin_logs` the logs of all plugins
`plugin_log`  one plugin's log: joins the parts below
`pipes`       reads what a plugin's process writes
`lines`       cuts bytes into lines
`records`     works out what a line says: level, message, fields
`text`        makes text safe to show on a terminal
`flood`       bounds how many lines pass
`ring`        keeps the newest records in memory
`files`       writes them to disk, and rotates
`host_log`    the host's own log on stderr
`writer`      the thread behind the last two: the loop never waits for a disk or a terminal
============= ==========================================================================
"""
