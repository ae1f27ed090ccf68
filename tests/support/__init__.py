"""Help for the tests of every folder.

=============== ==========================================================================
`lab`           a manager in a directory of its own, with plugins made for the test
`serving`       ``vconnect serve`` as a process, and its command line
`edge_host`     a host with its administration socket inside the test's process
`kit_host`      the host's end of the wire for plugins that use the SDK
`sdk_end`       what a pipeline of the SDK writes to, and a plugin that waits
`paper`         real records, sessions and instances with no process behind them
`wire_end`      sessions over a socket pair, with the other end in the test's hands
`wire_kit`      owners, peers and frames for the compiled parts of the wire
`vectors`       frames of the wire's vectors, cut everywhere
`package_kit`   packages, good and bad, made in memory
`cgroup_kit`    cgroups, where the machine has them
`disks`         small file systems that fill up or become read-only
`sandboxes`     whether bubblewrap works here
`admin_tcp`     a real host with its administration interface over TCP
`web`           a client of that interface that sends what it is told
`fake_manager`  a manager for tests of the administration interface
`lane_machine`  a model of the lane's tables, for state machine tests
`clock`         a clock that only the test moves
`toolchains`    which compilers and runtimes work here
`reference`     the frame decoder in thirty lines of Python: the oracle
=============== ==========================================================================
"""
