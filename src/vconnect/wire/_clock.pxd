# cython: language_level=3
"""The clock for all deadlines. Only a header: there is no module of this name."""

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
    """
    double monotonic "vc_monotonic"() nogil
