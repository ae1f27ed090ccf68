"""What watches plugins, and tells their supervisors.

========== =================================================
`watchdog` pings native plugins, and notices missed ones
`monitor`  samples every process tree once a second
`reloader` restarts a plugin when its source has changed
========== =================================================
"""
