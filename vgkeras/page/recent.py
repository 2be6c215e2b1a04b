"""What was asked for last, as much as there is room for."""

import threading
from collections import OrderedDict
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Recent(Generic[Value]):
    """Values by name. When they exceed `room`, the ones asked for longest ago go."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._values: OrderedDict[str, tuple[Value, int]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, name: str) -> Value | None:
        with self._lock:
            if name not in self._values:
                return None
            self._values.move_to_end(name)
            return self._values[name][0]

    def put(self, name: str, value: Value, size: int = 1) -> None:
        with self._lock:
            self._values[name] = (value, size)
            while sum(size for _, size in self._values.values()) > self._room:
                self._values.popitem(last=False)
