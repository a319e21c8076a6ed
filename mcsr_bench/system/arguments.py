"""Arguments of the public functions, compared with the type hints: a wrong type is a sentence, not an error deep inside."""

from __future__ import annotations

import inspect
import operator
import os
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache, wraps
from numbers import Real
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from mcsr_bench.errors import UserError

F = TypeVar("F", bound=Callable[..., Any])

_LONGEST = 60
"""Characters of a value that a message shows."""


class _MisfitError(Exception):
    """A value is not what a hint says."""


@cache
def checked(function: F) -> F:
    """The function, which raises UserError for an argument whose type is not what its hint says.

    A one-shot iterator arrives as a tuple, and what counts as a whole number for Python (numpy's) as an int. Arguments that are
    missing, or that the function does not have, are TypeErrors as ever.
    """
    signature = inspect.signature(function)

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError:
            return function(*args, **kwargs)  # which raises it with the function's name
        hints = _hints(function)
        for name, value in bound.arguments.items():
            kind, hint = signature.parameters[name].kind, hints.get(name, Any)
            try:
                if kind is inspect.Parameter.VAR_POSITIONAL:
                    bound.arguments[name] = tuple(_fitted(one, hint) for one in value)
                elif kind is inspect.Parameter.VAR_KEYWORD:
                    bound.arguments[name] = {key: _fitted(one, hint) for key, one in value.items()}
                else:
                    bound.arguments[name] = _fitted(value, hint)
            except _MisfitError:
                raise UserError(
                    f"{function.__name__}: {name} is {_shown(value)}; it may be {_words(hint)}{_advice(value)}"
                ) from None
        return function(*bound.args, **bound.kwargs)

    return call  # type: ignore[return-value]


@cache
def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    return get_type_hints(function)


def _fitted(value: Any, hint: Any) -> Any:
    """The value, once it fits a hint. A hint of a kind that is not known here fits everything."""
    origin, parts = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        return _fitted_to_one(value, parts)
    if origin is Literal:
        return _if(value in parts, value)
    if hint is None or hint is type(None):
        return _if(value is None, value)
    if hint is int:
        try:
            return _if(not isinstance(value, bool), operator.index(value))
        except TypeError:
            raise _MisfitError from None
    if hint is float:
        return _if(isinstance(value, Real) and not isinstance(value, bool), value)
    if hint is Path:
        return _if(isinstance(value, os.PathLike), value)
    if origin is type:
        return _if(isinstance(value, type) and issubclass(value, parts[0]), value)
    if getattr(origin or hint, "_is_protocol", False):
        return value
    if isinstance(origin, type):
        return _fitted_inside(value, origin, parts)
    return _if(isinstance(value, hint), value) if isinstance(hint, type) else value


def _fitted_to_one(value: Any, hints: tuple[Any, ...]) -> Any:
    if Path in hints and isinstance(value, str) and (not value or "\0" in value):
        raise _MisfitError
    for hint in hints:
        try:
            return _fitted(value, hint)
        except _MisfitError:
            continue
    raise _MisfitError


def _fitted_inside(value: Any, origin: type, parts: tuple[Any, ...]) -> Any:
    """A value that should be a function, a mapping, a tuple of fixed length, or something to go through, with what is in it."""
    if issubclass(origin, Callable):  # type: ignore[arg-type]
        return _if(callable(value), value)
    if issubclass(origin, Mapping):
        _if(isinstance(value, Mapping), value)
        for key, one in value.items():
            _fitted(key, parts[0])
            _fitted(one, parts[1])
        return value
    if origin is tuple and Ellipsis not in parts:
        _if(isinstance(value, (tuple, list)) and len(value) == len(parts), value)
        return tuple(_fitted(one, part) for one, part in zip(value, parts, strict=True))
    if issubclass(origin, Iterable):
        if isinstance(value, (str, bytes, Mapping)):
            raise _MisfitError
        try:
            found = tuple(value)
        except TypeError:
            raise _MisfitError from None
        new = tuple(_fitted(one, parts[0]) for one in found)
        same = not isinstance(value, Iterator) and all(a is b for a, b in zip(found, new, strict=True))
        return value if same else new
    return _if(isinstance(value, origin), value)


def _if(fits: bool, value: Any) -> Any:
    if not fits:
        raise _MisfitError
    return value


def _words(hint: Any) -> str:
    """What a hint allows, for people."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        if any(getattr(get_origin(part) or part, "__name__", "").startswith("_") for part in parts):
            return "an array"  # numpy's ArrayLike: its parts are numpy's own affair
        chosen = [part for part in parts if not (part is str and Path in parts)]
        several = [part for part in chosen if _sequence(part) and set(_alternatives(get_args(part)[0])) <= set(parts)]
        words = [_words(part) for part in chosen if part not in (*several, type(None))]
        words += ["several of them"] if several and words else []
        words += ["None"] if type(None) in parts else []
        words = list(dict.fromkeys(words))
        return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
    simple = {str: "text", int: "a whole number", float: "a number", bool: "True or False", Path: "a path"}
    if hint in simple:
        return simple[hint]
    if origin is Literal:
        return " or ".join(map(repr, parts))
    if origin is type:
        return f"a subclass of {parts[0].__name__}"
    if isinstance(origin, type) and issubclass(origin, Callable):  # type: ignore[arg-type]
        return "a function"
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return "a mapping" if Any in parts[1:] else f"a mapping with {_words(parts[1])} for each name"
    if origin is tuple:
        return f"{len(parts)} values, each {_words(parts[0])}"
    if _sequence(hint):
        return f"several values, each {_words(parts[0])}"
    name = getattr(origin or hint, "__name__", str(hint))
    return f"{'an' if name[0] in 'AEIOU' else 'a'} {name}"


def _sequence(hint: Any) -> bool:
    origin = get_origin(hint)
    return isinstance(origin, type) and issubclass(origin, Iterable) and not issubclass(origin, Mapping)


def _alternatives(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _shown(value: Any) -> str:
    """A value with its type; of what has no short text the type alone."""
    kind = type(value).__name__
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if isinstance(value, (str, bytes, bool, int, float, complex, list, tuple, set, dict, type(None))):
        text = repr(value)
        text = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
        return text if value is None or isinstance(value, (str, bool)) else f"{text} ({kind})"
    return f"an object of type {kind}"


def _advice(value: Any) -> str:
    """What may have been meant, for an object that has a name (a dataset, say)."""
    name = getattr(value, "name", None)
    known = isinstance(name, str) and not isinstance(value, (os.PathLike, type))
    return f"; its name is {name!r}" if known else ""
