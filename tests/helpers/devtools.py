"""A headless Chromium, driven over a pipe by the DevTools protocol: real keys, real files, no further package."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
QUIET = "gpu quic background-networking component-update sync extensions default-apps dev-shm-usage"
START = """
import fcntl, os, sys
high = [fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3]]
os.dup2(high[0], 3)
os.dup2(high[1], 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
"""The browser reads commands from file 3 and answers on file 4."""

CTRL, SHIFT, ALT, META = 2, 8, 1, 4


def find_browser() -> str | None:
    return next((path for path in map(shutil.which, NAMES) if path), None)


class Browser:
    """One window; ``close`` ends it."""

    def __init__(self, program: str, profile: Path, downloads: Path) -> None:
        to_child, self._out = os.pipe()
        self._in, from_child = os.pipe()
        command = [
            program,
            "--headless",
            "--no-sandbox",
            "--no-first-run",
            "--hide-scrollbars",
            "--remote-debugging-pipe",
        ]
        command += [f"--disable-{name}" for name in QUIET.split()] + [f"--user-data-dir={profile}", "about:blank"]
        started = [sys.executable, "-S", "-c", START, str(to_child), str(from_child), *command]
        self._process = subprocess.Popen(
            started, pass_fds=(to_child, from_child), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(to_child)
        os.close(from_child)
        self._rest, self._number, self._session = b"", 0, None
        self.events: list[dict[str, Any]] = []
        target = self("Target.createTarget", url="about:blank")["targetId"]
        self._session = self("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log", "DOM"):
            self(f"{domain}.enable")
        self.downloads = downloads
        self("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(downloads), eventsEnabled=True)
        self.resize(1280, 800)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._in)
        os.close(self._out)

    def _receive(self, seconds: float = 60) -> dict[str, Any]:
        until = time.monotonic() + seconds
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._in], [], [], max(0, until - time.monotonic()))
            assert ready, "the browser does not answer"
            part = os.read(self._in, 1 << 20)
            assert part, "the browser has ended"
            self._rest += part
        message, self._rest = self._rest.split(b"\0", 1)
        return json.loads(message)

    def __call__(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the protocol and wait for its result; events that come meanwhile are kept."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session and not method.startswith(("Target.", "Browser.")):
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while (answer := self._receive()).get("id") != message["id"]:
            self._keep(answer)
        assert "error" not in answer, (method, answer)
        return answer["result"]

    def _keep(self, event: dict[str, Any]) -> None:
        """Remember what happened; a question of the page is answered with yes, since everything waits for it."""
        self.events.append(event)
        if event.get("method") == "Page.javascriptDialogOpening":
            self._number += 1
            message = {"id": self._number, "method": "Page.handleJavaScriptDialog", "params": {"accept": True}}
            os.write(self._out, json.dumps(message | {"sessionId": self._session}).encode() + b"\0")

    def wait(self, event: str) -> dict[str, Any]:
        while not (found := [one for one in self.events if one.get("method") == event]):
            self._keep(self._receive())
        self.events.remove(found[0])
        return found[0]["params"]

    def downloaded(self) -> Path:
        """Wait for a download to end and give its file."""
        while self.wait("Browser.downloadProgress")["state"] != "completed":
            pass
        (found,) = self.downloads.iterdir()
        return found

    def until(self, test: Callable[[], Any], seconds: float = 20) -> Any:
        end = time.monotonic() + seconds
        while not (found := test()):
            assert time.monotonic() < end, "it never came to that"
            time.sleep(0.05)
        return found

    def open(self, page: Path) -> None:
        self.events.clear()
        self("Page.navigate", url=page.as_uri())
        self.wait("Page.loadEventFired")

    def reload(self) -> None:
        self.events = [one for one in self.events if one.get("method") != "Page.loadEventFired"]
        time.sleep(0.3)  # what a page stored reaches the browser's other processes a moment later
        self("Page.reload")
        self.wait("Page.loadEventFired")

    def resize(self, width: int, height: int) -> None:
        self("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)

    def run(self, script: str) -> Any:
        """Evaluate an expression in the page."""
        answer = self("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True, userGesture=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def key(self, key: str, code: str = "", modifiers: int = 0, repeat: bool = False) -> None:
        """Press a key and let it go."""
        if not code:
            code = f"Digit{key}" if key.isdecimal() else f"Key{key.upper()}" if len(key) == 1 else key
        text = {} if len(key) > 1 or modifiers & ~SHIFT else {"text": key}
        pressed = {"key": key, "code": code, "modifiers": modifiers}
        if key == "Enter":
            pressed |= {"windowsVirtualKeyCode": 13}
            text = {"text": "\r"}
        elif key == "Tab":
            pressed |= {"windowsVirtualKeyCode": 9}
        self("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", autoRepeat=repeat, **pressed, **text)
        self("Input.dispatchKeyEvent", type="keyUp", **pressed)

    def type(self, text: str) -> None:
        for letter in text:
            self.key(letter)

    def tap(self, selector: str) -> None:
        """Touch the middle of an element."""
        box = self.run(
            f"(() => {{const e = document.querySelector({json.dumps(selector)}); e.scrollIntoView({{block: 'center'}});"
            "const b = e.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]})()"
        )
        point = {"x": box[0], "y": box[1]}
        self("Input.dispatchTouchEvent", type="touchStart", touchPoints=[point])
        self("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def choose(self, selector: str, *files: Path) -> None:
        """Put files into a file field."""
        root = self("DOM.getDocument")["root"]["nodeId"]
        node = self("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self("DOM.setFileInputFiles", nodeId=node, files=[str(file) for file in files])

    def shoot(self, path: Path, whole: bool = True) -> None:
        shot = self("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(shot["data"]))

    def complaints(self) -> list[Any]:
        """Exceptions, messages of the console, and addresses that were asked for beside the page itself."""
        wrong = [one for one in self.events if one.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded")]
        wrong += [one for one in self.events if one.get("method") == "Runtime.consoleAPICalled"]
        asked = [
            one["params"]["request"]["url"] for one in self.events if one.get("method") == "Network.requestWillBeSent"
        ]
        return wrong + [url for url in asked if not url.startswith(("file:", "data:", "blob:"))]
