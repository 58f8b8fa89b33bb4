"""Read names from the source that no interface of the running program shows: loggers, keys in Redis, messages, keys of
an app, environment variables. They are found by the calls that use them, in any module, so that modules may move.
"""

import ast
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

import faceattr_aio

PACKAGE = Path(faceattr_aio.__file__).parent
UNKNOWN = "{}"
"""Stands for a part of a string that is known only while the program runs."""

_REDIS = re.compile(r"faceattr:")
_FILES = re.compile(r"\.?faceattr-[a-z-]+-$")
_ENVIRONMENT = re.compile(r"(FACEATTR|OPENCV|PROMETHEUS)_[A-Z_]+$")
_ATTRIBUTES = re.compile(r"(error|faceattr|http)\.[a-z_.{}]+$")
_LOADED = re.compile(r"faceattr_aio(\.\w+)+(:\w+)?")
_WORDS = re.compile(r"'([A-Za-z]+:?)'")


class Module:
    """One parsed module: its constants and imports, by name."""

    def __init__(self, path: Path) -> None:
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        self.name = ".".join(part for part in parts if part != "__init__")
        self.tree = ast.parse(path.read_text())
        self.constants: dict[str, ast.expr] = {}
        self.imports: dict[str, tuple[str, str]] = {}
        self.nodes = list(ast.walk(self.tree))
        for node in self.nodes:
            if isinstance(node, ast.ImportFrom) and node.module:
                self.imports |= {alias.asname or alias.name: (node.module, alias.name) for alias in node.names}
            if isinstance(node, ast.ClassDef):
                self.constants |= {f"{node.name}.{name}": value for name, value in _assigned(node.body)}
        self.constants |= dict(_assigned(self.tree.body))


@cache
def modules() -> Mapping[str, Module]:
    """Return the modules of the package by dotted name."""
    return {module.name: module for module in map(Module, sorted(PACKAGE.rglob("*.py")))}


def loggers() -> list[str]:
    """Return the names of loggers, and the logger names of records that are made by hand."""
    calls = [*_calls("getLogger"), *_calls("LogRecord")]
    return sorted({_known(call.args[0], module) for module, call in calls if call.args})


def keys() -> dict[str, list[str]]:
    """Return the names of the keys of apps and requests."""
    kinds = "AppKey", "RequestKey", "ResponseKey"
    return {kind: sorted(_known(call.args[0], module) for module, call in _calls(kind)) for kind in kinds}


def redis() -> dict[str, list[str]]:
    """Return prefixes of keys and channels, commands and fields in the scripts, and the fields of stored documents."""
    beginnings = {re.sub(r"(:|\{\})+$", "", text) for text in strings() if _REDIS.match(text)}
    scripts = [text for text in strings() if "redis.call(" in text]
    return {
        "keys": sorted(beginnings - {"faceattr"}),
        "commands and fields in scripts": sorted({word for script in scripts for word in _WORDS.findall(script)}),
        "documents": sorted(_documents()),
    }


def celery() -> dict[str, list[str]]:
    """Return the names of app, queue and messages."""
    apps = {_known(call.args[0], module) for module, call in _calls("Celery")}
    sent = {_known(call.args[0], module) for module, call in _calls("send_task")}
    queues = {_known(value, module) for module, value in _keywords("update", "task_default_queue")}
    taken = {_known(value, module) for module, value in _keywords("task", "name")}
    return {"app": sorted(apps), "queue": sorted(queues), "sent": sorted(sent), "taken": sorted(taken)}


def environment() -> list[str]:
    """Return the environment variables with a full name in the source; those of settings are made of their keys."""
    return _matching(_ENVIRONMENT)


def files() -> list[str]:
    """Return the prefixes of temporary files and folders."""
    return _matching(_FILES)


def span_attributes() -> list[str]:
    """Return the names of the attributes of traces. The name of the Celery message is left out."""
    return [name for name in _matching(_ATTRIBUTES) if name not in celery()["sent"]]


def reloadable(settings: Collection[str]) -> list[str]:
    """Return the settings that a reload applies: the mapping of sections to keys with the most settings."""
    found: list[set[str]] = []
    for module in modules().values():
        for node in module.nodes:
            if isinstance(node, ast.Dict):
                sections = [(key, value) for key, value in zip(node.keys, node.values, strict=True) if key]
                keys = {
                    f"{text(section, module)}.{text(key, module)}"
                    for section, value in sections
                    if isinstance(value, ast.Tuple)
                    for key in value.elts
                }
                found.append(keys & set(settings))
    most: set[str] = max(found, key=len)
    return sorted(most)


