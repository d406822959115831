"""What every opcode of a pickle does, see Python's pickletools for their meaning. Used by safe_pickle."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from types import MappingProxyType

from backend.storage.pickle_machine import Machine, PickleRefusedError, check_key

MAX_INT_BYTES = 32
MAX_INT_DIGITS = 80

Step = Callable[[Machine], object]


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
    return lambda m: m.container(kind)


def _append(m: Machine) -> None:
    value = m.stack.pop()
    m.extend([value])


def _appends(m: Machine) -> None:
    items = m.pop_mark()
    m.extend(items)


def _list_of_mark(m: Machine) -> None:
    items = m.pop_mark()
    m.container(list)
    m.extend(items)


def _tuple_of_mark(m: Machine) -> None:
    items = m.pop_mark()
    m.tuple_of(items)


def _tuple_of(count: int) -> Step:
    def step(m: Machine) -> None:
        items = m.stack[-count:]
        if len(items) < count:
            raise IndexError("empty stack")
        del m.stack[-count:]
        m.tuple_of(items)

    return step


def _set_item(m: Machine) -> None:
    value = m.stack.pop()
    key = m.stack.pop()
    m.set_items([key, value])


def _set_items(m: Machine) -> None:
    items = m.pop_mark()
    m.set_items(items)


def _dict_of_mark(m: Machine) -> None:
    items = m.pop_mark()
    m.container(dict)
    m.set_items(items)


def _add_items(m: Machine) -> None:
    items = m.pop_mark()
    target = m.stack[-1]
    if type(target) is not set:
        raise PickleRefusedError("a set that is none")
    for item in items:
        check_key(item)
    target.update(items)


def _frozenset_of_mark(m: Machine) -> None:
    items = m.pop_mark()
    for item in items:
        check_key(item)
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


def _put(form: str) -> Step:
    packed = struct.Struct(form)
    return lambda m: m.remember(packed.unpack(m.take(packed.size))[0])


def _get(form: str) -> Step:
    packed = struct.Struct(form)
    return lambda m: m.recall(packed.unpack(m.take(packed.size))[0])


def _put_line(m: Machine) -> None:
    m.remember(int(m.take_line(MAX_INT_DIGITS)))


def _get_line(m: Machine) -> None:
    m.recall(int(m.take_line(MAX_INT_DIGITS)))


OPCODES: Mapping[int, Step] = MappingProxyType(
    {
        0x80: _skip(1),  # PROTO
        0x95: _skip(8),  # FRAME
        ord("("): Machine.mark,
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
        ord(")"): _constant(()),
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
        0x94: lambda m: m.remember(),
        ord("q"): _put("<B"),
        ord("r"): _put("<I"),
        ord("p"): _put_line,
        ord("h"): _get("<B"),
        ord("j"): _get("<I"),
        ord("g"): _get_line,
    }
)
"""Opcode -> what it does. Missing on purpose: classes, instances, persistent ids, extensions, out-of-band buffers."""
