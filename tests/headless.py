"""A headless Chromium that is asked through a pipe: no driver, no library, no network."""

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["Browser", "browser", "chromium"]

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_SECONDS = 60.0


def chromium() -> str | None:
    """Return where a Chromium is, if there is one."""
    return next((found for found in map(shutil.which, _NAMES) if found), None)


class Browser:
    """One tab. Calls are the DevTools protocol's; what it says meanwhile is kept.

    Attributes
    ----------
    said : list of str
        Errors and warnings of the console, exceptions, and what the policy refused.
    asked : list of str
        Addresses that were requested.
    """

    def __init__(self, to: int, of: int) -> None:
        self._to, self._of, self._count, self._rest = to, of, 0, b""
        self._session: dict[str, str] = {}
        self.said: list[str] = []
        self.asked: list[str] = []
        self._events: list[str] = []
        target = self("Target.createTarget", url="about:blank")["targetId"]
        found = self("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self._session = {"sessionId": found}
        for domain in ("Page", "Runtime", "Log", "Network"):
            self(f"{domain}.enable")
        self("Performance.enable", timeDomain="threadTicks")

    def __call__(self, method: str, **params: Any) -> dict[str, Any]:
        self._count += 1
        call = {"id": self._count, "method": method, "params": params, **self._session}
        os.write(self._to, json.dumps(call).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._count:
                assert "error" not in answer, (method, answer["error"])
                return dict(answer["result"])
            self._take(answer)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            more = os.read(self._of, 1 << 20)
            assert more, "the browser has gone"
            self._rest += more
        one, _, self._rest = self._rest.partition(b"\0")
        return dict(json.loads(one))

    def _take(self, event: dict[str, Any]) -> None:
        method, params = event.get("method", ""), event.get("params", {})
        self._events.append(method)
        if method == "Runtime.exceptionThrown":
            self.said.append(json.dumps(params["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning"):
            self.said.append(json.dumps(params["args"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.said.append(params["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.asked.append(params["request"]["url"])

    def open(self, file: Path, *, width: int, scheme: str) -> float:
        """Open a page at a width, px, in light or dark; return the processor seconds that it took.

        Those of its main thread until it is drawn: what else the machine does is not the page's.
        """
        self("Emulation.setDeviceMetricsOverride", width=width, height=844, deviceScaleFactor=1,
             mobile=width < 600)  # fmt: skip
        self("Emulation.setEmulatedMedia",
             features=[{"name": "prefers-color-scheme", "value": scheme}])  # fmt: skip
        self._events.clear()
        start = time.monotonic()
        self("Page.navigate", url=file.resolve().as_uri())
        while "Page.loadEventFired" not in self._events:
            assert time.monotonic() < start + _SECONDS, "the page does not load"
            self._take(self._next())
        # Two frames: the first begins after what observers of sizes draw.
        self.value("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        found = {one["name"]: one["value"] for one in self("Performance.getMetrics")["metrics"]}
        return float(found["ThreadTime"])

    def value(self, expression: str) -> Any:
        """Return what an expression is."""
        found = self("Runtime.evaluate", expression=expression, awaitPromise=True,
                     returnByValue=True)  # fmt: skip
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def shoot(self, file: Path) -> None:
        """Write a picture of the whole page."""
        found = self("Page.captureScreenshot", captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(found["data"]))


@contextmanager
def browser(program: str, profile: Path) -> Iterator[Browser]:
    """Start a browser; it has ended when this does."""
    theirs_in, ours_out = os.pipe()
    ours_in, theirs_out = os.pipe()
    words = [program, "--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe",
             "--hide-scrollbars", "--no-first-run", f"--user-data-dir={profile}"]  # fmt: skip
    # It expects its pipe at 3 and 4, wherever the numbers here are.
    command = ["bash", "-c", f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}', "bash", *words]
    process = subprocess.Popen(
        command, pass_fds=(theirs_in, theirs_out), stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(theirs_in)
    os.close(theirs_out)
    try:
        yield Browser(ours_out, ours_in)
    finally:
        os.close(ours_out)  # it ends where its pipe does
        os.close(ours_in)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
