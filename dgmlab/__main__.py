"""`python3 -m dgmlab COMMAND`: the command line, which sets itself up first where it must.

Started from a clone with a Python that lacks the dependencies, it makes `.venv` in the clone, installs the tested
versions there and starts again inside; every later start goes straight through, without pip and without a network.
This file therefore uses the standard library only, and no syntax that an old Python could not read: it must get as
far as saying which Python it wants.
"""

import contextlib
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
STATE = VENV / "dgmlab.json"        # by extra, a hash of the requirements that were installed; and what is installing
LOG = VENV / "install.log"
OLDEST = (3, 11)
EXTRAS = {"test": "test", "dashboard": "dashboard"}         # by command, what it needs besides the labs' packages

DISK = r"No space left on device|Errno 28|Disk quota exceeded|not enough space on the disk"
NETWORK = (r"NewConnectionError|Failed to establish|name resolution|Name or service not known|getaddrinfo|"
           r"unreachable|timed out|Timeout|ProxyError|Connection (refused|reset|aborted|broken)|Max retries|SSLError|"
           r"IncompleteRead")


def main(argv):
    if sys.version_info < OLDEST:
        stop("This is Python {}.{}, but the lab needs Python 3.11 or newer; start it with one, for instance "
             "`python3.11 -m dgmlab {}`.".format(*sys.version_info[:2], " ".join(argv) or "lab"))
    if (ROOT / "pyproject.toml").is_file():                     # a clone; an installed package has its dependencies
        extra = EXTRAS.get(next((word for word in argv if not word.startswith("-")), ""), "core")
        if Path(sys.prefix).resolve() == VENV.resolve():
            os.environ.pop("DGMLAB_HANDED_OVER", None)
            if not ready(extra):
                install(extra)
                hand_over(argv)
        elif missing(extra):
            if os.environ.get("DGMLAB_HANDED_OVER"):
                stop(f"The Python of {VENV} does not start as one of that environment; unset PYTHONHOME if it is "
                     "set, or remove the folder, and run the same command again.")
            if not (venv_python().exists() and (VENV / "pyvenv.cfg").exists()):
                create()
            os.environ["DGMLAB_HANDED_OVER"] = "1"
            hand_over(argv)

    from dgmlab.cli import main as command_line

    command_line(argv)


# -- what is wanted, and what is there -------------------------------------------------------------------------------

def wanted(extra):
    """The names of the distributions that ``extra`` ("core", "test", ...) needs, and a hash that changes with them."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = project["dependencies"] + project["optional-dependencies"].get(extra, [])
    names = [re.match(r"[\w.-]+", line).group() for line in lines]
    versions = (ROOT / ".versions.txt").read_text(encoding="utf-8")
    return names, hashlib.sha256("\n".join([*lines, versions]).encode()).hexdigest()


def missing(extra):
    """The distributions that this interpreter lacks, dgmlab itself included (a notebook's kernel must find it)."""
    from importlib.metadata import Distribution

    # The clone itself is left out: an editable install leaves dgmlab.egg-info there, whichever Python made it.
    path = [place for place in sys.path if place and Path(place).resolve() != ROOT]
    return [name for name in ["dgmlab", *wanted(extra)[0]]
            if next(iter(Distribution.discover(name=name, path=path)), None) is None]


def state():
    try:
        return json.loads(STATE.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}                                               # somebody else's .venv: its contents decide
    except ValueError:
        return {"installing": "core"}


def ready(extra):
    """Whether .venv, inside which we run, has what ``extra`` needs, completely and as it is wanted today."""
    now = state()
    # An interrupted installation of the tests' packages touches nothing that the labs need.
    broken = now.get("installing") in ("core", extra)
    return not broken and now.get(extra) in (None, wanted(extra)[1]) and not missing(extra)


# -- setting up ------------------------------------------------------------------------------------------------------

def create():
    """Make an empty .venv with this interpreter; what is left of a broken one is cleared away."""
    say("making the environment .venv with Python {}.{}.{} ...".format(*sys.version_info[:3]))
    made = subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True)
    if made.returncode:
        if "ensurepip" in made.stdout:
            stop("This Python cannot make virtual environments, because its ensurepip is packaged apart; install it "
                 "(on Debian and Ubuntu: `apt install python3-venv`) and run the same command again.")
        explain("Making the environment .venv", made.stdout)


