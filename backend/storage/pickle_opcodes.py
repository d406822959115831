"""The machine that reads pickle opcodes, see Python's pickletools for their meaning. Used by safe_pickle alone."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

MAX_INT_BYTES = 32
MAX_INT_DIGITS = 80
MAX_STEPS = 40_000_000

_SAFE_KEY = 1 << 60


class PickleRefusedError(Exception):
    """The pickle holds something that is not read; the text says what."""


class Machine:
    """Stack, marks and memo of one reading.

    Args:
        data: the pickle.
        allow: (module, name) -> stand-in that is called in its place.
        set_state: gives a built object the state that follows it.
    """

    def __init__(
        self,
        data: bytes,
        allow: Mapping[tuple[str, str], Callable[..., Any]],
        set_state: Callable[[object, object], None],
    ) -> None:
        self.data = data
        self.at = 0
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self._set_state = set_state
        self._bytes_left = 4 * len(data) + 4096
        self._allow = allow
        self._callable = frozenset(id(stand_in) for stand_in in allow.values())

    def run(self, opcodes: Mapping[int, Callable[[Machine], object]]) -> Any:
        """Execute until STOP and return what lies on the stack."""
        data = self.data
        for _ in range(MAX_STEPS):
            code = data[self.at]
            self.at += 1
            if code == _STOP:
                return self.stack.pop()
            step = opcodes.get(code)
            if step is None:
                raise PickleRefusedError(f"the unknown instruction {code:#04x}")
            step(self)
        raise PickleRefusedError("too many values")

    def take(self, count: int) -> bytes:
        """The next bytes. IndexError when they are not there."""
        end = self.at + count
        if end > len(self.data):
            raise IndexError("cut off")
        taken = self.data[self.at : end]
        self.at = end
        return taken

    def take_line(self, limit: int) -> bytes:
        """The next bytes up to a line end, without it. ValueError when it is further away than the limit."""
        end = self.data.index(b"\n", self.at, self.at + limit)
        line = self.data[self.at : end]
        self.at = end + 1
        return line

    def pop_mark(self) -> list[Any]:
        """Everything since the last mark, taken from the stack."""
        items = self.stack
        self.stack = self.marks.pop()
        return items

    def named(self, module: object, name: object) -> Any:
        """The stand-in of a name."""
        if not isinstance(module, str) or not isinstance(name, str):
            raise PickleRefusedError("a name that is no text")
        if (module, name) not in self._allow:
            raise PickleRefusedError(f"the name {module[:60]!a}.{name[:60]!a}, which is not allowed")
        return self._allow[module, name]

    def call(self, stand_in: object, arguments: object) -> Any:
        """Call a stand-in; nothing else can be called."""
        if id(stand_in) not in self._callable or not isinstance(arguments, tuple):
            raise PickleRefusedError("a call of something that is no function")
        made = stand_in(*arguments)  # type: ignore[operator]
        self._pay_for(made)
        return made

    def set_state(self, target: object, state: object) -> None:
        """Give a built object the state that follows it."""
        self._set_state(target, state)
        self._pay_for(target)

    def _pay_for(self, made: object) -> None:
        """Refuse pickles that build the same large array again and again: all arrays are about as large as the data."""
        if isinstance(made, np.ndarray):
            self._bytes_left -= made.nbytes
        elif isinstance(made, bytes):
            self._bytes_left -= len(made)
        if self._bytes_left < 0:
            raise PickleRefusedError("more array data than its size allows")


Step = Callable[[Machine], object]

_STOP = ord(".")


def _check_key(key: object) -> None:
    """Keys that could be made to collide by the thousand would turn reading into a standstill."""
    if type(key) not in (str, bytes) and not (type(key) is int and -_SAFE_KEY < key < _SAFE_KEY):
        raise PickleRefusedError("a key that is neither text nor a small number")


def _constant(value: object) -> Step:
    return lambda m: m.stack.append(value)


def _number(form: str) -> Step:
    packed = struct.Struct(form)

    def step(m: Machine) -> None:
        m.stack.append(packed.unpack_from(m.data, m.at)[0])
        m.at += packed.size

    return step


def _counted(form: str, convert: Callable[[bytes], object]) -> Step:
    packed = struct.Struct(form)

    def step(m: Machine) -> None:
        (count,) = packed.unpack(m.take(packed.size))
        m.stack.append(convert(m.take(count)))

    return step


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")


def _long(data: bytes) -> int:
    if len(data) > MAX_INT_BYTES:
        raise PickleRefusedError("a very large number")
    return int.from_bytes(data, "little", signed=True)


def _skip(count: int) -> Step:
    return lambda m: m.take(count)


def _mark(m: Machine) -> None:
    m.marks.append(m.stack)
    m.stack = []


def _pop(m: Machine) -> None:
    if m.stack:
        m.stack.pop()
    else:
        m.pop_mark()


def _int_line(m: Machine) -> None:
    line = m.take_line(MAX_INT_DIGITS)
    m.stack.append(line == b"01" if line in (b"00", b"01") else int(line))


def _long_line(m: Machine) -> None:
    m.stack.append(int(m.take_line(MAX_INT_DIGITS).rstrip(b"L")))


def _float_line(m: Machine) -> None:
    m.stack.append(float(m.take_line(MAX_INT_DIGITS)))


def _text_line(m: Machine) -> None:
    m.stack.append(m.take_line(len(m.data)).decode("raw-unicode-escape"))


def _new(kind: type) -> Step:
    return lambda m: m.stack.append(kind())


def _append(m: Machine) -> None:
    value = m.stack.pop()
    _list_of(m).append(value)


def _appends(m: Machine) -> None:
    items = m.pop_mark()
    _list_of(m).extend(items)


def _list_of(m: Machine) -> list[Any]:
    target = m.stack[-1]
    if type(target) is not list:
        raise PickleRefusedError("a list that is none")
    return target


def _list_of_mark(m: Machine) -> None:
    items = m.pop_mark()
    m.stack.append(items)


def _tuple_of_mark(m: Machine) -> None:
    items = m.pop_mark()
    m.stack.append(tuple(items))


def _tuple_of(count: int) -> Step:
    def step(m: Machine) -> None:
        items = m.stack[-count:]
        if len(items) < count:
            raise IndexError("empty stack")
        m.stack[-count:] = [tuple(items)]

    return step


def _set_item(m: Machine) -> None:
    value = m.stack.pop()
    key = m.stack.pop()
    _put_items(m, [key, value])


def _set_items(m: Machine) -> None:
    _put_items(m, m.pop_mark())


def _dict_of_mark(m: Machine) -> None:
    items = m.pop_mark()
    m.stack.append({})
    _put_items(m, items)


def _put_items(m: Machine, items: list[Any]) -> None:
    target = m.stack[-1]
    if type(target) is not dict or len(items) % 2:
        raise PickleRefusedError("a mapping that is none")
    for key in items[::2]:
        _check_key(key)
    target.update(zip(items[::2], items[1::2], strict=True))


def _add_items(m: Machine) -> None:
    items = m.pop_mark()
    target = m.stack[-1]
    if type(target) is not set:
        raise PickleRefusedError("a set that is none")
    for item in items:
        _check_key(item)
    target.update(items)


def _frozenset_of_mark(m: Machine) -> None:
    items = m.pop_mark()
    for item in items:
        _check_key(item)
    m.stack.append(frozenset(items))


def _global_line(m: Machine) -> None:
    module = m.take_line(256).decode()
    m.stack.append(m.named(module, m.take_line(256).decode()))


def _global_of_stack(m: Machine) -> None:
    name = m.stack.pop()
    m.stack.append(m.named(m.stack.pop(), name))


def _reduce(m: Machine) -> None:
    arguments = m.stack.pop()
    m.stack.append(m.call(m.stack.pop(), arguments))


def _build(m: Machine) -> None:
    state = m.stack.pop()
    m.set_state(m.stack[-1], state)


def _memoize(m: Machine) -> None:
    m.memo[len(m.memo)] = m.stack[-1]


def _put(form: str) -> Step:
    packed = struct.Struct(form)

    def step(m: Machine) -> None:
        m.memo[packed.unpack(m.take(packed.size))[0]] = m.stack[-1]

    return step


def _get(form: str) -> Step:
    packed = struct.Struct(form)

    def step(m: Machine) -> None:
        m.stack.append(m.memo[packed.unpack(m.take(packed.size))[0]])

    return step


def _put_line(m: Machine) -> None:
    m.memo[int(m.take_line(MAX_INT_DIGITS))] = m.stack[-1]


def _get_line(m: Machine) -> None:
    m.stack.append(m.memo[int(m.take_line(MAX_INT_DIGITS))])


OPCODES: Mapping[int, Step] = MappingProxyType(
    {
        0x80: _skip(1),  # PROTO
        0x95: _skip(8),  # FRAME
        ord("("): _mark,
        ord("0"): _pop,
        ord("1"): Machine.pop_mark,
        ord("2"): lambda m: m.stack.append(m.stack[-1]),
        ord("N"): _constant(None),
        0x88: _constant(True),
        0x89: _constant(False),
        ord("I"): _int_line,
        ord("L"): _long_line,
        ord("F"): _float_line,
        ord("V"): _text_line,
        ord("J"): _number("<i"),
        ord("K"): _number("<B"),
        ord("M"): _number("<H"),
        ord("G"): _number(">d"),
        0x8A: _counted("<B", _long),
        0x8B: _counted("<I", _long),
        0x8C: _counted("<B", _text),
        ord("X"): _counted("<I", _text),
        0x8D: _counted("<Q", _text),
        ord("C"): _counted("<B", bytes),
        ord("B"): _counted("<I", bytes),
        0x8E: _counted("<Q", bytes),
        0x96: _counted("<Q", bytearray),
        ord("]"): _new(list),
        ord("}"): _new(dict),
        ord(")"): _new(tuple),
        0x8F: _new(set),
        ord("a"): _append,
        ord("e"): _appends,
        ord("l"): _list_of_mark,
        ord("t"): _tuple_of_mark,
        0x85: _tuple_of(1),
        0x86: _tuple_of(2),
        0x87: _tuple_of(3),
        ord("s"): _set_item,
        ord("u"): _set_items,
        ord("d"): _dict_of_mark,
        0x90: _add_items,
        0x91: _frozenset_of_mark,
        ord("c"): _global_line,
        0x93: _global_of_stack,
        ord("R"): _reduce,
        ord("b"): _build,
        0x94: _memoize,
        ord("q"): _put("<B"),
        ord("r"): _put("<I"),
        ord("p"): _put_line,
        ord("h"): _get("<B"),
        ord("j"): _get("<I"),
        ord("g"): _get_line,
    }
)
"""Opcode -> what it does. Missing on purpose: classes, instances, persistent ids, extensions, out-of-band buffers."""
