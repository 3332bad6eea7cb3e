"""The two commands of a fresh clone, the files that describe the package, and who may import whom."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
import tomllib
import venv
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from dgmlab import doctor

CLONE = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((CLONE / "pyproject.toml").read_text())["project"]


# -- the bootstrap ---------------------------------------------------------------------------------------------------

# Stands in for pip: notes how it was called and installs what a file of the test says, as empty distributions.
FAKE_PIP = """
import json, os, pathlib, sys, sysconfig, tomllib
here = pathlib.Path(os.environ["FAKE_PIP"])
with (here / "calls").open("a") as calls:
    calls.write(json.dumps(sys.argv[1:]) + "\\n")
if (here / "fails").exists() and "-e" in sys.argv:
    sys.exit((here / "fails").read_text())
if "-e" in sys.argv:
    place, _, extra = sys.argv[-1].partition("[")
    project = tomllib.loads(pathlib.Path(place, "pyproject.toml").read_text())["project"]
    for name in ["dgmlab", *project["dependencies"], *project["optional-dependencies"].get(extra.strip("]"), [])]:
        if name == (here / "breaks").read_text():
            os._exit(9)
        info = pathlib.Path(sysconfig.get_path("purelib"), f"{name}-1.dist-info")
        info.mkdir(exist_ok=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\\nName: {name}\\nVersion: 1\\n")
        if name != (here / "half").read_text():
            (info / "INSTALLER").write_text("pip")
"""


class Clone:
    """A clone with the real bootstrap, a command line that says where it runs, and two invented dependencies."""

    def __init__(self, place: Path):
        self.place, self.pip = place / "clone", place / "pip"
        (self.place / "dgmlab").mkdir(parents=True)
        (self.pip / "pip").mkdir(parents=True)
        for name in ("__init__.py", "__main__.py"):
            (self.place / "dgmlab" / name).write_text((CLONE / "dgmlab" / name).read_text())
        (self.place / "dgmlab" / "cli.py").write_text("import sys\ndef main(argv): print(sys.prefix, *argv)\n")
        (self.pip / "pip" / "__init__.py").write_text("")
        (self.pip / "pip" / "__main__.py").write_text(FAKE_PIP)
        (self.place / ".versions.txt").write_text("alpha==1\n")
        self.wants(["alpha", "beta"])
        self.set(half="", breaks="")
        self.bare = place / "bare"                          # a Python with no packages at all
        venv.create(self.bare, with_pip=False, symlinks=os.name != "nt")

    def wants(self, core, test=("gamma",)):
        (self.place / "pyproject.toml").write_text(
            f"[project]\ndependencies = {list(core)}\noptional-dependencies.test = {list(test)}\n")

    def set(self, **files):
        for name, text in files.items():
            (self.pip / name).write_text(text)

    def run(self, *argv):
        """Start the command; returns its result and the calls of pip that it made, without pip's own update."""
        python = self.bare / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        (self.pip / "calls").write_text("")
        done = subprocess.run([python, "-m", "dgmlab", *argv], cwd=self.place, capture_output=True, text=True,
                              env={**os.environ, "PYTHONPATH": str(self.pip), "FAKE_PIP": str(self.pip)})
        calls = [json.loads(line) for line in (self.pip / "calls").read_text().splitlines()]
        return done, [call[1:] for call in calls if "--upgrade" not in call]

    @property
    def site(self):
        return next((self.place / ".venv").glob("[Ll]ib*/**/site-packages"))

    @property
    def right(self):
        return f"{self.place / '.venv'} lab -x\n"


@pytest.fixture(scope="module")
def the_clone(tmp_path_factory):
    return Clone(tmp_path_factory.mktemp("bootstrap"))


@pytest.fixture
def clone(the_clone):
    """One clone for all tests, because making an environment takes seconds; what it wants is as at first."""
    the_clone.wants(["alpha", "beta"])
    the_clone.set(half="", breaks="")
    (the_clone.pip / "fails").unlink(missing_ok=True)
    return the_clone


def test_the_first_start_sets_up_and_the_second_goes_straight_through(clone):
    shutil.rmtree(clone.place / ".venv", ignore_errors=True)
    done, calls = clone.run("lab", "-x")
    assert (done.returncode, done.stdout) == (0, clone.right), done.stderr
    assert calls == [["-c", str(clone.place / ".versions.txt"), "-e", str(clone.place)]]
    stages = done.stderr.splitlines()
    assert [line.split()[1] for line in stages] == ["making", "bringing", "installing", "installed"]

    done, calls = clone.run("lab", "-x")
    assert (done.stdout, done.stderr, calls) == (clone.right, "", [])


def test_the_tests_extra_is_installed_when_it_is_asked_for(clone):
    clone.run("lab")
    done, calls = clone.run("test", "--fast")
    assert calls == [["-c", str(clone.place / ".versions.txt"), "-e", f"{clone.place}[test]"]]
    assert "installing what `dgmlab test` needs" in done.stderr and done.stdout.endswith("test --fast\n")
    assert clone.run("test")[1] == clone.run("lab")[1] == []


def test_new_requirements_are_installed(clone):
    clone.run("lab")
    clone.wants(["alpha", "beta", "delta"])
    assert len(clone.run("lab")[1]) == 1 and clone.run("lab")[1] == []
    (clone.place / ".versions.txt").write_text("alpha==1\nbeta==2\n")
    assert len(clone.run("lab")[1]) == 1 and clone.run("lab")[1] == []


def test_an_interrupted_installation_is_mended(clone):
    clone.wants(["alpha", "epsilon", "zeta"])
    clone.set(breaks="zeta", half="epsilon")
    done, _ = clone.run("lab", "-x")
    assert done.returncode == 1 and done.stdout == ""
    assert (clone.site / "epsilon-1.dist-info").exists()

    clone.set(breaks="", half="")
    done, calls = clone.run("lab", "-x")
    assert len(calls) == 1 and done.stdout == clone.right and "was interrupted; mending it" in done.stderr
    assert (clone.site / "epsilon-1.dist-info" / "INSTALLER").exists()      # forgotten, and installed anew
    assert clone.run("lab", "-x")[1] == []


def test_an_interrupted_installation_of_the_tests_leaves_the_labs_alone(clone):
    clone.run("lab")
    clone.wants(["alpha", "beta"], test=["eta"])
    clone.set(fails="Temporary failure in name resolution")
    assert clone.run("test")[0].returncode == 1
    done, calls = clone.run("lab", "-x")
    assert (done.stdout, calls) == (clone.right, [])
    (clone.pip / "fails").unlink()
    assert len(clone.run("test")[1]) == 1


@pytest.mark.parametrize("says, sentence", [
    ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device",
     r"ran out of disk space \([\d.]+ GB are free\); .*make room and run the same command again"),
    ("WARNING: Retrying after connection broken by 'NewConnectionError'\nERROR: No matching distribution found for x",
     "needs the network.*connect .* and run the same command again"),
    ("ERROR: No matching distribution found for torch==2.13.0.\nsome advice",
     "failed: No matching distribution found for torch==2.13.0; Python 3.11 to 3.13 are known to work"),
])
def test_what_goes_wrong_is_one_sentence(clone, says, sentence):
    clone.wants(["alpha", "beta", "theta"])
    clone.set(fails=says)
    done, _ = clone.run("lab")
    last = done.stderr.splitlines()[-1]
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert re.search(sentence, last) and last.endswith(f"(the whole log: {clone.place / '.venv' / 'install.log'}).")
    assert says.splitlines()[0] in (clone.place / ".venv" / "install.log").read_text()


