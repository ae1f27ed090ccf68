# cython: language_level=3
"""The clock of all deadlines, and the one of work. Only a header: no module has this name."""

cdef extern from *:
    """
    #include <time.h>
    /* The clock of Python's time.monotonic(), in half the time. */
    static inline double vc_monotonic(void) {
    #ifdef __APPLE__
        return (double)clock_gettime_nsec_np(CLOCK_UPTIME_RAW) * 1e-9;
    #else
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
    #endif
    }
    /* The processor time of this thread: on a busy machine, a frame must not pay for others. */
    static inline double vc_busy(void) {
        struct timespec now;
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
        return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
    }
    """
    double monotonic "vc_monotonic"() nogil
    double busy "vc_busy"() nogil
