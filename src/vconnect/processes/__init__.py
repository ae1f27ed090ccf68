"""A child process tree: start, cgroup, sandbox, usage, end.

============== ============================================================
`process`      one child process and all its descendants
`_spawn`       compiled: start a process, also inside a cgroup
`tree`         who belongs to a start, signals to all of them, who is left
`peer`         which process has connected
`environment`  an allowlist of the host's environment
`procfs`       process information from the kernel
`usage`        resource usage of all process trees, in one pass
`cgroup`       the cgroup of one start
`cgroup_tree`  where a host may create cgroups
`bubblewrap`   the command line of a sandbox
`landlock`     what the kernel denies to a process, without a sandbox program
`seccomp`      the system calls that the kernel denies to it
`directories`  a plugin's data, temporary files and secrets
============== ============================================================
"""
