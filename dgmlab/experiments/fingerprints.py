"""The fingerprint of an experiment: of the code that decides its numbers, and of no other.

From the experiment's function on, the names that code uses are followed to what defines them: functions, classes and
constants of the rooms below, definition by definition, read from the source and never imported, so that the code of an
old commit can be told from today's. What does not decide a number leaves no mark: comments, docstrings, formatting,
type hints, the words of an error, the label of a knob, checks of arguments, and in which module a definition stands;
nor does the engine.

How names are followed where Python looks them up only as it runs:

* A method belongs to an experiment if its class does and if code that belongs to it names it, as an attribute of
  anything or in a string (``getattr``). Of a class with a base from elsewhere (``nn.Module``), and of the bases it has
  besides, all methods do: what comes from elsewhere may call them.
* If code imports a module of its own package by name (``import_module``), those named in strings are meant, and of them
  what is named, in the same way as a method.
* A statement that defines nothing (``REGISTRY["a"] = f``) belongs to every experiment that its module belongs to.

Names that are put together as the program runs are not followed, nor are data files and other packages' versions.
"""

from __future__ import annotations

import ast
import hashlib
import symtable
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ..errors import LabError

PACKAGE = Path(__file__).resolve().parents[1]
ROOMS = ("data", "experiments", "knobs", "metrics", "models", "rng", "schedules", "training")    # that decide numbers
# Modules of these rooms that do not: downloads, which no claim is measured on, and how a run is watched, interrupted
# and kept on the disk (it goes on to the same numbers).
ASIDE = ("data.published", "data.published_styles", "data.published_text", "training.checkpoint",
         "training.interrupts", "training.live", "training.session", "training.store")
# What serves every experiment is followed, since it names their methods, but leaves no mark of its own: else each
# improvement of the engine would make all claims stale. Its numbers are held to the bit by the tests that compare a run
# with the bare loop (tests/test_run.py).
ENGINE = ("experiments.recorded", "knobs.", "rng.", "training.")
KNOBS = {"Real": 3, "Whole": 3, "Choice": 2, "Switch": 1}           # kinds of knobs, and which argument is the label


def fingerprint(experiment: str, package: Path = PACKAGE) -> str:
    """Sixteen hexadecimal digits that change if the code does that decides the experiment's numbers.

    Args:
        experiment: its module in ``experiments``, a dot and the function, as records name it.
        package: the folder of the package's source, of this or of another version.

    Raises:
        LabError: there is no such experiment, or the source cannot be read.
    """
    read, known = _KNOWN.get((experiment, package), ({}, ""))
    if not known or any(_changed(path) != changed for path, changed in read.items()):
        trail = _reached(experiment, package)
        read = {source.path: source.changed for source in trail.sources.values() if source}
        known = hashlib.sha256("\n".join(sorted({text for _, text in trail.found})).encode()).hexdigest()[:16]
        _KNOWN[experiment, package] = read, known
    return known


def definitions(experiment: str, package: Path = PACKAGE) -> list[tuple[str, str]]:
    """What the fingerprint is made of: the place of each definition (``models.vae.VAE``), and what it says."""
    return _reached(experiment, package).found


_KNOWN: dict[tuple[str, Path], tuple[dict[Path, tuple[int, int] | None], str]] = {}    # with the files it is of


def _reached(experiment: str, package: Path) -> _Trail:
    module, _, function = experiment.rpartition(".")
    trail = _Trail(package)
    source = trail.source(f"experiments.{module}")
    if source is None or function not in source.defined:
        raise LabError(f"There is no experiment {experiment!r} in the experiments of {package.name}.")
    trail.follow(source, function)
    trail.finish()
    trail.found = [(place, text) for place, text in trail.found if not place.startswith(ENGINE)]
    return trail


def _changed(path: Path) -> tuple[int, int] | None:
    """What a file's time and size are, if it is there: other ones after an edit."""
    return (path.stat().st_mtime_ns, path.stat().st_size) if path.is_file() else None


