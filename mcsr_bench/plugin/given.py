"""Methods given as classes, as a notebook has them, in place of the name of a plugin.

What ``card.toml`` would say is in the class attribute ``Card``. The identity of the code is a hash of the sources that the class
and all that it names are made of. Where something in them cannot be seen, it is a new one at each call, so that nothing old is
ever taken for what this code computed.
"""

from __future__ import annotations

import ast
import builtins
import dis
import inspect
import sys
import textwrap
import types
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from mcsr_bench.errors import UserError
from mcsr_bench.plugin.cards import MethodCard
from mcsr_bench.plugin.method import Method
from mcsr_bench.plugin.registry import Plugin, explain, methods
from mcsr_bench.system.files import digest

MethodNames = str | type[Method] | Iterable[str | type[Method]]
"""What functions take where methods are named."""

_PLAIN = (type(None), bool, int, float, complex, str, bytes, Path)


def named(asked: MethodNames | None) -> tuple[tuple[str, ...] | None, tuple[Plugin[MethodCard], ...]]:
    """The names of the methods asked for, and the classes among them as plugins, for `scoped_plugins`.

    The class of a plugin stands for that plugin. UserError for a class that cannot be one.
    """
    if asked is None:
        return None, ()
    names, found = [], []
    for one in (asked,) if isinstance(asked, (str, type)) else asked:
        if isinstance(one, str):
            names.append(one)
        elif known := _registered(one):
            names.append(known)
        else:
            found.append(plugin_of(one))
            names.append(found[-1].name)
    return tuple(names), tuple(found)


def _registered(method: type[Method]) -> str:
    """The name of the plugin that a class is the class of, or ""."""
    for plugin in methods().plugins().values():
        if plugin.card is not None and (plugin.module, plugin.card.class_name) == (method.__module__, method.__name__):
            return plugin.name
    return ""


def plugin_of(method: type[Method]) -> Plugin[MethodCard]:
    """A class as a plugin. UserError, naming the class, where it is abstract or its ``Card`` does not say what is needed."""
    where = f"class {method.__name__}"
    if missing := sorted(getattr(method, "__abstractmethods__", ())):
        raise UserError(f"{where}: lacks {', '.join(missing)}")
    said = dict(method.Card)
    for key, allowed in (("contrasts", '"single" or "multi"'), ("track", '"magnitude" or "complex"')):
        if key not in said:
            raise UserError(
                f"{where}: its class attribute Card, a dict of what a card.toml says, has no {key} ({allowed}); presets are "
                "needed, too, where the method has settings"
            )
    title = (inspect.cleandoc(method.__dict__.get("__doc__") or "") or method.__name__).splitlines()[0]
    usual = {
        "name": method.__name__.lower().replace("_", "-").strip("-"),
        "title": title,
        **{"authors": "not stated", "venue": "not stated", "year": 0},
    }
    try:
        card = MethodCard.model_validate({**usual, **said, "class": method.__name__})
    except ValidationError as error:
        raise UserError(f"{where}: Card: {explain(error)}") from None
    code = code_of(method, card)
    return Plugin(card.name, Path(where), f"{method.__module__}#{code}", card, code=code, given=method)


def code_of(method: type[Method], card: MethodCard) -> str:
    """The identity of a class's code and card: 64 hexadecimal digits, or "unseen-" and ones that never come again."""
    try:
        walk = _Sources()
        walk.visit(method)
    except _UnseenError:
        return f"unseen-{uuid.uuid4().hex}"
    return digest([card.model_dump(mode="json"), sorted(walk.parts)])


class _UnseenError(Exception):
    """Something that code depends on has no source."""


