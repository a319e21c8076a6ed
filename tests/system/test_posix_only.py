"""The code calls nothing that only one system has, and names the encoding of every text: read from the code itself."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
UNIX = {"fcntl", "resource", "grp", "pwd", "termios", "tty", "pty", "syslog", "multiprocessing"}
"""Modules; of the last one, its ways to start a process differ from system to system."""
EVERYWHERE = {
    *(
        "PathLike",
        "close",
        "cpu_count",
        "devnull",
        "dup",
        "dup2",
        "environ",
        "fdopen",
        "fsencode",
        "fspath",
        "getpid",
        "link",
    ),
    *(
        "path",
        "pathsep",
        "replace",
        "rename",
        "SEEK_END",
        "stat",
        "umask",
        "walk",
        "fsync",
        "open",
        "unlink",
        "scandir",
        "utime",
        "truncate",
        "isatty",
        "write",
        "fstat",
        "strerror",
        "_exit",
    ),
    *("O_RDONLY", "O_WRONLY", "O_RDWR", "O_CREAT", "O_EXCL"),
}
SIGNALS = {"Signals", "signal", "getsignal", "SIGINT", "SIGTERM", "SIG_IGN", "SIGKILL"}
"""The last one is for Linux alone, where `processes` asks for it."""
ASKED_FOR = {"process_cpu_count", "sched_getaffinity", "kill"}
"""Names of os that `devices.core_count` looks for before it uses them; `owners.alive` asks which system it is."""
TEXT = {"open", "fdopen", "read_text", "write_text", "run", "Popen"}
BINARY = {"rb", "wb", "ab", "rb+", "xb", "r:"}
NOT_TEXT = {
    ("fetching/unpack.py", "member.open()"),  # bytes, of a zip archive
    ("fetching/unpack.py", "opened.open(info)"),
    ("fetching/download.py", "self._part.open(mode)"),
    ("weights/archives.py", "archive.open(member)"),
}


def sources():
    for folder in ("mcsr_bench", "methods", "datasets", "reports"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            if path.relative_to(ROOT).parts[1] not in ("methods", "datasets", "reports"):
                yield path.relative_to(ROOT / folder).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def only_unix(tree):
    for node in ast.walk(tree):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        yield from (name for name in names if name.split(".")[0] in UNIX)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            module, name = node.value.id, node.attr
            if (module == "os" and name not in EVERYWHERE | ASKED_FOR) or (module == "signal" and name not in SIGNALS):
                yield f"{module}.{name}"


def without_encoding(tree):
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or any(k.arg == "encoding" for k in node.keywords):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        constants = {a.value for a in node.args if isinstance(a, ast.Constant)}
        module = getattr(getattr(node.func, "value", None), "id", "")
        process = name in ("run", "Popen") and module == "subprocess"
        if (name in TEXT - {"run", "Popen"} or process) and not constants & BINARY and module not in ("files", "os"):
            yield ast.unparse(node)


def test_no_call_is_of_one_system():
    assert [(path, name) for path, tree in sources() for name in only_unix(tree)] == []


def test_every_text_has_its_encoding():
    found = {(path, call) for path, tree in sources() for call in without_encoding(tree)}
    found = {(path, call) for path, call in found if not call.startswith("write_text(path, ") and "'utf-8'" not in call}
    assert found - NOT_TEXT == set()


def test_what_is_looked_for_is_found():
    planted = "import fcntl, os, signal\nos.fork()\nsignal.SIGHUP\nopen('a')\nsubprocess.run(['a'], text=True)\nopen('b', 'rb')"
    assert sorted(only_unix(ast.parse(planted))) == ["fcntl", "os.fork", "signal.SIGHUP"]
    assert list(without_encoding(ast.parse(planted))) == ["open('a')", "subprocess.run(['a'], text=True)"]