class _Source:
    """The source of one module: what its top level defines, name by name, and what else runs on import.

    Attributes:
        name: within the package, ``models.vae``.
        home: of which package it is a module, ``models``; relative imports start there.
        path, changed: its file, and that file's time and size.
        defined: the statements that bind each name, in their order.
        loose: the statements that bind none.
    """

    def __init__(self, package: Path, name: str, path: Path, changed: tuple[int, int] | None):
        self.package, self.name, self.path, self.changed = package, name, path, changed
        self.home = name if path.name == "__init__.py" else name.rpartition(".")[0]
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, SyntaxError) as error:
            raise LabError(f"The source of {package.name}.{name} cannot be read ({error}).") from error
        aliases = [alias for statement in tree.body if isinstance(statement, ast.ImportFrom)
                   for alias in self.aliases(statement)]
        tree = _Plain({name for name, module, _ in aliases if module is not None and not _decides(module)}).visit(tree)
        self.defined: dict[str, list[ast.stmt]] = {}
        self.loose: list[ast.stmt] = []
        for statement in tree.body:
            if not isinstance(statement, ast.Pass) and not _is_guarded(statement):
                names = _bound(statement)
                for name in names:
                    self.defined.setdefault(name, []).append(statement)
                if not names:
                    self.loose.append(statement)

    def aliases(self, statement: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, str | None, str]]:
        """For each name that an import binds: the name, the module within the package, and what is taken of it.

        The module is None for what comes from other packages.
        """
        if isinstance(statement, ast.Import):
            for alias in statement.names:
                yield alias.asname or alias.name.partition(".")[0], None, alias.name
            return
        if statement.level:
            up = self.home.split(".")[:len(self.home.split(".")) - statement.level + 1]
            module = ".".join([*filter(None, up), *filter(None, [statement.module])])
        else:
            top, _, module = statement.module.partition(".")
            module = module if top == self.package.name else None
        for alias in statement.names:
            taken = alias.name if module is not None else f"{statement.module}.{alias.name}"
            yield alias.asname or alias.name, module, taken


_read = lru_cache(maxsize=512)(_Source)             # each once, as long as it does not change


def _decides(module: str) -> bool:
    """Whether a module of the package, or one of a package's own, could decide a number."""
    return module.partition(".")[0] in ROOMS and module not in ASIDE


