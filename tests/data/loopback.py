from collections.abc import Callable
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path
from threading import Event


class Handler(SimpleHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.requests.append(self.path)
        answer = self.server.answers.get(self.path) or self.server.answers.get("*")
        if answer is None:
            super().do_GET()
        else:
            answer(self)

    def log_message(self, *_args: object) -> None:
        """Keep the test's output clean."""


class Server(HTTPServer):
    """A loopback server of a directory; `answers` maps a path, or "*", to a function that answers instead."""

    def __init__(self, directory: Path) -> None:
        self.requests: list[str] = []
        self.answers: dict[str, Callable[[Handler], None]] = {}
        self.released = Event()  # what an answer may wait for
        super().__init__(("127.0.0.1", 0), partial(Handler, directory=str(directory)))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *_args: object) -> None:
        """Say nothing of a client that gave up waiting."""


def page(status: int, body: bytes, length: int | None = None) -> Callable[[Handler], None]:
    """Answer with a status and a body, announcing `length` bytes."""

    def answer(handler: Handler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(body) if length is None else length))
        handler.end_headers()
        handler.wfile.write(body)

    return answer
