"""What watches plugins and the host itself, and tells their supervisors.

============ =================================================
`watchdog`   pings native plugins, and notices missed ones
`monitor`    samples every process tree once a second
`loop_watch` notices what holds the host's own event loop
`reloader`   restarts a plugin when its source has changed
============ =================================================
"""
