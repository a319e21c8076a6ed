"""Find a plugin by name, without importing the others.

A plugin is a folder with a ``card.toml``. Built-in ones lie in methods/, datasets/, reports/; third parties add theirs by an entry
point in the group ``mcsr_bench.methods`` (``.datasets``, ``.reports``) that names their package, or by ``--plugins PATH``, a
folder whose sub-folders hold a card. Cards are read and checked for every plugin; code is imported for the one that is used.

What is given to one call (`scoped_plugins`) is known within that call alone.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from mcsr_bench.errors import UserError, explain, one_line, unknown_name
from mcsr_bench.plugin.blame import told
from mcsr_bench.plugin.cards import Card, DatasetCard, MethodCard, ReportCard
from mcsr_bench.plugin.usable import broken_code, missing_numbers, missing_requirement
from mcsr_bench.system import files
from mcsr_bench.system.digests import code_digest

C = TypeVar("C", bound=Card)

_CARD = "card.toml"
_KINDS = ("method", "dataset", "report")
_MODULE = "mcsr_bench_plugin_"
"""What names of modules from folders of ``--plugins`` begin with."""


@dataclass(frozen=True)
class Plugin(Generic[C]):
    """A plugin that was found: its folder, its card if that could be read, and why it cannot be used if so."""

    name: str
    folder: Path
    module: str
    card: C | None
    reason: str = ""
    code: str = ""
    """Of a third party's: SHA-256 of its code and card when it was found; "" of a built-in one, which has a revision."""
    given: type | None = None
    """The class itself, where a call was given that in place of a name: no other process has it."""

    @property
    def available(self) -> bool:
        """Whether card, syntax and requirements are in order (its import may still fail when it is used)."""
        return not self.reason


@dataclass
class _Scope:
    """The plugins of one call: the folders it was given, and per kind and process-wide folders the table that they make."""

    folders: tuple[Path, ...]
    given: tuple[Plugin[Any], ...] = ()
    """Methods that are classes."""
    found: dict[tuple[str, tuple[Path, ...]], Any] = field(default_factory=dict)


_scope: ContextVar[_Scope | None] = ContextVar("mcsr_bench_plugins", default=None)