class _Trail:
    """What has been reached from an experiment so far.

    Attributes:
        found: the place and the text of each definition.
        named: the attributes that it takes of anything but ``self`` and what is imported; strings that could be names.
        of_self: the attributes that it takes of ``self``, each with the place of the class that does.
        strings: the strings that could be names.
    """

    def __init__(self, package: Path):
        self.package = package
        self.sources: dict[str, _Source | None] = {}
        self.found: list[tuple[str, str]] = []
        self.named: set[str] = set()
        self.of_self: set[tuple[str, str]] = set()
        self.strings: set[str] = set()
        self._visited: set[tuple] = set()
        self._bases: dict[str, set[str]] = {}           # by a class's place: those of all its bases in the package
        self._exposed: set[str] = set()                 # classes of which code from elsewhere may call any method
        self._waiting: list[tuple[_Source, str, ast.stmt]] = []         # methods, until somebody names them
        self._by_name: set[str] = set()                 # packages whose modules are imported by name

    def source(self, name: str) -> _Source | None:
        """A module of the package by its name within it; None if there is none that decides numbers."""
        if name not in self.sources:
            path = self.package.joinpath(*name.split("."))
            files = [file for file in (path.with_name(path.name + ".py"), path / "__init__.py") if file.is_file()]
            known = files and path.name != "__init__" and _decides(name)
            self.sources[name] = _read(self.package, name, files[0], _changed(files[0])) if known else None
        return self.sources[name]

    def follow(self, source: _Source, name: str) -> None:
        """Take in what ``name`` means at the top level of a module."""
        if (source.name, name) in self._visited or name not in source.defined:
            return
        self._visited.add((source.name, name))
        if source.name not in self._visited:
            self._visited.add(source.name)
            for statement in source.loose:
                self._take(source, f"{source.name} on import", statement)
        for statement in source.defined[name]:
            if isinstance(statement, ast.Import | ast.ImportFrom):
                self._follow_import(source, name, statement)
            elif isinstance(statement, ast.ClassDef):
                self._follow_class(source, statement)
            else:
                self._take(source, f"{source.name}.{name}", statement)

    def _follow_all(self, source: _Source) -> None:
        for name in source.defined:
            self.follow(source, name)

    def finish(self) -> None:
        """Take in what is looked up by its name, until nothing new is."""
        before = None
        while before != (before := (len(self.found), len(self.named), len(self.strings))):
            for each in [each for each in self._waiting if self._is_named(each[1])]:
                self._waiting.remove(each)
                self._take(*each)
            for name in sorted(self.strings):
                for module in filter(None, (self.source(f"{home}.{name}") for home in sorted(self._by_name))):
                    for definition in sorted(self.named & set(module.defined)):
                        self.follow(module, definition)

    def _is_named(self, place: str) -> bool:
        """Whether somebody may call a method: names it on something, or on ``self`` of a class related to its own."""
        own, _, method = place.rpartition(".")
        return own in self._exposed or method in self.named or any(
            name == method and (own == other or own in self._bases[other] or other in self._bases[own])
            for other, name in self.of_self)

    def _follow_import(self, source: _Source, name: str, statement: ast.Import | ast.ImportFrom) -> None:
        """Take in what an import binds to ``name``: all of it if that is a module, as nobody says what is wanted."""
        for alias, module, taken in source.aliases(statement):
            if alias != name:
                continue
            if module is None:
                self.found.append((name, f"{alias} is {taken}"))
            elif (whole := self._submodule(module, taken)) is not None:
                self._follow_all(whole)
            elif (other := self.source(module)) is not None:
                self.follow(other, taken)

    def _follow_class(self, source: _Source, node: ast.ClassDef) -> None:
        """Take in a class; its methods only once somebody names them, unless a base from elsewhere may call them."""
        place = f"{source.name}.{node.name}"
        self._bases[place], from_elsewhere = self._bases_of(source, node)
        if from_elsewhere:
            self._exposed |= {place} | self._bases[place]
        rest, methods = _apart(node)
        self._take(source, place, rest)
        self._waiting += [(source, f"{place}.{each.name}", each) for each in methods]

    def _bases_of(self, source: _Source, node: ast.ClassDef) -> tuple[set[str], bool]:
        """The places of all of a class's bases in the package, and whether it has others."""
        places, from_elsewhere = set(), False
        for base in node.bases:
            home, found = self._look_up(source, base)
            if found is None:
                from_elsewhere = True
            else:
                more, others = self._bases_of(home, found)
                places |= {f"{home.name}.{found.name}"} | more
                from_elsewhere |= others
        return places, from_elsewhere

    def _look_up(self, source: _Source | None, node: ast.expr) -> tuple[_Source | None, ast.ClassDef | None]:
        """The class of the package that an expression names, and its module."""
        if isinstance(node, ast.Attribute):
            source, node = self._module(source, node.value), ast.Name(node.attr)
        while source is not None and isinstance(node, ast.Name):
            statement = next(iter(source.defined.get(node.id, [])), None)
            if isinstance(statement, ast.ClassDef):
                return source, statement
            if not isinstance(statement, ast.ImportFrom):
                break
            _, module, taken = next(each for each in source.aliases(statement) if each[0] == node.id)
            source, node = None if module is None else self.source(module), ast.Name(taken)
        return None, None

    def _submodule(self, module: str, name: str) -> _Source | None:
        return self.source(f"{module}.{name}".strip("."))

    def _module(self, source: _Source, node: ast.expr, inner: Iterable[ast.stmt] = ()) -> _Source | None:
        """The module of the package that an expression names, if it does."""
        if isinstance(node, ast.Name):
            for statement in [*inner, *source.defined.get(node.id, [])]:
                if isinstance(statement, ast.ImportFrom):
                    for alias, module, taken in source.aliases(statement):
                        if alias == node.id and module is not None:
                            return self._submodule(module, taken)
        return None

    def _is_outside(self, source: _Source, name: str, inner: Iterable[ast.stmt]) -> bool:
        """Whether a name stands for a module, or for something of another package: no method of ours is named on it."""
        for statement in [*inner, *source.defined.get(name, [])]:
            if isinstance(statement, ast.Import | ast.ImportFrom):
                for alias, module, taken in source.aliases(statement):
                    if alias == name:
                        return (module is None or self._submodule(module, taken) is not None
                                or not _decides(f"{module}.{taken}".strip(".")))
        return False

    def _take(self, source: _Source, place: str, statement: ast.stmt) -> None:
        """Take in a definition, and follow all that it uses."""
        facts = _facts(statement)
        self.found.append((place, facts.text))
        self.strings |= facts.strings
        self.named |= facts.strings
        local = {alias for node in facts.imports for alias, _, _ in source.aliases(node)}
        used = facts.used | local
        own = next((key for key in self._bases if place == key or place.startswith(f"{key}.")), None)
        if "import_module" in facts.attributes or any(name == "import_module" for name, _ in facts.names):
            self._by_name.add(source.home)
        for attribute, of in facts.attributes.items():
            if own and of & {"self", "cls", "super()"}:
                self.of_self.add((own, attribute))
            if any(root not in used or not self._is_outside(source, root, facts.imports)
                   for root in of - ({"self", "cls", "super()"} if own else set())):
                self.named.add(attribute)
        for name, attribute in facts.names:
            if name not in used:
                continue
            module = self._module(source, ast.Name(name), facts.imports)
            if module is not None and attribute in module.defined:
                self.follow(module, attribute)
            elif module is not None and (whole := self._submodule(module.name, attribute)) is not None:
                self._follow_all(whole)
            else:
                for each in facts.imports if name in local else ():
                    self._follow_import(source, name, each)
                self.follow(source, name)
        if not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            for each in facts.imports:                      # in a condition, say: they bind names of the top level
                for name in local:
                    self._follow_import(source, name, each)


