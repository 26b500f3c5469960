"""A headless Chromium for the page tests, spoken to over its DevTools protocol."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

import pytest
import websocket

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync --hide-scrollbars "
    "--remote-debugging-port=0 --remote-allow-origins=*"
)


class Browser:
    """One page of a headless Chromium, with what it logged."""

    def __init__(self) -> None:
        program = next(filter(None, map(shutil.which, NAMES)), None)
        if program is None:
            pytest.skip("no Chromium on the path: the pages were not looked at in a browser")
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        profile = self._folder.name
        self._process = subprocess.Popen(
            [program, *FLAGS.split(), f"--user-data-dir={profile}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            self._socket = self._connect(program, Path(profile) / "DevToolsActivePort")
        except BaseException:
            # one that was too slow to answer would go on without us
            self._process.kill()
            self._process.wait()
            self._folder.cleanup()
            raise
        self._ids = itertools.count(1)
        #: Console errors, uncaught exceptions and failed requests since the last `open`.
        self.problems: list[str] = []
        #: Addresses that the page has asked for since; Chromium's own list of resources leaves out
        #: files.
        self.loaded: list[str] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def _connect(self, program: str, port_file: Path) -> websocket.WebSocket:
        """A connection to the first page, as soon as the browser has said where it listens."""
        deadline = time.monotonic() + 180
        while not port_file.is_file() or "\n" not in port_file.read_text():
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise RuntimeError(f"{program} did not start")
            time.sleep(0.05)
        port = port_file.read_text().split()[0]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json") as answer:
            page = next(t for t in json.load(answer) if t["type"] == "page")
        return websocket.create_connection(page["webSocketDebuggerUrl"], timeout=300)

    def close(self) -> None:
        self._socket.close()
        self._process.terminate()
        self._process.wait()
        self._folder.cleanup()

    def call(self, method: str, **parameters):
        """Send one command and return its result; events that come meanwhile are noted."""
        number = next(self._ids)
        message = {"id": number, "method": method, "params": parameters}
        self._socket.send(json.dumps(message))
        while True:
            answer = json.loads(self._socket.recv())
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]
            self._note(answer)

    def _note(self, event: dict) -> None:
        kind, about = event.get("method"), event.get("params", {})
        if kind == "Runtime.exceptionThrown":
            details = about["exceptionDetails"]
            said = details.get("exception", {}).get("description", details["text"])
            self.problems.append(f"exception: {said}")
        elif kind == "Log.entryAdded" and about["entry"]["level"] == "error":
            self.problems.append(f"{about['entry']['text']} {about['entry'].get('url', '')}")
        elif kind == "Runtime.consoleAPICalled" and about["type"] == "error":
            said = [str(a.get("value", a.get("description"))) for a in about["args"]]
            self.problems.append("console: " + " ".join(said))
        elif kind == "Network.requestWillBeSent":
            address = about["request"]["url"]
            self.loaded.append(address)
            if address.startswith(("http://", "https://")):
                self.problems.append(f"asks the network for {address}")

    def open(self, address: str, width: int = 1440, height: int = 900, dark: bool = False) -> None:
        """Load a page and wait until it is complete."""
        self.problems.clear()
        self.loaded.clear()
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=address)
        deadline = time.monotonic() + 180
        while self.run("document.readyState + location.href") != "complete" + address:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{address} did not load; at {self.run('location.href')}")
            time.sleep(0.05)
        time.sleep(0.2)  # scripts that start after load

    def run(self, script: str):
        """Value of a JavaScript expression in the page (promises are awaited)."""
        result = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in result:
            raise RuntimeError(result["exceptionDetails"]["exception"]["description"])
        return result["result"].get("value")