def test_a_broken_environment_is_made_again(clone):
    python = clone.place / ".venv" / "bin" / "python"
    if not python.is_symlink():
        pytest.skip("this platform copies the interpreter")
    clone.run("lab")
    python.unlink()
    python.symlink_to("/nowhere/python")
    done, _ = clone.run("lab", "-x")
    assert done.stdout == clone.right, done.stderr


def test_an_environment_with_the_dependencies_is_used_as_it_is():
    done = subprocess.run([sys.executable, "-c", textwrap.dedent("""
        import sys
        sys.path[:0] = [sys.argv[1]]
        import dgmlab.__main__ as bootstrap
        bootstrap.VENV = bootstrap.VENV / "elsewhere"
        bootstrap.missing = lambda extra: []
        bootstrap.create = bootstrap.hand_over = None
        bootstrap.main(["--version"])
    """), str(CLONE)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.startswith("dgmlab, version ")


def test_an_old_python_is_told_so():
    # Every construct of the two files that an old Python must read is known to Python 3.7.
    for name in ("__init__.py", "__main__.py"):
        ast.parse((CLONE / "dgmlab" / name).read_text(), feature_version=(3, 7))
    code = ("import sys; sys.version_info = (3, 9, 2); sys.path[:0] = [sys.argv[1]]; "
            "import dgmlab.__main__ as m; m.main(['test'])")
    done = subprocess.run([sys.executable, "-c", code, str(CLONE)], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == ("dgmlab: This is Python 3.9, but the lab needs Python 3.11 or newer; start it with one, for "
                           "instance `python3.11 -m dgmlab test`.\n")


def test_the_bootstrap_uses_the_standard_library_only():
    for name in ("__init__.py", "__main__.py"):
        for module, _ in imports(CLONE / "dgmlab" / name):
            assert module.split(".")[0] in sys.stdlib_module_names or module == "dgmlab.cli", f"{name}: {module}"


# -- what is described in two places agrees --------------------------------------------------------------------------

def test_every_dependency_has_a_tested_version_that_fits():
    tested = doctor.tested_versions()
    for line in PROJECT["dependencies"] + PROJECT["optional-dependencies"]["test"]:
        requirement = Requirement(line)
        assert doctor._key(requirement.name) in tested, f".versions.txt does not name {requirement.name}"
        assert requirement.specifier.contains(tested[doctor._key(requirement.name)]), requirement.name
    assert Requirement(next(line for line in PROJECT["dependencies"] if line.startswith("ipykernel"))
                       ).specifier.contains("7.0.1") is False


def test_constraints_name_no_place():
    text = (CLONE / ".versions.txt").read_text()
    assert not re.search(r"https?:|file:/|@|^-", text, re.M)
    assert "+" not in "".join(doctor.tested_versions().values())       # a local build's label would bind to one index


def test_environment_yml_agrees_with_pyproject():
    import yaml

    environment = yaml.safe_load((CLONE / "environment.yml").read_text())
    assert set(environment) == {"name", "channels", "dependencies"} and environment["name"] == PROJECT["name"]
    *conda, pip = environment["dependencies"]
    assert all(isinstance(line, str) for line in conda + pip["pip"]) and set(pip) == {"pip"}
    # repo2docker, buildpacks/conda: PYTHON_REGEX; what it does not match counts as no wish at all.
    found = [match for line in conda if (match := re.fullmatch(r"python\s*=+\s*([\d\.]*)", line))]
    assert len(found) == 1 and f"Programming Language :: Python :: {found[0][1]}" in PROJECT["classifiers"]
    assert SpecifierSet(PROJECT["requires-python"]).contains(found[0][1])
    assert (CLONE / ".versions.txt").read_text().count(f"(Python {found[0][1]}, ") == 1
    # A line that repo2docker takes for a local one makes it copy the whole repository before pip runs.
    assert any(line.startswith(("-r", "-c")) or line.split()[-1].startswith(".") for line in pip["pip"])
    assert "pip" in conda
    installed = [line for line in pip["pip"] if line.startswith("-e")]
    assert installed == ["-e ."]                                # the core, as `dgmlab lab` installs it: no extra
    assert "-c .versions.txt" in pip["pip"]


def test_extras_are_there():
    assert {"hub", "test", "bench"} <= set(PROJECT["optional-dependencies"])
    assert {"pytest", "nbval", "playwright"} <= {Requirement(line).name
                                                 for line in PROJECT["optional-dependencies"]["test"]}


def test_a_folder_of_the_same_name_does_not_hide_the_package(tmp_path):
    """A kernel that starts above the clone has its folder `dgmlab` first on the path."""
    (tmp_path / "dgmlab" / "labs").mkdir(parents=True)
    found = subprocess.run([sys.executable, "-c", "import dgmlab.schedules as found; print(found.__file__)"],
                           cwd=tmp_path, capture_output=True, text=True)
    assert found.stdout.strip() == str(CLONE / "dgmlab" / "schedules.py"), found.stderr


def test_ci_runs_the_readmes_test_command():
    lines = (CLONE / ".ci" / "run").read_text().splitlines()
    assert os.access(CLONE / ".ci" / "run", os.X_OK)
    assert lines[-1] == "python3 -m dgmlab test" and "export DGMLAB_REQUIRE_BROWSER=1" in "\n".join(lines)
    readme = (CLONE / "README.md").read_text()
    assert "python3 -m dgmlab lab\n" in readme and "python3 -m dgmlab test\n" in readme


def test_a_skipped_browser_test_fails_where_one_is_required(tmp_path):
    (tmp_path / "conftest.py").write_text((CLONE / "tests" / "conftest.py").read_text())
    (tmp_path / "test_browser.py").write_text(textwrap.dedent("""
        import pytest

        @pytest.mark.browser
        def test_browser(chromium): pass

        @pytest.mark.skip(reason="another reason")
        def test_other(): pass
    """))
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = browser: x\n")
    environment = {**os.environ, "PATH": "", "DGMLAB_CHROMIUM": ""}
    for required, outcome in (("", "2 skipped"), ("0", "2 skipped"), ("1", "1 skipped, 1 error")):
        done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", tmp_path], cwd=tmp_path,
                              capture_output=True, text=True, env={**environment, "DGMLAB_REQUIRE_BROWSER": required})
        assert outcome in done.stdout, done.stdout


def test_the_code_of_package_tests_and_labs_is_in_one_style():
    done = subprocess.run([sys.executable, "-m", "ruff", "check", "--no-cache", "dgmlab", "tests", "labs"], cwd=CLONE,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


# -- the house -------------------------------------------------------------------------------------------------------

FLOORS = [                                      # a room imports from the floors above its own, and from itself
    {"errors", "rng", "knobs", "schedules"},
    {"data", "models"},                         # which do not know of each other
    {"training"},
    {"metrics"},
    {"experiments"},
    {"plots", "results"},
    {"widgets"},
    {"check"},
    {"lab_format"},
    {"notebooks"},
    {"sessions", "dashboard", "classroom", "sweep"},         # which do not know of each other
    {"doctor"},
    {"cli"},
    {"__main__"},
]
GROUND = FLOORS[0]                              # these are files of one floor, and may import each other


def imports(path: Path):
    """What a file of the package imports, as (absolute module, whether anything runs on import), each once."""
    package = ("dgmlab", *path.relative_to(CLONE / "dgmlab").parts[:-1])
    tree = ast.parse(path.read_text())
    inner = {id(node) for function in ast.walk(tree) if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef))
             for node in ast.walk(function)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, id(node) not in inner
        elif isinstance(node, ast.ImportFrom):
            base = ".".join((*package[:len(package) - node.level + 1], *filter(None, [node.module]))
                            ) if node.level else node.module
            if base == "dgmlab":
                yield from ((f"dgmlab.{alias.name}", id(node) not in inner) for alias in node.names)
            else:
                yield base, id(node) not in inner


def sources():
    return sorted((CLONE / "dgmlab").rglob("*.py"))


def room(path: Path) -> str:
    return path.relative_to(CLONE / "dgmlab").with_suffix("").parts[0]


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(CLONE)))
def test_a_room_imports_only_from_rooms_above_it(path):
    own = room(path)
    if own == "__init__":
        assert list(imports(path)) == []
        return
    floor = next((number for number, rooms in enumerate(FLOORS) if own in rooms), None)
    assert floor is not None, f"{path.name} lies in no room of the house"
    above = set().union(*FLOORS[:floor]) | {own} | (GROUND if own in GROUND else set())
    for module, _ in imports(path):
        if module.startswith("dgmlab."):
            other = module.split(".")[1]
            assert other in above or other == "__version__", f"{own} must not import {module}"


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(CLONE)))
def test_only_the_front_rooms_know_of_front_ends(path):
    modules = {module for module, _ in imports(path)}
    if room(path) not in ("plots", "widgets", "check"):
        assert not {module for module in modules if module.split(".")[0] == "ipywidgets"}
    assert "matplotlib.pyplot" not in modules               # its figures are global, and not for threads


def test_importing_the_package_is_cheap():
    code = ("import sys, dgmlab, dgmlab.cli, dgmlab.notebooks, dgmlab.doctor; heavy = {'torch', 'matplotlib', 'numpy', "
            "'pandas', 'sklearn', 'papermill', 'IPython'} & set(sys.modules); sys.exit(', '.join(heavy) or 0)")
    done = subprocess.run([sys.executable, "-c", code], cwd=CLONE, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_no_file_names_this_machine():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=CLONE, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    for name in filter(None, listed.stdout.split("\0")):
        path = CLONE / name
        if path.suffix in (".py", ".md", ".toml", ".yml", ".txt", ".ipynb", ".json") and path.is_file():
            assert str(CLONE) not in path.read_text(encoding="utf-8"), f"{name} names the folder it was written in"
