"""What only POSIX or only Linux has is used where its absence was thought of, and LLMOS starts without it."""

import ast
import subprocess
import sys
from pathlib import Path

SRC = Path(__file__).resolve().parents[2] / "src"

MODULES = {"fcntl", "grp", "posix", "pty", "pwd", "readline", "resource", "syslog", "termios", "tty"}
NAMES = {
    "mmap": {"MAP_PRIVATE", "MAP_SHARED", "MAP_ANONYMOUS", "MADV_HUGEPAGE", "PROT_READ", "PROT_WRITE", "PROT_EXEC"},
    "os": {"O_NONBLOCK", "chown", "fork", "getloadavg", "getuid", "geteuid", "kill", "killpg", "mkfifo", "nice"}
    | {"posix_fadvise", "pread", "pwrite", "sched_getaffinity", "sched_setaffinity", "sched_yield", "sendfile"}
    | {"set_blocking", "setsid", "statvfs", "sysconf", "uname", "wait", "waitpid"},
    "select": {"epoll", "poll", "select"},
    "signal": {
        "SIGALRM",
        "SIGCHLD",
        "SIGHUP",
        "SIGKILL",
        "SIGPIPE",
        "SIGQUIT",
        "SIGURG",
        "SIGUSR1",
        "SIGUSR2",
        "SIGWINCH",
    }
    | {"alarm", "pthread_kill", "pthread_sigmask", "setitimer", "sigwait", "siginterrupt"},
    "socket": {"AF_UNIX"},
}
# Places that do without, each by a check that it makes itself.
ALLOWED = {
    "llmos/artifact/packed.py": {"os.posix_fadvise"},
    "llmos/cli/chat.py": {"readline"},
    "llmos/cli/interrupts.py": {"os.set_blocking", "select.select", "signal.pthread_kill", "signal.siginterrupt"},
    "llmos/core/locks.py": {"fcntl"},
    "llmos/compiler/toolchain.py": {"os.killpg", "signal.SIGKILL"},
    "llmos/hardware/anonymous.py": {"mmap.MAP_PRIVATE", "mmap.MAP_ANONYMOUS", "mmap.MADV_HUGEPAGE"},
    "llmos/hardware/cores.py": {"os.sched_getaffinity", "os.sched_setaffinity"},
    "llmos/hardware/foreign_memory.py": {"os.sysconf"},
}
KERNEL_FILES = {"llmos/hardware"}  # read by functions that say what is known without them


def posix_uses(tree: ast.Module) -> set[str]:
    """Names of modules and attributes in a file that other systems lack."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names} & MODULES
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module or ""} & MODULES
            found |= {
                f"{node.module}.{alias.name}" for alias in node.names if alias.name in NAMES.get(node.module or "", ())
            }
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            found |= {f"{node.value.id}.{node.attr}"} if node.attr in NAMES.get(node.value.id, ()) else set()
    return found


def parsed() -> dict[str, ast.Module]:
    files = sorted(SRC.rglob("*.py"))
    return {path.relative_to(SRC).as_posix(): ast.parse(path.read_text(encoding="utf-8")) for path in files}


def test_what_other_systems_lack_is_used_in_known_places():
    found = {name: posix_uses(tree) for name, tree in parsed().items()}
    assert {name: uses for name, uses in found.items() if uses} == ALLOWED


def test_files_of_the_linux_kernel_are_read_in_known_places():
    wrong = []
    for name, tree in parsed().items():
        documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            text = node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
            if text.lstrip("/").startswith(("proc/", "sys/")) and id(node) not in documentation:
                wrong += [] if Path(name).parent.as_posix() in KERNEL_FILES else [f"{name}:{node.lineno}: {text}"]
    assert wrong == []


def test_text_files_are_read_and_written_in_a_named_encoding():
    """The default of Windows is not UTF-8."""
    wrong = []
    for name, tree in parsed().items():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            keywords = {keyword.arg for keyword in node.keywords}
            modes = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
            text = called in ("read_text", "write_text") and isinstance(node.func, ast.Attribute)
            text |= called == "open" and isinstance(node.func, ast.Name) and not any("b" in mode for mode in modes)
            if text and "encoding" not in keywords:
                wrong.append(f"{name}:{node.lineno}: {called}")
    assert wrong == []


# A Python that lacks what Windows lacks, but for what click and the standard library here cannot do without.
POORER = f"""
import ctypes, mmap, os, select, signal, socket, subprocess, sys, click, numpy
for module in {sorted(MODULES - {"fcntl", "grp", "posix", "pwd", "termios", "tty"})!r}:
    sys.modules[module] = None
for module, names in {NAMES!r}.items():
    for name in names - {{'statvfs', 'uname'}}:
        if hasattr(sys.modules[module], name):
            delattr(sys.modules[module], name)
"""


def poorer(code: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", POORER + code], capture_output=True, text=True, timeout=120)


def test_llmos_starts_on_a_system_without_them():
    done = poorer("import llm, llmos\nfrom llmos.cli import main\nmain(['models'])")
    assert done.returncode == 0, done.stderr
    assert "llmos-mini" in done.stdout


def test_the_doctor_examines_a_system_without_them():
    done = poorer("from llmos.cli import main\nmain(['doctor', '--quick'])")
    assert done.returncode == 0, done.stderr
    assert "memory" in done.stdout


def test_a_chat_begins_on_a_system_without_them():
    code = "from llmos.cli.interrupts import heard_interrupts\nimport llmos.cli.chat\nwith heard_interrupts():\n    print('in')"
    done = poorer(code)
    assert (done.returncode, done.stdout) == (0, "in\n"), done.stderr


def test_weights_find_memory_on_a_system_without_them():
    done = poorer("from llmos.runtime.executor import arena\nprint(len(arena(5000, 'weights')))")
    assert (done.returncode, done.stdout) == (0, "5000\n"), done.stderr
