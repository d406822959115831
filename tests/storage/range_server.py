"""A web server on this machine that serves files, continues them, and can break off."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Shelf:
    """What is served, and what was asked for.

    Attributes:
        files: path -> content; others are answered with 404.
        tag: the ETag of all files, "" for none.
        breaks_after: bytes after which the connection ends, 0 for never.
        asked: (path, Range or "") of every request.
    """

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.tag = '"one"'
        self.breaks_after = 0
        self.asked: list[tuple[str, str]] = []
        self.address = ""


@contextmanager
def serving(files: dict[str, bytes]) -> Iterator[Shelf]:
    """Serve until the block ends."""
    shelf = Shelf(files)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range") or ""
            shelf.asked.append((self.path, wanted))
            data = shelf.files.get(self.path)
            if data is None:
                self.send_error(404)
                return
            begin = 0
            if wanted and self.headers.get("If-Range") == shelf.tag:
                begin = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if begin >= len(data):
                self.send_error(416)
                return
            self.send_response(206 if begin else 200)
            if begin:
                self.send_header("Content-Range", f"bytes {begin}-{len(data) - 1}/{len(data)}")
            if shelf.tag:
                self.send_header("ETag", shelf.tag)
            self.send_header("Content-Length", str(len(data) - begin))
            self.end_headers()
            end = begin + shelf.breaks_after if shelf.breaks_after else len(data)
            self.wfile.write(data[begin:end])

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    shelf.address = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield shelf
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
