"""What plugins print, and how the host records it.

============= ==========================================================================
`plugin_logs` the logs of all plugins
`plugin_log`  one plugin's log, which combines the parts below
`pipes`       reads the output of a plugin's process
`last_words`  finds the reason for an end in the last lines
`lines`       splits bytes into lines
`records`     parses a line: level, message, fields
`text`        makes text safe to show on a terminal
`flood`       limits the rate of lines and bytes
`ring`        keeps the newest records in memory
`files`       writes records to rotated files
`host_log`    the host's own log on stderr
`writer`      the thread behind the last two: the loop never waits for a disk or a terminal
============= ==========================================================================
"""
