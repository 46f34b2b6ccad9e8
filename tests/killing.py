"""Processes that kill themselves at one of their changes of the file system, so that every moment can be tried."""

import os
import subprocess
import sys

KILLS = min(30, max(2, int(os.environ.get("KOA_FAULTS", "3"))))
"""Kills of each kind: 3, in the long run 30."""

CODE = """
import os, signal, sys

at, seen, armed = int(sys.argv[1]), 0, False
CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.chmod", "os.truncate", "shutil.rmtree"}

def count(event, args):
    global seen
    if armed and (event in CHANGES or event == "open" and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)):
        seen += 1
        if seen == at:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(count)
"""


def changes(code: str, *arguments: object) -> int:
    """How often Python code changes the file system after it has set ``armed = True``; it must end well."""
    done = _run(code, 0, arguments)
    assert done.returncode == 0, done.stderr
    return int(done.stdout.split()[-1])


def kill_at(change: int, code: str, *arguments: object) -> None:
    """Run the code and kill it just before this change, counted from 1."""
    done = _run(code, change, arguments)
    assert done.returncode == -9, done.stderr


def spread(total: int) -> list[int]:
    """`KILLS` of the changes 1 to `total`, evenly spread, the first and the last among them."""
    return sorted({1 + round(number * (total - 1) / (KILLS - 1)) for number in range(KILLS)})


def _run(code: str, at: int, arguments: tuple) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", f"{CODE}\n{code}\nprint(seen)", str(at), *map(str, arguments)]
    # Without compiled files, which only the first of several equal runs would write.
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)