def loaded() -> list[str]:
    """Return the modules and objects of the package that are loaded by a name in a string."""
    calls = [call for name in ("load", "import_module", "set_forkserver_preload") for _, call in _calls(name)]
    constants = {str(node.value) for call in calls for node in ast.walk(call) if isinstance(node, ast.Constant)}
    names = {name for name in constants if _LOADED.fullmatch(name)}
    return sorted(names | {name for name in strings() if _LOADED.fullmatch(name) and ":" in name})


def strings() -> Iterator[str]:
    """Yield every string of the package but docstrings."""
    for module in modules().values():
        ignored = {id(node.value) for node in module.nodes if isinstance(node, ast.Expr)}
        ignored |= {id(part) for node in module.nodes if isinstance(node, ast.JoinedStr) for part in node.values}
        for node in module.nodes:
            if isinstance(node, ast.Constant | ast.JoinedStr | ast.BinOp) and id(node) not in ignored:
                yield text(node, module)


def text(node: ast.expr, module: Module) -> str:
    """Return the value of an expression as a string, with UNKNOWN for parts that are not in the source."""
    match node:
        case ast.Constant(value=str(value)):
            return value
        case ast.JoinedStr(values=values):
            return "".join(text(value, module) for value in values)
        case ast.FormattedValue(value=value):
            return text(value, module)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return text(left, module) + text(right, module)
        case ast.Name() | ast.Attribute():
            return _constant(ast.unparse(node), module)
    return UNKNOWN


def _constant(name: str, module: Module) -> str:
    """Return the string under a name such as QUEUE, a_module.QUEUE or AClass.QUEUE, followed through imports."""
    if name == "__name__":
        return module.name
    if name in module.constants:
        return text(module.constants[name], module)
    first, _, rest = name.partition(".")
    origin, original = module.imports.get(first, ("", ""))
    if rest and (imported := modules().get(f"{origin}.{original}")):
        return _constant(rest, imported)
    return _constant(f"{original}.{rest}".rstrip("."), modules()[origin]) if origin in modules() else UNKNOWN


def _known(node: ast.expr, module: Module) -> str:
    found = text(node, module)
    assert UNKNOWN not in found, f"{module.name}:{node.lineno}: the name cannot be read from the source"
    return found


def _assigned(body: Iterable[ast.stmt]) -> Iterator[tuple[str, ast.expr]]:
    """Yield the names and values of assignments."""
    for node in body:
        match node:
            case ast.Assign(targets=[target], value=value) | ast.AnnAssign(target=target, value=ast.expr() as value):
                yield from _pairs(target, value)


def _pairs(target: ast.expr, value: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    match target, value:
        case ast.Name(id=name), _:
            yield name, value
        case ast.Tuple(elts=targets), ast.Tuple(elts=values):
            for one, other in zip(targets, values, strict=True):
                yield from _pairs(one, other)


def _calls(name: str) -> Iterator[tuple[Module, ast.Call]]:
    """Yield the calls of functions and methods of this name."""
    for module in modules().values():
        for node in module.nodes:
            if isinstance(node, ast.Call) and _called(node.func) == name:
                yield module, node


def _called(function: ast.expr) -> str:
    match function:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Subscript(value=value):
            return _called(value)
    return ""


def _keywords(function: str, name: str) -> Iterator[tuple[Module, ast.expr]]:
    for module, call in _calls(function):
        yield from ((module, keyword.value) for keyword in call.keywords if keyword.arg == name)


def _matching(pattern: re.Pattern[str]) -> list[str]:
    return sorted({text for text in strings() if pattern.match(text)})


def _documents() -> Iterator[str]:
    """Yield the fields of each model that is read back from JSON."""
    functions = [call.func for _, call in _calls("model_validate_json")]
    read = {ast.unparse(function.value) for function in functions if isinstance(function, ast.Attribute)}
    for module in modules().values():
        for node in module.nodes:
            if isinstance(node, ast.ClassDef) and node.name in read:
                fields = [one.target for one in node.body if isinstance(one, ast.AnnAssign)]
                yield " ".join(ast.unparse(field) for field in fields)