@dataclass(frozen=True)
class _Facts:
    """What a statement says, without what its names mean.

    Attributes:
        text: the statement, the same in all versions of Python.
        used: the names that it looks up at the top level of its module.
        names: all its names, each with the attribute that is taken of it, or "".
        attributes: the attributes that it takes, each with the names that it takes them of ("" for what has no name).
        strings: its strings that could be names.
        imports: the imports inside it.
    """

    text: str
    used: set[str]
    names: set[tuple[str, str]]
    attributes: dict[str, set[str]]
    strings: set[str]
    imports: list[ast.Import | ast.ImportFrom]


@lru_cache(maxsize=8192)
def _facts(statement: ast.stmt) -> _Facts:
    names, attributes, strings, imports = set(), {}, set(), []
    for parent in ast.walk(statement):
        if isinstance(parent, ast.Attribute):
            root = parent.value
            of = (root.id if isinstance(root, ast.Name) else "super()"
                  if isinstance(root, ast.Call) and ast.unparse(root.func) == "super" else "")
            attributes.setdefault(parent.attr, set()).add(of)
        elif isinstance(parent, ast.Constant) and isinstance(parent.value, str) and parent.value.isidentifier():
            strings.add(parent.value)
        elif isinstance(parent, ast.Import | ast.ImportFrom):
            imports.append(parent)
        for child in ast.iter_child_nodes(parent):
            if isinstance(child, ast.Name):
                names.add((child.id, parent.attr if isinstance(parent, ast.Attribute) else ""))
    return _Facts(_canonical(statement), _used(statement), names, attributes, strings, imports)