class Registry(Generic[C]):
    """The plugins of one kind ("method", "dataset", "report")."""

    def __init__(self, kind: str, card_type: type[C], builtin: Path, package: str, group: str) -> None:
        self.kind = kind
        self._card_type = card_type
        self._builtin = builtin
        self._package = package
        self._group = group
        self._extra: tuple[Path, ...] = ()
        self._found: dict[str, Plugin[C]] | None = None
        self._own: dict[Path, Plugin[C] | None] = {}
        """The built-in plugins by folder: looked into once in a process, while a call's own are looked into by each call."""

    def add_folder(self, path: Path) -> None:
        """Look for plugins in the sub-folders of ``path``, too: until the process ends, or the innermost `scoped_plugins`.

        UserError if it is not a folder.
        """
        folder = _folder(path)
        scope = _scope.get()
        if folder in self._extra or (scope is not None and folder in scope.folders):
            return
        if scope is None:
            self._extra += (folder,)
            self._found = None
        else:
            scope.folders += (folder,)
            scope.found.clear()

    def plugins(self) -> dict[str, Plugin[C]]:
        """Every plugin by name, usable or not, in alphabetical order. A name is the first finder's; built-ins come first."""
        scope = _scope.get()
        if scope is None:
            if self._found is None:
                self._found = self._find(self._extra)
            return self._found
        key = (self.kind, self._extra)
        if key not in scope.found:
            found = self._find(tuple(dict.fromkeys((*self._extra, *scope.folders))))
            scope.found[key] = _with_given(found, scope.given) if self.kind == "method" else found
        table: dict[str, Plugin[C]] = scope.found[key]
        return table

    def _find(self, extra: Iterable[Path]) -> dict[str, Plugin[C]]:
        found: dict[str, Plugin[C]] = {}
        for folder, module, failure in self._candidates(extra):
            if folder in self._own:
                plugin = self._own[folder]
            else:
                plugin = (
                    Plugin(folder.name, folder, module, None, failure) if failure else self._inspect(folder, module)
                )
            if folder.parent == self._builtin:
                self._own[folder] = plugin
            if plugin is None:
                continue
            if plugin.name in found:
                other = found[plugin.name].folder
                reason = f"the name '{plugin.name}' is taken by {other}"
                name = f"{plugin.name} ({folder})"
                plugin = Plugin(name, folder, module, plugin.card, reason)
            found[plugin.name] = plugin
        return {name: _with_base(plugin, found) for name, plugin in sorted(found.items())}

    def names(self) -> list[str]:
        """The names of the usable plugins, in the order of the cards' ``order``, then alphabetical."""
        usable = [p for p in self.plugins().values() if p.available and p.card is not None]
        return [p.name for p in sorted(usable, key=lambda p: (p.card.order if p.card else 0, p.name))]

    def card(self, name: str) -> C:
        """The card of a usable plugin; UserError with the nearest name, or with the reason why it is disabled."""
        plugin = self.plugins().get(name)
        if plugin is None:
            raise unknown_name(self.kind, name, self.plugins(), self.hint())
        if plugin.card is None or plugin.reason:
            raise UserError(f"{self.kind} '{name}' is disabled: {plugin.reason}")
        return plugin.card

    def hint(self) -> str:
        """Where else a plugin that is not there may be: behind ``--plugins``, unless that was given."""
        scope = _scope.get()
        looked = dict.fromkeys((*self._extra, *(scope.folders if scope else ())))
        if looked:
            return f"there is none in --plugins {', '.join(map(str, looked))} either"
        return f"a {self.kind} of your own needs --plugins PATH, the folder above its own"

    def folder(self, name: str) -> Path:
        """The folder of the code that a plugin of this name runs."""
        plugin = self._coded(name)
        return plugin.folder if plugin is not None else Path(name)

    def code(self, name: str) -> str:
        """The `Plugin.code` by name: it enters the keys of all that the plugin computes; "" also for what is no plugin.

        A card that configures another plugin has the code of that one: what it sets is in those keys anyway.
        """
        plugin = self._coded(name)
        return plugin.code if plugin is not None else ""

    def edited(self, name: str) -> bool:
        """Whether the code of a plugin is not any more what `code` gives."""
        plugin = self._coded(name)
        if plugin is None or plugin.given is not None:
            return False
        return bool(plugin.code) and code_digest(plugin.folder, _CARD) != plugin.code

    def _coded(self, name: str) -> Plugin[C] | None:
        """The plugin whose code one of this name runs."""
        plugin = self.plugins().get(name)
        base = _configured(plugin.card) if plugin is not None and plugin.card is not None else ""
        return self.plugins().get(base) if base else plugin

    def load(self, name: str) -> Any:
        """Import a plugin and return its class. UserError with the reason when the import fails."""
        card = self.card(name)
        if base := _configured(card):
            return self.load(base)
        plugin = self.plugins()[name]
        if plugin.given is not None:
            return plugin.given
        try:
            module = self._import(plugin)
        except (
            Exception,
            SystemExit,
        ) as error:  # a plugin's own code: whatever it raises must not take the others down
            raise UserError(f"{self.kind} '{name}' cannot be imported: {told(error, plugin.folder)}") from error
        if not hasattr(module, card.class_name):
            raise UserError(f"{plugin.folder / '__init__.py'}: has no class '{card.class_name}', which {_CARD} names")
        found = getattr(module, card.class_name)
        if not isinstance(found, type):
            raise UserError(f"{self.kind} '{name}': {card.class_name} in its __init__.py is not a class")
        return found

    def _candidates(self, extra: Iterable[Path]) -> list[tuple[Path, str, str]]:
        """Folder and module of everything that may be a plugin, and why its package could not be looked into, or ""."""
        if self._builtin.is_file():  # how git leaves a symbolic link where the system or its settings allow none
            raise UserError(
                f"{self._builtin}: is a file, not a link to the built-in {self.kind}s: this checkout has no symbolic links; "
                "allow them (on Windows: developer mode), run `git config core.symlinks true` and "
                "`git checkout -- mcsr_bench`, or install a wheel"
            )
        out = [(f, f"{self._package}.{f.name}", "") for f in _sub_folders(self._builtin)]
        for point in _entry_points(self._group, _places()):
            module, failure = point.value.split(":")[0], ""
            try:
                spec = importlib.util.find_spec(module)
            except (Exception, SystemExit) as error:  # the parent package of a third party may fail in any way
                spec, failure = None, one_line(f"package {module} cannot be found: {type(error).__name__}: {error}")
            if spec is not None and spec.submodule_search_locations:
                out.append((Path(next(iter(spec.submodule_search_locations))), module, failure))
            else:
                out.append((Path(point.name), module, failure))
        for root in extra:
            out += [(f, _module_name(f), "") for f in _sub_folders(root)]
        return out

    def _inspect(self, folder: Path, module: str) -> Plugin[C] | None:
        path = folder / _CARD
        if not path.is_file():
            return Plugin(folder.name, folder, module, None, f"package {module} has no {_CARD}")
        try:
            values = files.read_toml(path)
        except (OSError, ValueError) as error:
            return Plugin(folder.name, folder, module, None, f"{path}: {error}")
        kind = values.get("kind", "method")
        if kind != self.kind and not (
            kind not in _KINDS and self.kind == _KINDS[0]
        ):  # no one's card is shown with the methods
            return None  # a folder of --plugins may hold plugins of several kinds
        name = values.get("name")
        name = name if isinstance(name, str) and name else folder.name
        try:
            card = self._card_type.model_validate(values)
        except ValidationError as error:
            return Plugin(name, folder, module, None, f"{path}: {explain(error)}")
        broken = "" if _configured(card) else broken_code(folder) or missing_numbers(folder, card)
        code = "" if module.startswith(f"{self._package}.") else code_digest(folder, _CARD)
        return Plugin(name, folder, module, card, broken or missing_requirement(card.requires), code)

    def _import(self, plugin: Plugin[C]) -> ModuleType:
        if not plugin.module.startswith(_MODULE):
            return importlib.import_module(plugin.module)
        if plugin.module in sys.modules:
            return sys.modules[plugin.module]
        init = plugin.folder / "__init__.py"
        spec = importlib.util.spec_from_file_location(
            plugin.module, init, submodule_search_locations=[str(plugin.folder)]
        )
        if spec is None or spec.loader is None:
            raise ImportError(f"{init} cannot be loaded")
        module = importlib.util.module_from_spec(spec)
        sys.modules[plugin.module] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[plugin.module]
            raise
        return module


