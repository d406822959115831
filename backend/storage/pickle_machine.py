"""Stack, marks and memo of reading a pickle, and the limits that keep a hostile one small. Used by safe_pickle."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

MAX_STEPS = 64_000_000
MAX_MARKS = 1000

_CHECK_EVERY = 4096
_BASE_MEMORY = 64 << 20
_MEMORY_PER_BYTE = 6
_CONTAINER_BYTES, _SET_BYTES, _ARRAY_BYTES = 64, 216, 128
_MEMO_BYTES, _FAR_MEMO_BYTES = 8, 100
_SAFE_KEY = 1 << 60
_STOP = ord(".")
_NOTHING = object()


Data = bytes | mmap.mmap


class PickleRefusedError(Exception):
    """The pickle holds something that is not read; the text says what."""


class Machine:
    """Stack, marks and memo of one reading.

    Args:
        data: the pickle; what follows its end is not looked at.
        allow: (module, name) -> stand-in that is called in its place.
        set_state: gives a built object the state that follows it.
    """

    def __init__(
        self,
        data: Data,
        allow: Mapping[tuple[str, str], Callable[..., Any]],
        set_state: Callable[[object, object], None],
    ) -> None:
        self.data = data
        self.at = 0
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: list[Any] = []
        self._far: dict[int, Any] = {}
        self._set_state = set_state
        self._bytes_left = 4 * len(data) + 4096
        self.memory_left = _BASE_MEMORY + _MEMORY_PER_BYTE * len(data)
        self._allow = allow
        self._callable = frozenset(id(stand_in) for stand_in in allow.values())

    def run(self, opcodes: Mapping[int, Callable[[Machine], object]]) -> Any:
        """Execute until STOP and return what lies on the stack."""
        for _ in self.blocks(opcodes):
            self.check_room()
        return self.stack.pop()

    def blocks(self, opcodes: Mapping[int, Callable[[Machine], object]]) -> Iterator[None]:
        """Execute until STOP; yields after every block of steps, the last one left out."""
        data = self.data
        for _ in range(MAX_STEPS // _CHECK_EVERY):
            for _ in range(_CHECK_EVERY):
                code = data[self.at]
                self.at += 1
                if code == _STOP:
                    return
                step = opcodes.get(code)
                if step is None:
                    raise PickleRefusedError(f"the unknown instruction {code:#04x}")
                step(self)
            yield
        raise PickleRefusedError("too many values")

    def check_room(self) -> None:
        """Called now and then; refuses what takes far more memory than its size explains."""
        if self.memory_left < 0:
            raise PickleRefusedError("far more values than its size explains")

    # -- bytes

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
        end = self.data.find(b"\n", self.at, self.at + limit)
        if end < 0:
            raise ValueError("a line without end")
        line = self.data[self.at : end]
        self.at = end + 1
        return line

    # -- marks and memo

    def mark(self) -> None:
        """Begin a new stack above this one."""
        if len(self.marks) == MAX_MARKS:
            raise PickleRefusedError("data that nests too deep")
        self.marks.append(self.stack)
        self.stack = []

    def pop_mark(self) -> list[Any]:
        """Everything since the last mark, taken from the stack."""
        items = self.stack
        self.stack = self.marks.pop()
        return items

    def remember(self, place: int | None = None) -> None:
        """Put what lies on top into the memo, at a place or at the next one."""
        value = self.stack[-1]
        if place is None or place == len(self.memo):
            self.memory_left -= _MEMO_BYTES
            self.memo.append(value)
        else:
            self.memory_left -= _FAR_MEMO_BYTES
            self._far[place] = value

    def recall(self, place: int) -> None:
        """Put what the memo has at a place onto the stack. KeyError when it has nothing."""
        known = self._far.get(place, _NOTHING)
        if known is _NOTHING:
            if not 0 <= place < len(self.memo):
                raise KeyError(place)
            known = self.memo[place]
        self.stack.append(known)

    # -- containers

    def container(self, kind: type) -> None:
        """Put an empty list, dict, tuple or set onto the stack."""
        self.memory_left -= _SET_BYTES if kind is set else _CONTAINER_BYTES
        self.stack.append(kind())

    def tuple_of(self, items: Iterable[Any]) -> None:
        """Put a tuple onto the stack."""
        self.memory_left -= _CONTAINER_BYTES
        self.stack.append(tuple(items))

    def extend(self, items: list[Any]) -> None:
        """Append to the list on top."""
        target = self.stack[-1]
        if type(target) is not list:
            raise PickleRefusedError("a list that is none")
        target.extend(items)

    def set_items(self, pairs: list[Any]) -> None:
        """Put keys and values, alternating, into the dictionary on top."""
        target = self.stack[-1]
        if type(target) is not dict:
            raise PickleRefusedError("a dictionary that is none")
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            check_key(key)
            target[key] = value

    # -- names

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
        self.memory_left -= _ARRAY_BYTES
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


def check_key(key: object) -> None:
    """Keys that could be made to collide by the thousand would turn reading into a standstill."""
    if type(key) not in (str, bytes) and not (type(key) is int and -_SAFE_KEY < key < _SAFE_KEY):
        raise PickleRefusedError("a key that is neither text nor a small number")
