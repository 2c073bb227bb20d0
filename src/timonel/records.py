"""`dataclass` as the standard library's, for a process that must start soon: methods are made when first called.

The standard decorator compiles six methods for each class, 0.4 ms for a frozen one; a server imports some hundred
such classes and calls few of their methods before it is ready. Here the standard library still finds the fields, the
slots and `__match_args__`, so that `field`, `fields`, `replace` and patterns work as ever. A method stands in until it
is called for the first time; then it is compiled and takes its place in the class, and calls cost what they cost
elsewhere.

Not supported, because nothing here needs it: `order`, `unsafe_hash`, `InitVar`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:
    import dataclasses
    from dataclasses import MISSING, FrozenInstanceError
    from reprlib import recursive_repr

    def dataclass(cls=None, /, *, frozen=False, eq=True, repr=True, slots=False, kw_only=False):
        """The decorator, with the meaning of the standard library's."""

        def decorate(cls):
            own = dict(vars(cls))
            if not cls.__doc__:
                cls.__doc__ = cls.__name__  # or a signature would be worked out
            plain = dataclasses.dataclass(init=False, repr=False, eq=False, slots=slots, kw_only=kw_only)
            return _completed(plain(cls), own, frozen=frozen, eq=eq, repr=repr, slots=slots)

        return decorate if cls is None else decorate(cls)

    def _completed(cls, own, *, frozen, eq, repr, slots):
        """`own` is what the class itself had, which goes before what is made for it."""
        makers = {"__init__": lambda: _init(cls, frozen=frozen, slots=slots)}
        has_hash = own.get("__hash__") is not None or ("__hash__" in own and "__eq__" not in own)
        if repr:
            makers["__repr__"] = lambda: _repr(cls)
        if eq:
            makers["__eq__"] = lambda: _eq(cls)
            if frozen and not has_hash:
                makers["__hash__"] = lambda: _hash(cls)
            elif not has_hash:
                cls.__hash__ = None
        for name, make in makers.items():
            if name == "__hash__" or name not in own:
                _stand_in(cls, name, make)
        if frozen:
            _freeze(cls, own, slots=slots)
        return cls

    def _stand_in(cls, name, make):
        def first(self, /, *args, **kwargs):
            made = make()
            made.__name__, made.__qualname__ = name, f"{cls.__qualname__}.{name}"
            made.__module__ = cls.__module__
            setattr(cls, name, made)
            return made(self, *args, **kwargs)

        first.__name__ = name
        setattr(cls, name, first)

    def _init(cls, *, frozen, slots):
        fields = dataclasses.fields(cls)
        names = {"MISSING": MISSING, "set_": object.__setattr__}
        for i, f in enumerate(fields):
            names[f"default_{i}"] = f.default_factory if f.default is MISSING else f.default
        positional = [_parameter(i, f) for i, f in enumerate(fields) if f.init and not f.kw_only]
        named = [_parameter(i, f) for i, f in enumerate(fields) if f.init and f.kw_only]
        lines = [
            f" set_(self_, {f.name!r}, {value})" if frozen else f" self_.{f.name} = {value}"
            for i, f in enumerate(fields)
            if (value := _value(i, f, slots=slots))
        ]
        if hasattr(cls, "__post_init__"):
            lines.append(" self_.__post_init__()")
        parameters = ", ".join(["self_", *positional, *(["*", *named] if named else [])])
        return _compiled("__init__", parameters, lines or [" pass"], names)

    def _parameter(i, f):
        if f.default is MISSING and f.default_factory is MISSING:
            return f.name
        return f"{f.name}={'MISSING' if f.default is MISSING else f'default_{i}'}"

    def _value(i, f, *, slots):
        """What the field is set to; empty: it is not set."""
        if f.default_factory is not MISSING:
            made = f"default_{i}()"
            return f"{made} if {f.name} is MISSING else {f.name}" if f.init else made
        if f.init:
            return f.name
        return f"default_{i}" if slots and f.default is not MISSING else ""

    def _eq(cls):
        fields = [f.name for f in dataclasses.fields(cls) if f.compare]
        mine, yours = ("".join(f"{who}.{name}, " for name in fields) for who in ("self", "other"))
        lines = [
            " if other.__class__ is not self.__class__: return NotImplemented",
            f" return ({mine}) == ({yours})",
        ]
        return _compiled("__eq__", "self, other", lines, {})

    def _hash(cls):
        fields = [f.name for f in dataclasses.fields(cls) if (f.compare if f.hash is None else f.hash)]
        return _compiled(
            "__hash__", "self", [f" return hash(({''.join(f'self.{name}, ' for name in fields)}))"], {}
        )

    def _repr(cls):
        fields = [f.name for f in dataclasses.fields(cls) if f.repr]

        @recursive_repr()
        def told(self):
            return f"{type(self).__qualname__}({', '.join(f'{n}={getattr(self, n)!r}' for n in fields)})"

        return told

    def _compiled(name, parameters, lines, names):
        made = {}
        exec("\n".join([f"def {name}({parameters}):", *lines]), names, made)
        return made[name]

    def _freeze(cls, own, *, slots):
        """Nothing is set or deleted; copies and pickles go round that."""
        names = frozenset(f.name for f in dataclasses.fields(cls))

        def refuse_set(self, name, value):
            if type(self) is cls or name in names:
                raise FrozenInstanceError(f"cannot assign to field {name!r}")
            super(cls, self).__setattr__(name, value)

        def refuse_delete(self, name):
            if type(self) is cls or name in names:
                raise FrozenInstanceError(f"cannot delete field {name!r}")
            super(cls, self).__delattr__(name)

        cls.__setattr__, cls.__delattr__ = refuse_set, refuse_delete
        if slots and "__getstate__" not in own:
            cls.__getstate__, cls.__setstate__ = _state, _restore

    def _state(self):
        return [getattr(self, f.name) for f in dataclasses.fields(self)]

    def _restore(self, state):
        for f, value in zip(dataclasses.fields(self), state, strict=True):
            object.__setattr__(self, f.name, value)
