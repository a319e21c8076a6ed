"""This process as on Windows, as far as Linux can be made to. On PYTHONPATH: every Python that is started begins with it.

What only Unix has is not there. A file that is open or mapped can be neither moved, replaced nor removed, a folder with one in it
neither; nothing is moved over a folder, nor renamed to a name that is taken; there are no symbolic links.
"""

import errno
import os
import signal
import subprocess  # noqa: F401 - it needs what is hidden below
import sys

for name in ("fcntl", "resource", "grp", "pwd", "termios", "tty", "pty", "syslog", "posix_ipc"):
    sys.modules[name] = None  # type: ignore[assignment]
for name in (
    *(
        "sched_getaffinity",
        "process_cpu_count",
        "getloadavg",
        "fork",
        "forkpty",
        "nice",
        "killpg",
        "setsid",
        "getpgid",
    ),
    *("getuid", "geteuid", "getgid", "getegid", "chown", "lchown", "mkfifo", "mknod", "statvfs", "fwalk", "sync"),
):
    if hasattr(os, name):
        delattr(os, name)
for name in (
    "SIGHUP",
    "SIGQUIT",
    "SIGALRM",
    "SIGUSR1",
    "SIGUSR2",
    "SIGCHLD",
    "SIGSTOP",
    "SIGTSTP",
    "alarm",
    "setitimer",
):
    delattr(signal, name)

_replace, _rename, _unlink, _rmdir = os.replace, os.rename, os.unlink, os.rmdir


def _open_files():
    for number in os.listdir("/proc/self/fd"):
        try:
            yield os.readlink(f"/proc/self/fd/{number}")
        except OSError:
            continue
    with open("/proc/self/maps", encoding="utf-8") as maps:
        for line in maps:
            yield line[73:].strip()


def _refuse(path, why="The process cannot access the file because it is being used by another process", code=32):
    error = PermissionError(errno.EACCES, why, os.fspath(path))
    error.winerror = code
    raise error


def _check(path):
    place = os.path.abspath(path)
    if any(name == place or name.startswith(f"{place}/") for name in _open_files()):
        _refuse(path)


def replace(source, target):
    _check(source)
    _check(target)
    if os.path.isdir(target):
        _refuse(target, "Access is denied", 5)
    _replace(source, target)


def rename(source, target):
    _check(source)
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, "Cannot create a file when that file already exists", os.fspath(target))
    _rename(source, target)


def unlink(path, *, dir_fd=None):
    _check(path) if dir_fd is None else None
    _unlink(path, dir_fd=dir_fd)


def symlink(source, target, *_, **__):
    raise OSError(errno.EPERM, "A required privilege is not held by the client", os.fspath(target))


os.replace, os.rename, os.unlink, os.remove, os.symlink, os.link = replace, rename, unlink, unlink, symlink, symlink
os.supports_dir_fd.clear()  # shutil.rmtree by names, as on Windows
