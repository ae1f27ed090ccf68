/* The C part of _spawn.pyx: start a child, in a given cgroup or not, vfork style. See there for why.

   Between the system call and execve the child shares the parent's memory and runs on its own
   stack, as in the C library's posix_spawn. It may only make system calls; setup.py has their
   wrappers bound when the module is loaded, so that the dynamic linker does not run here. */

#include <errno.h>
#include <stdint.h>

struct vc_spawn {
    char **programs;             /* tried in order, as in a search of PATH */
    char **argv;
    char **envp;
    const char *directory;      /* NULL: the child only exits */
    int input, output, error;
    int cgroup;                 /* -1: the caller's own */
    int no_new_privs;
    int ruleset;                /* of Landlock, by which the child restricts itself; -1: none */
    int kept[2];                /* inherited as descriptors 3 and 4; negative for none */
    const void *filter;         /* of system calls, for seccomp; NULL: none */
    unsigned short steps;       /* how many instructions it has */
    long descriptors;           /* the soft limit on descriptors; -1: the caller's own */
    int failure;                /* out: errno of the child's last step, 0 once it executes */
    int is_directory;           /* out: whether that step was chdir */
};

#if defined(__linux__)

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_clone3
#define SYS_clone3 435
#endif
#ifndef SYS_landlock_restrict_self
#define SYS_landlock_restrict_self 446
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif

#define VC_CLONE_VM            0x00000100ULL
#define VC_CLONE_VFORK         0x00004000ULL
#define VC_CLONE_INTO_CGROUP   0x200000000ULL
#define VC_STACK_BYTES (64 * 1024)
#define VC_SIGNALS 64           /* the kernel's, with those that the C library keeps for itself */

struct vc_clone_args {
    uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid,
             set_tid_size, cgroup;
};

static void vc_close_from(int first)
{
    struct rlimit limit;
    if (syscall(SYS_close_range, first, ~0U, 0) == 0)
        return;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0)  /* Linux before 5.9 */
        for (rlim_t fd = first; fd < limit.rlim_cur; fd++)
            close((int)fd);
}

/* Install the three standard descriptors. They are duplicated above 2 first, because in a host
   that has closed its own standard descriptors they may occupy each other's targets. */
static int vc_place(int input, int output, int error)
{
    int from[3] = {input, output, error};
    for (int i = 0; i < 3; i++)
        if ((from[i] = fcntl(from[i], F_DUPFD, 3)) < 0)
            return -1;
    for (int i = 0; i < 3; i++)
        if (dup2(from[i], i) < 0)
            return -1;
    return 0;
}

/* Close every descriptor but the standard three and those that are kept, which become 3 and 4.
   They are duplicated above these first: each may have the other's number. */
static int vc_close_others(const int kept[2])
{
    int from[2];
    for (int i = 0; i < 2; i++)
        if ((from[i] = kept[i] < 0 ? -1 : fcntl(kept[i], F_DUPFD, 5)) < 0 && kept[i] >= 0)
            return -1;
    for (int i = 0; i < 2; i++)
        if (from[i] < 0)
            close(3 + i);
        else if (dup2(from[i], 3 + i) < 0)
            return -1;
    vc_close_from(5);
    return 0;
}

static int vc_filter_calls(const struct vc_spawn *s)
{
    struct sock_fprog program = {s->steps, (struct sock_filter *)s->filter};
    return s->filter == NULL ? 0 : prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0);
}

static int vc_execute(struct vc_spawn *s)
{
    int worst = 0;
    for (char **program = s->programs; *program != NULL; program++) {
        execve(*program, s->argv, s->envp);
        /* "Found but not executable" says more than "not found" in the next directory. */
        if (worst == 0 && errno != ENOENT && errno != ENOTDIR)
            worst = errno;
    }
    return worst ? worst : ENOENT;
}

/* What a program expects at its start, whatever the host was started with: the default for every
   signal, also for those that Python ignores, or nohup, or the application. */
static void vc_reset_signals(void)
{
    /* The kernel's structure, which is all zeros whatever its layout. The C library's function
       refuses the two signals that it uses itself, and those may be ignored as well. */
    uint64_t plain[8] = {0};
    for (int number = 1; number <= VC_SIGNALS; number++)
        syscall(SYS_rt_sigaction, number, plain, NULL, sizeof(uint64_t));
}

static int vc_limit_descriptors(long soft)
{
    struct rlimit limit;
    if (soft < 0)
        return 0;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return -1;
    limit.rlim_cur = (rlim_t)soft < limit.rlim_max ? (rlim_t)soft : limit.rlim_max;
    return setrlimit(RLIMIT_NOFILE, &limit);
}