class _Sources:
    """The sources and values that a class is made of, as far as they are the user's own."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self._seen: dict[int, Any] = {}

    def visit(self, value: Any, name: str = "") -> None:
        if id(value) in self._seen:
            return
        self._seen[id(value)] = value
        if isinstance(value, _PLAIN):
            self.parts.append(f"{name} = {value!r}")
        elif isinstance(value, (list, tuple, set, frozenset)):
            self.parts.append(f"{name}: {type(value).__name__} of {len(value)}")
            for i, one in enumerate(sorted(value, key=repr) if isinstance(value, (set, frozenset)) else value):
                self._item(one, f"{name}[{i}]")
        elif isinstance(value, Mapping):
            for key, one in value.items():
                self._item(one, f"{name}[{key!r}]")
        elif isinstance(value, (staticmethod, classmethod)):
            self.visit(value.__func__, name)
        elif isinstance(value, property):
            for one in (value.fget, value.fset, value.fdel):
                self.visit(one, name)
        elif isinstance(value, types.ModuleType):
            if not _library(value.__name__):
                raise _UnseenError
        elif type(value).__module__ in ("typing", "types") and not isinstance(value, types.FunctionType):
            self.parts.append(f"{name} = {value!r}")
        elif inspect.isbuiltin(value):
            return  # compiled
        elif (isinstance(value, type) or inspect.isroutine(value)) and _library(value.__module__ or ""):
            return
        elif isinstance(value, types.FunctionType):
            self._source(_function_source(value), [value])
        elif isinstance(value, type):
            self._class(value)
        else:
            raise _UnseenError

    def _item(self, value: Any, name: str) -> None:
        """What is in a collection: equal values count at each place."""
        if isinstance(value, _PLAIN):
            self.parts.append(f"{name} = {value!r}")
        else:
            self.visit(value, name)

    def _class(self, value: type) -> None:
        for base in value.__bases__:
            self.visit(base)
        own = [one for one in vars(value).values() if _own_function(one, value) is not None]
        functions = [function for one in own if (function := _own_function(one, value)) is not None]
        if not functions and issubclass(value, BaseModel):
            self.parts.append(digest(value.model_json_schema()))
        else:
            self._source(_class_source(value, functions), functions)
        for key, one in vars(value).items():
            if isinstance(one, type) or (not key.startswith("_") and isinstance(one, (*_PLAIN, list, tuple, dict))):
                self.visit(one, f"{value.__qualname__}.{key}")

    def _source(self, source: str, functions: list[types.FunctionType]) -> None:
        """A source, and what the names in it mean to functions in it."""
        self.parts.append(source)
        scope: dict[str, Any] = {}
        for function in functions:
            scope |= function.__globals__
        for function in functions:
            for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
                if name != "__class__":
                    scope[name] = _content(cell)
        for name in _names(compile(source, "<source>", "exec", dont_inherit=True)):
            if name in scope:
                self.visit(scope[name], name)


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        raise _UnseenError from None


def _own_function(value: Any, owner: type) -> types.FunctionType | None:
    """The function behind an attribute, where it was written in the class."""
    found = getattr(value, "__func__", getattr(value, "fget", value))
    inside = isinstance(found, types.FunctionType) and found.__qualname__.startswith(f"{owner.__qualname__}.")
    return found if inside else None


def _names(code: types.CodeType) -> set[str]:
    """The names outside of it that code looks up."""
    found = {str(i.argval) for i in dis.get_instructions(code) if i.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    for part in code.co_consts:
        if isinstance(part, types.CodeType):
            found |= _names(part)
    return found


def _function_source(function: types.FunctionType) -> str:
    try:
        source = textwrap.dedent(inspect.getsource(function))
        compile(source, "<source>", "exec", dont_inherit=True)
        return source
    except (OSError, TypeError, SyntaxError, ValueError):  # a lambda within an expression, among others
        raise _UnseenError from None


def _class_source(owner: type, functions: list[types.FunctionType]) -> str:
    """From the file or cell of one of its functions: Python does not know which cell a class is from."""
    try:
        if not functions:
            return textwrap.dedent(inspect.getsource(owner))
        lines, _ = inspect.findsource(functions[0])
        first = functions[0].__code__.co_firstlineno
        text = "".join(lines)
        around = [
            node
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.ClassDef)
            and node.name == owner.__name__
            and node.lineno <= first <= (node.end_lineno or 0)
        ]
        if not around:
            raise _UnseenError
        node = max(around, key=lambda one: one.lineno)
        begin = min([node.lineno, *(one.lineno for one in node.decorator_list)])
        return textwrap.dedent("".join(lines[begin - 1 : node.end_lineno]))
    except (OSError, TypeError, SyntaxError, ValueError):
        raise _UnseenError from None


def _library(module: str) -> bool:
    """Whether a module is Python's, installed, or this package's: not what a user edits between two calls."""
    top = module.partition(".")[0]
    if top == "__main__":
        return False
    if top in sys.stdlib_module_names or top in ("mcsr_bench", builtins.__name__):
        return True
    file = getattr(sys.modules.get(top), "__file__", None) or ""
    return bool({"site-packages", "dist-packages"} & set(Path(file).parts))