@lru_cache(maxsize=2048)
def _apart(node: ast.ClassDef) -> tuple[ast.ClassDef, list[ast.stmt]]:
    """A class without its methods, but for those with a meaning for Python (``__init__``), and these methods."""
    methods = [each for each in node.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)
               and not (each.name.startswith("__") and each.name.endswith("__"))]
    rest = [each for each in node.body if each not in methods] or [ast.Pass()]
    return ast.ClassDef(**dict(ast.iter_fields(node)) | {"body": rest}), methods


class _Plain(ast.NodeTransformer):
    """Takes out of a definition what decides no numbers."""

    def __init__(self, foreign: set[str]):
        self.foreign = foreign

    def visit_FunctionDef(self, node):
        node.returns = None
        return self.generic_visit(node)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_ClassDef(self, node):             # whose annotations do decide: they are a dataclass's fields
        node.body = [each if isinstance(each, ast.AnnAssign) else self.visit(each) for each in node.body]
        return node

    def visit_AnnAssign(self, node):
        node = ast.Assign([node.target], node.value, lineno=node.lineno) if node.value else ast.Pass()
        return self.generic_visit(node)

    def visit_arg(self, node):
        node.annotation = None
        return node

    def visit_Expr(self, node):
        check = node.value.func if isinstance(node.value, ast.Call) else None
        text = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        if text or isinstance(check, ast.Name) and check.id in self.foreign:
            return ast.Pass()
        return self.generic_visit(node)

    def visit_Call(self, node):                 # of a knob, how it is called and shown
        label = KNOBS.get(node.func.id) if isinstance(node.func, ast.Name) else None
        if label is not None:
            node.args = node.args[:label] + node.args[label + 1:]
            node.keywords = [each for each in node.keywords if each.arg not in ("symbol", "help", "slider", "log")]
        return self.generic_visit(node)

    def visit_Raise(self, node):
        if isinstance(node.exc, ast.Call):
            node.exc = node.exc.func
        node.cause = None
        return node


def _canonical(node) -> str:
    """A tree as text that no version of Python writes differently: ``ast.unparse`` and ``ast.dump`` do change."""
    if isinstance(node, ast.AST):
        fields = ((name, value) for name, value in ast.iter_fields(node) if value is not None and value != [])
        return f"{type(node).__name__}({','.join(f'{name}={_canonical(value)}' for name, value in fields)})"
    if isinstance(node, list):
        return f"[{','.join(_canonical(each) for each in node if not isinstance(each, ast.Pass))}]"
    return repr(node)


def _used(statement: ast.stmt) -> set[str]:
    """The names that a statement looks up at the top level of its module."""

    def names(table):
        for symbol in table.get_symbols():
            if symbol.is_referenced() and (symbol.is_global() or table.get_type() == "module"):
                yield symbol.get_name()
        for child in table.get_children():
            yield from names(child)

    return set(names(_table(statement)))


def _bound(statement: ast.stmt) -> list[str]:
    """The names that a statement defines at the top level of its module."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [statement.name]
    return [each.get_name() for each in _table(statement).get_symbols() if each.is_assigned() or each.is_imported()]


def _table(statement: ast.stmt) -> symtable.SymbolTable:
    return symtable.symtable(ast.unparse(ast.fix_missing_locations(statement)), "?", "exec")


def _is_guarded(statement: ast.stmt) -> bool:
    """Whether a statement is for the command line or for type hints only."""
    return isinstance(statement, ast.If) and ast.unparse(statement.test) in ("__name__ == '__main__'", "TYPE_CHECKING")
