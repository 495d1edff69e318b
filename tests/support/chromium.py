"""A headless Chromium, driven through its DevTools protocol over two pipes: no port, no package."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def find() -> str | None:
    """Return the path of a Chromium on this machine, or None."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


PATIENCE_S = 30
WIRE = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3]]
os.dup2(ends[0], 3)
os.dup2(ends[1], 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
"""Chromium reads file descriptor 3 and writes 4."""


class ScriptError(Exception):
    """A script that a test ran in the page threw."""


class Chromium:
    """One browser with one page; a context manager that ends it.

    Attributes:
        events: Everything that the browser has reported: method and parameters.
    """

    def __init__(self, profile: Path) -> None:
        program = find()
        assert program is not None
        to_browser, self._out = os.pipe()
        self._in, from_browser = os.pipe()
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-extensions"]
        flags += ["--disable-dev-shm-usage", "--remote-debugging-pipe", f"--user-data-dir={profile}", "about:blank"]
        self._process = subprocess.Popen(
            [sys.executable, "-c", WIRE, str(to_browser), str(from_browser), program, *flags],
            pass_fds=(to_browser, from_browser),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        self.events: list[tuple[str, dict[str, Any]]] = []
        self._buffer = b""
        self._number = 0
        self._session = ""
        try:
            self._attach()
        except BaseException:
            self.close()
            raise

    def _attach(self) -> None:
        targets = self.send("Target.getTargets")["targetInfos"]
        page = next(target["targetId"] for target in targets if target["type"] == "page")
        self._session = self.send("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")
        self.send("Page.setLifecycleEventsEnabled", enabled=True)

    def __enter__(self) -> Chromium:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the browser."""
        os.close(self._out)
        os.close(self._in)
        self._process.terminate()
        self._process.wait(timeout=10)

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the protocol and return its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise ScriptError(answer["error"]["message"])
                result: dict[str, Any] = answer["result"]
                return result

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            if not select.select([self._in], [], [], PATIENCE_S)[0]:
                raise ScriptError(f"the browser has said nothing for {PATIENCE_S} s")
            piece = os.read(self._in, 1 << 20)
            if not piece:
                raise ScriptError("the browser has ended")
            self._buffer += piece
        head, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(head)
        if "method" in message:
            self.events.append((message["method"], message["params"]))
        return message

    def open(self, address: str, *, scheme: str = "light", script: bool = True) -> None:
        """Load an address and wait until it is there; earlier events are forgotten.

        Args:
            address: The URL; with a fragment, one that differs from the last loads anew all the same.
            scheme: ``light`` or ``dark``.
            script: Whether the page may run scripts.
        """
        self.resize(1280)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        features += [{"name": "prefers-reduced-motion", "value": "reduce"}]
        self.send("Emulation.setEmulatedMedia", features=features)
        self.send("Emulation.setScriptExecutionDisabled", value=not script)
        self._load("about:blank")
        self.events.clear()
        self._load(address)

    def resize(self, width: int) -> None:
        """Make the window as wide as ``width``, in pixels; opening a page makes it 1280 wide."""
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)

    def _load(self, address: str) -> None:
        loader = self.send("Page.navigate", url=address)["loaderId"]
        loaded = {"loaderId": loader, "name": "load"}
        while not any(n == "Page.lifecycleEvent" and loaded.items() <= p.items() for n, p in self.events):
            self._receive()

    def run(self, script: str) -> Any:
        """Return the value of an expression in the page; a promise is awaited.

        Raises:
            ScriptError: It threw.
        """
        answer = self.send("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            raise ScriptError(json.dumps(answer["exceptionDetails"])[:2000])
        return answer["result"].get("value")

    def press(self, key: str, code: int) -> None:
        """Press and release a key."""
        for kind in ("keyDown", "keyUp"):
            text = "\r" if key == "Enter" and kind == "keyDown" else ""
            self.send("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, text=text)

    @property
    def requests(self) -> list[str]:
        """Addresses that the page asked for since it was opened."""
        return [params["request"]["url"] for name, params in self.events if name == "Network.requestWillBeSent"]

    @property
    def complaints(self) -> list[str]:
        """What the console and the browser's log say, and what scripts threw, since the page was opened."""
        said = []
        for name, params in self.events:
            if name == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
                said.append(json.dumps(params["args"]))
            elif name == "Runtime.exceptionThrown":
                said.append(json.dumps(params["exceptionDetails"]))
            elif name == "Log.entryAdded":
                said.append(params["entry"]["text"])
        return said