def install(extra):
    """Install, or repair, what ``extra`` needs into .venv, inside which we run."""
    with only_one():
        if ready(extra):                                        # another process did it while we waited
            return
        began, before = time.time(), state()
        if before.get("installing"):
            say("the last installation was interrupted; mending it ...")
        write_state({**before, "installing": extra})
        LOG.write_text("", encoding="utf-8")
        forget_half_installed()
        if importlib.util.find_spec("pip") is None:
            stage("Putting pip into .venv", "-m", "ensurepip", "--upgrade")
        say("bringing pip up to date ...")
        stage("Updating pip", "-m", "pip", "install", "--upgrade", "pip")
        say(f"installing what `dgmlab {extra}` needs ..." if extra != "core" and "core" in before else
            "installing PyTorch, JupyterLab and the rest (minutes, and only this once) ...")
        target = str(ROOT) if extra == "core" else f"{ROOT}[{extra}]"
        stage("Installing", "-m", "pip", "install", "-c", str(ROOT / ".versions.txt"), "-e", target)
        importlib.invalidate_caches()
        lacking = missing(extra)
        if lacking:
            stop(f"pip reported success, but {', '.join(lacking)} cannot be found in .venv; remove that folder and "
                 f"run the same command again (pip's log: {LOG}).")
        write_state({**before, "installing": "", "core": wanted("core")[1], extra: wanted(extra)[1]})
        say(f"installed in {time.time() - began:.0f} s.")


def stage(what, *arguments):
    """Run this interpreter with ``arguments``, its output into the log; on a terminal the latest line is shown."""
    # A user's own pip settings must not send the packages elsewhere than into .venv.
    settings = dict(os.environ, PIP_USER="0", PIP_NO_INPUT="1", PIP_DISABLE_PIP_VERSION_CHECK="1")
    for name in ("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT"):
        settings.pop(name, None)
    lines = []
    with LOG.open("a", encoding="utf-8") as log:
        process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                   encoding="utf-8", errors="replace", env=settings, cwd=str(ROOT))
        for line in process.stdout:
            lines.append(line)
            with contextlib.suppress(OSError):                  # a full disk is pip's to report
                log.write(line)
            if sys.stderr.isatty():
                width = shutil.get_terminal_size().columns - 4
                print(f"\r\033[K  {line.strip()[:width]}", end="", file=sys.stderr, flush=True)
        if sys.stderr.isatty():
            print("\r\033[K", end="", file=sys.stderr, flush=True)
        code = process.wait()
    if code:
        explain(what, "".join(lines))


def explain(what, output):
    """Stop with the reason that ``output``, of a command that failed, gives."""
    tail = "\n".join(output.splitlines()[-30:])
    keep = f" (the whole log: {LOG})" if LOG.exists() else ""
    if re.search(DISK, tail):
        free = shutil.disk_usage(ROOT).free / 1e9
        stop(f"{what} ran out of disk space ({free:.1f} GB are free); the lab needs about 2 GB with PyTorch's CPU "
             f"build and 8 GB with its GPU build: make room and run the same command again{keep}.")
    if re.search(NETWORK, tail):
        stop(f"{what} needs the network, and pip could not reach its package index; connect (or set pip's proxy or "
             f"index) and run the same command again{keep}.")
    errors = [line for line in tail.splitlines() if line.strip()] or ["no message"]
    last = next((line for line in reversed(errors) if "ERROR" in line), errors[-1])
    stop(f"{what} failed: {last.strip().removeprefix('ERROR: ').rstrip('.')}; Python 3.11 to 3.13 are known to work, "
         f"this is {sys.version_info[0]}.{sys.version_info[1]}{keep}.")


def forget_half_installed():
    """Let pip see packages whose copying was cut short as what they are: not installed.

    pip writes the file INSTALLER of a package after all its other files.
    """
    for place in {Path(place) for place in sys.path if Path(place).parts[-1:] == ("site-packages",)}:
        for info in place.glob("*.dist-info"):
            if VENV.resolve() in info.resolve().parents and not (info / "INSTALLER").exists():
                shutil.rmtree(info)


def write_state(new):
    part = STATE.with_suffix(".part")
    part.write_text(json.dumps(new), encoding="utf-8")
    os.replace(part, STATE)


@contextlib.contextmanager
def only_one():
    """Let one process at a time install. The lock goes with its process, however that ends."""
    try:
        import fcntl
    except ImportError:                                         # Windows
        yield
        return
    with (VENV / "install.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            say("another dgmlab is installing here; waiting for it ...")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


# -- small things ----------------------------------------------------------------------------------------------------

def venv_python():
    return VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def hand_over(argv):
    """Become `.venv`'s Python running the same command."""
    command = [str(venv_python()), "-m", "dgmlab", *argv]
    if os.name == "nt":
        sys.exit(subprocess.call(command))
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(command[0], command)


def say(text):
    print(f"dgmlab: {text}", file=sys.stderr, flush=True)


def stop(sentence):
    say(sentence)
    sys.exit(1)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except KeyboardInterrupt:
        say("interrupted; the same command goes on from here.")
        sys.exit(130)
