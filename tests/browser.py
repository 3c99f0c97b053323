"""A headless Chromium that is driven over a pipe by the DevTools protocol: real keys, taps, downloads and pictures."""

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
OPTIONS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
OPTIONS += ["--disable-background-networking", "--disable-component-update", "--remote-debugging-pipe"]
# without this Chromium 156 gives a file that is opened again an empty storage now and then (about 7 of 100 times)
OPTIONS += ["--allow-file-access-from-files"]
# what a key types, and its code on a keyboard
KEYS = {"ArrowLeft": 37, "ArrowRight": 39, "Backspace": 8, "Enter": 13, "Tab": 9}


class Browser:
    """One window; what is downloaded lies in `folder`."""

    def __init__(self, folder: Path) -> None:
        assert CHROMIUM is not None
        self.folder, self._number = folder, 0
        theirs, self._out = os.pipe()
        self._in, answers = os.pipe()
        command = [CHROMIUM, *OPTIONS, f"--user-data-dir={folder / 'profile'}", "about:blank"]
        # DevTools reads from file 3 and writes to file 4; a plain sh knows no file by two digits
        line = ["bash", "-c", f'exec "$@" 3<&{theirs} 4>&{answers}', "bash", *command]
        self._process = subprocess.Popen(line, pass_fds=(theirs, answers), stderr=subprocess.DEVNULL)
        os.close(theirs), os.close(answers)
        self._received, self._session = b"", ""
        self("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
        target = self("Target.createTarget", url="about:blank")["targetId"]
        self._session = self("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._process.terminate()
        self._process.wait(20)
        os.close(self._in), os.close(self._out)

    def __call__(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command and return what it gives; events on the way are passed over."""
        self._number += 1
        said = {"id": self._number, "method": method, "params": params}
        os.write(self._out, json.dumps(said | ({"sessionId": self._session} if self._session else {})).encode() + b"\0")
        while True:
            while b"\0" not in self._received:
                read = os.read(self._in, 1 << 16)
                assert read, "the browser has ended"
                self._received += read
            text, _, self._received = self._received.partition(b"\0")
            answer = json.loads(text)
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]

    def run(self, script: str) -> Any:
        """Return what an expression is in the page."""
        done = self("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    def until(self, holds: Callable[[], Any], seconds: float = 20.0) -> Any:
        """Wait until something holds, and return it."""
        end = time.monotonic() + seconds
        while not (found := holds()):
            assert time.monotonic() < end, "waited in vain"
            time.sleep(0.05)
        return found

    def downloads(self) -> list[Path]:
        """Files that are whole: the browser keeps a name with an empty file until it moves what it loaded there."""
        return [path for path in self.folder.glob("*.csv") if path.stat().st_size > 0]

    def open(self, page: Path, width: int, height: int) -> None:
        """Open a file in a window of that size."""
        phone = width < 500
        self("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)
        self._load("Page.navigate", url=page.as_uri())

    def reload(self) -> None:
        """Load the page again, with what its address holds."""
        self._load("Page.reload")

    def _load(self, method: str, **params: Any) -> None:
        self.run("window.left = true")
        self(method, **params)
        self.until(lambda: self.run("!window.left && document.readyState === 'complete'"))

    def press(self, key: str) -> None:
        """Press a key and let it go."""
        typed = {"windowsVirtualKeyCode": KEYS[key]} if key in KEYS else {"text": key}
        typed |= {"text": "\r"} if key == "Enter" else {}
        self("Input.dispatchKeyEvent", type="keyDown", key=key, **typed)
        self("Input.dispatchKeyEvent", type="keyUp", key=key)

    def tap(self, selector: str) -> None:
        """Press the mouse on the middle of an element."""
        box = self.run(f"JSON.stringify(document.querySelector({selector!r}).getBoundingClientRect())")
        at = json.loads(box)
        place = {"x": at["x"] + at["width"] / 2, "y": at["y"] + at["height"] / 2, "button": "left", "clickCount": 1}
        self("Input.dispatchMouseEvent", type="mousePressed", **place)
        self("Input.dispatchMouseEvent", type="mouseReleased", **place)

    def picture(self, out: Path) -> None:
        """Write what the whole page looks like."""
        shot = self("Page.captureScreenshot", captureBeyondViewport=True)
        out.write_bytes(base64.b64decode(shot["data"]))
