/* A slow disk, for one process: preloaded, it delays what SQLite writes and syncs. Built and used by slow_disk.py. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/types.h>
#include <unistd.h>

/* Microseconds; what is not set is not delayed. */
static void delay(const char *variable)
{
    const char *microseconds = getenv(variable);
    if (microseconds)
        usleep((useconds_t)atol(microseconds));
}

ssize_t pwrite64(int file, const void *data, size_t size, off64_t at)
{
    static ssize_t (*real)(int, const void *, size_t, off64_t);
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "pwrite64");
    delay("CHAOS_WRITE_US");
    return real(file, data, size, at);
}

ssize_t pwrite(int file, const void *data, size_t size, off_t at)
{
    return pwrite64(file, data, size, at);
}

int fdatasync(int file)
{
    static int (*real)(int);
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "fdatasync");
    delay("CHAOS_SYNC_US");
    return real(file);
}

int fsync(int file)
{
    static int (*real)(int);
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "fsync");
    delay("CHAOS_SYNC_US");
    return real(file);
}
