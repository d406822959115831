# OpenCV's own stubs give every picture the union of all dtypes; our functions name theirs.
from typing import Any

def __getattr__(name: str) -> Any: ...