/* The child: system calls only, no Python, no allocation. Its signals are blocked until the end,
   since no handler of the parent may run in it. */
static __attribute__((noinline)) void vc_child(struct vc_spawn *s)
{
    uint64_t none = 0;
    if (s->directory == NULL)
        _exit(0);
    if (setsid() < 0 || vc_place(s->input, s->output, s->error) < 0)
        goto failed;
    if (chdir(s->directory) < 0) {
        s->is_directory = 1;
        goto failed;
    }
    if (s->no_new_privs && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        goto failed;
    if (s->ruleset >= 0 && syscall(SYS_landlock_restrict_self, s->ruleset, 0) < 0)
        goto failed;
    if (vc_close_others(s->kept) < 0)
        goto failed;
    /* After the descriptors are closed: before Linux 5.9, the limit tells how many there may be. */
    if (vc_limit_descriptors(s->descriptors) < 0)
        goto failed;
    vc_reset_signals();
    if (vc_filter_calls(s) < 0)
        goto failed;
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, NULL, sizeof none);
    errno = vc_execute(s);
failed:
    s->failure = errno;
    _exit(127);
}

#if defined(__x86_64__) || defined(__aarch64__)

/* The system call switches the stack, so the child must never return from this function. */
static long vc_clone(struct vc_clone_args *args, struct vc_spawn *s)
{
#if defined(__x86_64__)
    register void (*entry)(struct vc_spawn *) __asm__("r12") = vc_child;
    register struct vc_spawn *argument __asm__("r13") = s;
    long result;
    __asm__ volatile (
        "syscall\n\t"
        "test %%rax, %%rax\n\t"
        "jnz 1f\n\t"
        "xor %%ebp, %%ebp\n\t"
        "mov %[argument], %%rdi\n\t"
        "call *%[entry]\n\t"
        "ud2\n"
        "1:"
        : "=a"(result)
        : "a"((long)SYS_clone3), "D"(args), "S"(sizeof *args),
          [entry] "r"(entry), [argument] "r"(argument)
        : "rcx", "r11", "memory", "cc");
    return result;
#else
    register long number __asm__("x8") = SYS_clone3;
    register long result __asm__("x0") = (long)args;
    register long size __asm__("x1") = sizeof *args;
    register void (*entry)(struct vc_spawn *) __asm__("x19") = vc_child;
    register struct vc_spawn *argument __asm__("x20") = s;
    __asm__ volatile (
        "svc #0\n\t"
        "cbnz x0, 1f\n\t"
        "mov x29, xzr\n\t"
        "mov x0, %[argument]\n\t"
        "blr %[entry]\n\t"
        "brk #0\n"
        "1:"
        : "+r"(result)
        : "r"(number), "r"(size), [entry] "r"(entry), [argument] "r"(argument)
        : "memory", "cc");
    return result;
#endif
}

static long vc_start_in_cgroup(struct vc_spawn *s)
{
    void *stack = mmap(NULL, VC_STACK_BYTES, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (stack == MAP_FAILED)
        return -errno;
    struct vc_clone_args args = {
        .flags = VC_CLONE_VM | VC_CLONE_VFORK | VC_CLONE_INTO_CGROUP,
        .exit_signal = SIGCHLD,
        .stack = (uint64_t)(uintptr_t)stack,
        .stack_size = VC_STACK_BYTES,
        .cgroup = (uint64_t)s->cgroup,
    };
    long pid = vc_clone(&args, s);
    munmap(stack, VC_STACK_BYTES);
    return pid;
}

#else

static long vc_start_in_cgroup(struct vc_spawn *s)
{
    return -ENOSYS;
}

#endif

/* A function of its own, because the child overwrites what the compiler keeps on this stack. */
static __attribute__((noinline)) long vc_start(struct vc_spawn *s)
{
    pid_t pid = vfork();
    if (pid == 0)
        vc_child(s);
    return pid < 0 ? -errno : pid;
}

/* Return the PID, or a negated errno. Blocks the caller until the program is executed. */
static long vc_spawn(struct vc_spawn *s)
{
    uint64_t all = ~(uint64_t)0, before;
    /* No signal handler may run in the child, which shares our memory. */
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, &before, sizeof all);
    long pid = s->cgroup >= 0 ? vc_start_in_cgroup(s) : vc_start(s);
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &before, NULL, sizeof before);
    return pid;
}

#else

static long vc_spawn(struct vc_spawn *s)
{
    return -ENOSYS;
}

#endif