def _with_given(found: dict[str, Plugin[C]], given: Iterable[Plugin[C]]) -> dict[str, Plugin[C]]:
    """The plugins that were found, and classes. UserError where the name of one is taken."""
    for plugin in given:
        if plugin.name in found:
            raise UserError(
                f"{plugin.folder}: the name '{plugin.name}' is taken by {found[plugin.name].folder}; give another in its Card, "
                f'as Card = {{"name": ...}}'
            )
        found[plugin.name] = plugin
    return dict(sorted(found.items()))


def _places() -> tuple[tuple[str, int], ...]:
    """Where packages are installed, and when something was installed there last."""
    return tuple((place, os.stat(place).st_mtime_ns if os.path.isdir(place) else 0) for place in sys.path)


@lru_cache(maxsize=16)
def _entry_points(group: str, places: tuple[tuple[str, int], ...]) -> list[EntryPoint]:
    """Those of a group; places: of `_places`. Every trial asks, and to read them takes a tenth of what a small one costs."""
    return sorted(entry_points(group=group), key=lambda point: point.name)


def _sub_folders(root: Path) -> list[Path]:
    """The folders directly in ``root`` that hold a card; others are not plugins."""
    if not root.is_dir():
        return []
    return sorted(f for f in root.iterdir() if f.is_dir() and (f / _CARD).is_file())


