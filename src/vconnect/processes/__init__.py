"""A child process tree: start, cgroup, sandbox, usage, end.

=================== ============================================================
`process`           one child process and everything that it starts
`_spawn`            compiled: a process that is born in a cgroup
`environment`       an allowlist of the host's environment
`procfs`            what the kernel says of processes
`usage`             what process trees use, in one pass
`cgroup`            the cgroup of one start
`cgroup_tree`       where a host may make cgroups
`bubblewrap`        the command line of a sandbox
`no_new_privileges` a thread to start processes from that cannot gain privileges
`directories`       a plugin's data, temporary files and secrets
=================== ============================================================
"""
