"""A stand-in for the warm child: the frame's number says how to behave."""

from __future__ import annotations

import json
import os
import sys
import time

FACE = {
    "name": "00001_0.jpg",
    "track": None,
    "person": "anna",
    "model": "model",
    "outcome": "merged",
    "corners": [[0, 0], [9, 0], [9, 9], [0, 9]],
    "box": [1, 2, 3, 4],
}


def main() -> None:
    for line in sys.stdin:
        asked = json.loads(line)
        frame = asked["frame"]
        if frame == 1:
            os._exit(9)
        if frame == 2:
            time.sleep(60)
        pictures = {"before": "b", "after": f"{os.getpid()}", "mask": "m", "alpha": "a"}
        answer = {"id": asked["id"], "ok": True, "seconds": 0.1, **pictures, "faces": [FACE]}
        if frame == 3:
            answer = {"id": asked["id"], "ok": False, "error": "There is no frame 4."}
        sys.stdout.write(json.dumps({"id": -1}) + "\n" + json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