def _module_name(folder: Path) -> str:
    """The module that a plugin's folder becomes: its own by place and code, so that no plugin ever gets another's code.

    Nor its own code of before an edit. A module stays in ``sys.modules`` after its call: objects made of it may live on.
    """
    return f"{_MODULE}{folder.name}_{files.digest([str(folder.resolve()), code_digest(folder)], 16)}"


def _folder(path: Path) -> Path:
    if not path.is_dir():
        raise UserError(f"--plugins {path}: no such folder")
    return path.resolve()


def _configured(card: Card) -> str:
    """The plugin that a card without code configures, or ""."""
    return card.configures if isinstance(card, DatasetCard) else ""


def _with_base(plugin: Plugin[C], found: dict[str, Plugin[C]]) -> Plugin[C]:
    """A plugin that configures another is as usable as that one, which must have code of its own."""
    base = _configured(plugin.card) if plugin.card is not None else ""
    if not base or plugin.reason:
        return plugin
    other = found.get(base)
    if other is None or other.card is None or _configured(other.card):
        return replace(
            plugin, reason=f"configures '{base}', which is no {'dataset with a class' if other else 'dataset'}"
        )
    return replace(plugin, reason=f"configures '{base}', which is disabled: {other.reason}") if other.reason else plugin


_PACKAGE = Path(__file__).parents[1]


@cache
def methods() -> Registry[MethodCard]:
    """The methods."""
    return Registry("method", MethodCard, _PACKAGE / "methods", "mcsr_bench.methods", "mcsr_bench.methods")


@cache
def datasets() -> Registry[DatasetCard]:
    """The datasets."""
    return Registry("dataset", DatasetCard, _PACKAGE / "datasets", "mcsr_bench.datasets", "mcsr_bench.datasets")


@cache
def reports() -> Registry[ReportCard]:
    """The reports."""
    return Registry("report", ReportCard, _PACKAGE / "reports", "mcsr_bench.reports", "mcsr_bench.reports")


def add_plugins(path: Path) -> None:
    """Look for plugins of every kind in the sub-folders of ``path``: until the process ends, or the innermost `scoped_plugins`.

    For worker processes, which serve one command. UserError if it is not a folder.
    """
    for registry in (methods(), datasets(), reports()):
        registry.add_folder(path)


@contextmanager
def scoped_plugins(
    paths: str | Path | Iterable[str | Path] = (), classes: Iterable[Plugin[MethodCard]] = ()
) -> Iterator[None]:
    """The plugins in sub-folders of ``paths`` are known within the block (and its thread) alone, and so are those it adds.

    Folders are looked at again at each entry, but for a block within one that knows the same. Blocks may be nested: the inner one
    knows the outer one's plugins, too. classes: methods that are classes, see `mcsr_bench.plugin.given`; known in the same way.
    UserError for what is not a folder.
    """
    given = (paths,) if isinstance(paths, (str, Path)) else paths
    folders = tuple(_folder(Path(path)) for path in given)
    outer = _scope.get()
    known = tuple(dict.fromkeys((*(outer.folders if outer else ()), *folders)))
    more = tuple({plugin.given: plugin for plugin in (*(outer.given if outer else ()), *classes)}.values())
    # Within one call a plugin has the code that it had at first: its key must be that of the code that computes.
    found = dict(outer.found) if outer is not None and (outer.folders, outer.given) == (known, more) else {}
    entered = _scope.set(_Scope(known, more, found))
    try:
        yield
    finally:
        _scope.reset(entered)
