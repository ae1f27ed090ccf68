"""A child process tree: start, cgroup, sandbox, usage, end.

=================== ============================================================
`process`           one child process and all its descendants
`_spawn`            compiled: start a process inside a cgroup
`environment`       an allowlist of the host's environment
`procfs`            process information from the kernel
`usage`             resource usage of all process trees, in one pass
`cgroup`            the cgroup of one start
`cgroup_tree`       where a host may create cgroups
`bubblewrap`        the command line of a sandbox
`no_new_privileges` a thread to start processes from that cannot gain privileges
`directories`       a plugin's data, temporary files and secrets
=================== ============================================================
"""
